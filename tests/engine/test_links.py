"""Between the look at a folder and the first byte anything may be put in a file's place."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.engine.conftest import GRANULE, Lab
from uploader.core.job import Status
from uploader.core.redact import ApiKey, remember
from uploader.model.links import Private

SIZE = GRANULE + 5
KEY = "fw_canary0123456789"


def refused(lab: Lab, code: str = "source_changed") -> None:
    job = lab.job()
    assert (job.status, job.reason and job.reason.code) == (Status.FAILED, code)
    assert lab.object()["body_bytes_read"] == 0


def secret(lab: Lab) -> Path:
    found = lab.folder / "secret"
    found.write_bytes(b"s" * SIZE)
    return found


def test_a_file_that_became_a_link_out_of_the_folder_is_not_sent(lab: Lab) -> None:
    folder = lab.model(a_bin=SIZE)
    lab.enqueue(folder)
    before = (folder / "a.bin").stat()
    (folder / "a.bin").unlink()
    found = secret(lab)
    os.utime(found, ns=(before.st_atime_ns, before.st_mtime_ns))
    (folder / "a.bin").symlink_to(found)
    lab.run()
    refused(lab)


def test_a_file_that_became_a_link_to_a_hidden_one_is_not_sent(lab: Lab) -> None:
    folder = lab.model(a_bin=SIZE)
    lab.enqueue(folder)
    before = (folder / "a.bin").stat()
    (folder / "a.bin").rename(folder / ".env")
    os.utime(folder / ".env", ns=(before.st_atime_ns, before.st_mtime_ns))
    (folder / "a.bin").symlink_to(".env")
    lab.run()
    refused(lab)


@pytest.mark.parametrize("when", ["before", "between"])
@pytest.mark.parametrize("above", [False, True])
def test_a_folder_that_became_a_link_is_not_followed(lab: Lab, when: str, *, above: bool) -> None:
    """Its path was real when somebody agreed to it."""
    folder = lab.model(a_bin=SIZE)
    if above:
        (lab.folder / "above").mkdir()
        folder = folder.rename(lab.folder / "above" / "model")
    lab.enqueue(folder)
    outside = lab.folder / "outside"
    moved = folder.parent if above else folder
    shutil.copytree(moved, outside)

    def swap(name: str) -> None:
        if name.startswith("urls before") and not moved.is_symlink():
            moved.rename(lab.folder / "old")
            moved.symlink_to(outside)

    if when == "before":
        swap("urls before")
    lab.boundary = swap
    lab.run()
    job = lab.job()
    assert (job.status, job.reason and job.reason.code) == (Status.FAILED, "source_changed")
    assert all(not one["body_bytes_read"] for one in lab.world.report()["objects"].values())


def test_a_link_inside_the_folder_is_followed(lab: Lab) -> None:
    folder = lab.model(b_bin=SIZE)
    (folder / "a.bin").symlink_to("b.bin")
    lab.enqueue(folder)
    lab.run()
    lab.assert_ready()


@pytest.mark.parametrize("how", ["hard link", "renamed over it", "link"])
def test_a_private_file_is_not_sent_though_it_came_after_the_look(lab: Lab, how: str) -> None:
    folder = lab.model(a_bin=SIZE)
    lab.enqueue(folder)
    key = secret(lab)
    lab.private = Private((key,))
    (folder / "a.bin").unlink()
    if how == "hard link":
        os.link(key, folder / "a.bin")
    elif how == "renamed over it":
        key.rename(folder / "a.bin")
        lab.private = Private((folder / "a.bin",))
    else:
        (folder / "a.bin").symlink_to(key)
    lab.run()
    # Of a link it is known only that it is none of those that were agreed to.
    refused(lab, "source_changed" if how == "link" else "secret_in_model")


@pytest.mark.parametrize("how", ["of its own", "hard link"])
def test_a_file_that_holds_the_key_is_not_sent_though_nobody_knew_it_at_the_look(
    lab: Lab, how: str
) -> None:
    folder = lab.model(a_bin=SIZE)
    key, copy = lab.folder / "key", folder / "notes.txt"
    key.write_text(f"api_key = {KEY}\n")
    if how == "hard link":
        os.link(key, copy)
    else:
        copy.write_bytes(key.read_bytes())
    lab.enqueue(folder)
    remember(ApiKey(KEY))
    lab.run()
    job = lab.job()
    assert (job.status, job.reason and job.reason.code) == (Status.FAILED, "secret_in_model")
    assert lab.object("notes.txt")["body_bytes_read"] == 0
    assert job.reason
    assert KEY not in job.reason.message


def weights_of(size_bytes: int) -> bytes:
    header = b'{"t":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}' % (size_bytes, size_bytes)
    return len(header).to_bytes(8, "little") + header + bytes(size_bytes)


@pytest.mark.parametrize("name", ["model.safetensors", "notes.txt"])
def test_an_agreed_link_whose_file_has_only_its_number_and_looks_is_not_sent(
    lab: Lab, name: str
) -> None:
    """On another file system anybody may make a file with a number, a size and a time."""
    folder, target = lab.model(a_bin=SIZE), lab.folder / "elsewhere"
    target.write_bytes(weights_of(SIZE))
    (folder / name).symlink_to(target)
    lab.enqueue(folder)
    facts = target.stat()
    with target.open("r+b") as file:
        file.write(b"s" * facts.st_size)
    os.utime(target, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    lab.run()
    job = lab.job()
    assert (job.status, job.reason and job.reason.code) == (Status.FAILED, "source_changed")
    assert lab.object(name)["body_bytes_read"] == 0


@pytest.mark.parametrize("name", ["model.safetensors", "notes.txt"])
@pytest.mark.parametrize("begun", [False, True])
def test_an_agreed_link_that_leads_elsewhere_is_not_sent_whatever_is_there(
    lab: Lab, name: str, *, begun: bool
) -> None:
    """A disk image of somebody's own can imitate a file in all but its place: as hard links do."""
    folder, target = lab.model(a_bin=SIZE), lab.folder / "elsewhere"
    target.write_bytes(weights_of(9 * GRANULE))
    (folder / name).symlink_to(target)
    lab.enqueue(folder)
    if begun:
        lab.bytes_per_s = GRANULE / 20
        lab.run_until(lambda: lab.file(name).checkpoint.offset > GRANULE)
        lab.bytes_per_s = None
    sent = lab.object(name)["body_bytes_read"] if begun else 0
    (lab.folder / "victim").hardlink_to(target)
    (folder / name).unlink()
    (folder / name).symlink_to(lab.folder / "victim")
    lab.run()
    job = lab.job()
    assert (job.status, job.reason and job.reason.code) == (Status.FAILED, "source_changed")
    assert lab.object(name)["body_bytes_read"] <= sent + GRANULE


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to others")
def test_an_agreed_link_that_leads_to_the_file_of_somebody_else_is_not_sent(lab: Lab) -> None:
    """Weights have a sound header whosever they are; but nobody gives files to others."""
    folder, target = lab.model(a_bin=SIZE), lab.folder / "elsewhere"
    target.write_bytes(weights_of(SIZE))
    (folder / "model.safetensors").symlink_to(target)
    lab.enqueue(folder)
    os.chown(target, 12345, 12345)
    lab.run()
    job = lab.job()
    assert (job.status, job.reason and job.reason.code) == (Status.FAILED, "source_changed")
    assert lab.object("model.safetensors")["body_bytes_read"] == 0


def test_linked_weights_with_other_permissions_are_sent(lab: Lab) -> None:
    folder, target = lab.model(a_bin=SIZE), lab.folder / "elsewhere"
    target.write_bytes(weights_of(SIZE))
    (folder / "model.safetensors").symlink_to(target)
    lab.enqueue(folder)
    target.chmod(0o600)
    lab.run()
    lab.assert_ready()


def test_an_agreed_link_that_leads_to_another_file_of_the_same_looks_is_not_sent(
    lab: Lab,
) -> None:
    folder = lab.model(a_bin=SIZE)
    weights, victim = lab.folder / "weights", lab.folder / "victim"
    weights.write_bytes(weights_of(SIZE))
    victim.write_bytes(b"s" * weights.stat().st_size)
    facts = victim.stat()
    os.utime(weights, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    link = folder / "model.safetensors"
    link.symlink_to(weights)
    lab.enqueue(folder)
    link.unlink()
    link.symlink_to(victim)
    lab.run()
    job = lab.job()
    assert (job.status, job.reason and job.reason.code) == (Status.FAILED, "source_changed")
    assert "model.safetensors" in (job.reason.message if job.reason else "")
