"""docs/invariants.md §6: a file that is written over in place and gets its old time back."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import google_crc32c
import pytest
from sqlalchemy import text

from tests.engine import test_replaced
from tests.engine.conftest import GRANULE, Lab
from tests.engine.test_kept import kept, put_bytes
from tests.engine.test_new_life import failed, rescan
from tests.engine.test_replaced import OTHERS, half, on, stored_of_two
from tests.engine.test_sources import assert_refused, interrupted, state
from tests.engine.test_written import half_sent
from tests.simulation.lab import SimLab
from uploader.core.errors import SourceChanged
from uploader.core.job import FileState, PrefixCrc, Status
from uploader.core.lifecycle import Verb
from uploader.engine.hashing import Digests
from uploader.model.fingerprint import fingerprint_of, is_linked, same_inode
from uploader.model.links import NOTHING
from uploader.runtime import StopToken
from uploader.sources.local import LocalFile, LocalFolder
from uploader.sources.reader import open_source
from uploader.sources.snapshot import Snapshots

SIZE = 10 * GRANULE + 7

_on_a_local_disk = test_replaced._on_a_local_disk
reads, killed, path = test_replaced.reads, test_replaced.killed, test_replaced.path


def overwrite(path: Path, content: bytes) -> None:
    """In place; size, modification time and inode stay as they were."""
    before = path.stat()
    with path.open("r+b") as file:
        file.write(content)
    _at_another_time(path, before, lambda: os.utime(path, ns=(1, before.st_mtime_ns)))
    now = path.stat()
    assert (now.st_size, now.st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def chmod(path: Path) -> None:
    """Other rights, and so another change time; the bytes are the same."""
    before = path.stat()
    path.chmod(before.st_mode ^ 0o040)
    _at_another_time(path, before, lambda: path.chmod(before.st_mode ^ 0o040))


def touch(path: Path) -> None:
    os.utime(path, ns=(1, 1))


def _at_another_time(path: Path, before: os.stat_result, act: Callable[[], object]) -> None:
    """A kernel's time may stand still for some milliseconds."""
    for _ in range(1_000_000):
        act()
        if path.stat().st_ctime_ns != before.st_ctime_ns:
            break
    now = path.stat()
    assert now.st_ctime_ns != before.st_ctime_ns
    assert now.st_ino == before.st_ino


def told(lab: Lab) -> list[str]:
    return [event.message for event in lab.jobs.events(1) if event.kind == "reidentified"]


# -- another version ----------------------------------------------------------------------------


def test_half_a_file_is_never_gone_on_with_by_another_version(lab: Lab) -> None:
    overwrite(interrupted(lab), os.urandom(SIZE))
    lab.run()
    assert_refused(lab)


def test_after_a_kill_no_other_version_is_gone_on_with(killed: SimLab) -> None:
    path = killed.folder / "model" / "a.bin"
    content = bytearray(path.read_bytes())
    content[3000] ^= 1
    content[-1] ^= 1
    overwrite(path, bytes(content))
    killed.run_once(digests=Digests.ON)
    assert_refused(killed)


def test_the_files_of_two_versions_never_become_one_model(lab: Lab) -> None:
    folder = stored_of_two(lab)
    for name in ("a.bin", "b.bin"):
        overwrite(folder / name, os.urandom(SIZE))
    lab.run()
    assert_refused(lab)


def test_a_file_of_which_nothing_was_sent_is_taken_as_it_is_now(lab: Lab) -> None:
    folder = stored_of_two(lab)
    overwrite(folder / "b.bin", os.urandom(SIZE))
    lab.run()
    lab.assert_ready()
    assert told(lab) == ["nothing of it was sent yet and its size is the same: taken as it is now"]


def test_what_is_written_and_put_back_while_a_file_is_sent_is_found_at_the_end(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is asked of the disk between two blocks that was not asked before."""
    path = lab.model(a_bin=SIZE) / "a.bin"
    lab.enqueue(path.parent)
    block, left = LocalFile.block, [5]

    def then_overwrite(self: LocalFile, start: int, count: int) -> bytes:
        found = block(self, start, count)
        left[0] -= 1
        if left[0] == 0:
            overwrite(path, os.urandom(SIZE))
        return found

    monkeypatch.setattr(LocalFile, "block", then_overwrite)
    lab.run()
    assert_refused(lab)


# -- the same bytes -----------------------------------------------------------------------------


@pytest.fixture
def read_bytes(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many bytes of each file were read, whoever read them."""
    counted, block = Counter[str](), LocalFile.block

    def counting(self: LocalFile, start: int, count: int) -> bytes:
        counted[self.name] += count
        return block(self, start, count)

    monkeypatch.setattr(LocalFile, "block", counting)
    return counted


def test_other_rights_cost_one_reading_of_what_was_sent(lab: Lab, read_bytes: Counter[str]) -> None:
    lab.bytes_per_s = GRANULE / 20
    path = lab.model(a_bin=SIZE) / "a.bin"
    lab.enqueue(path.parent)
    read = []
    for most in (3, 5, 7, 100):
        reached = lambda most=most: held(lab) > most * GRANULE or lab.job().status == "done"  # noqa: E731
        lab.run_until(reached, digests=Digests.ON)
        read.append(read_bytes.pop("a.bin"))
        if most == 3:
            chmod(path)
    lab.assert_ready()
    assert read[1] > SIZE - read[0], "what was sent is read again"
    assert read[2] + read[3] <= SIZE - 5 * GRANULE + GRANULE, "and is not read a third time"
    assert lab.object()["body_bytes_read"] - SIZE <= 3 * GRANULE
    assert lab.file().sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert lab.file().sha256_as_sent
    assert len(told(lab)) == 1


def held(lab: Lab) -> int:
    objects: dict[str, Any] = lab.world.report()["objects"]
    return int(lab.object()["persisted"]) if objects else 0


@pytest.mark.parametrize("digests", [Digests.ON, Digests.OFF])
@pytest.mark.parametrize("change", [chmod, touch])
def test_what_changed_without_its_bytes_is_read_once_though_the_service_does_not_answer(
    lab: Lab, read_bytes: Counter[str], change: Callable[[Path], object], digests: Digests
) -> None:
    path = lab.model(a_bin=SIZE) / "a.bin"
    lab.enqueue(path.parent)
    half_sent(lab, digests)
    change(path)
    sent = read_bytes.pop("a.bin")
    lab.world.script.add([{"on": "query", "do": "status", "status": 503, "times": 6}])
    lab.run(digests=digests)
    lab.assert_ready()
    assert read_bytes["a.bin"] + GRANULE > SIZE
    assert read_bytes["a.bin"] <= SIZE + GRANULE, f"of {sent} bytes"
    assert lab.file().sha256_as_sent == (digests is Digests.ON)


def test_what_is_proven_is_not_believed_of_another_version(
    lab: Lab, read_bytes: Counter[str]
) -> None:
    path = interrupted(lab)
    chmod(path)
    lab.world.script.add([{"on": "query", "do": "status", "status": 503, "times": 0}])
    overwritten = False

    def refused() -> bool:
        nonlocal overwritten
        if lab.file().attempts > 2 and not overwritten:
            assert read_bytes["a.bin"]
            overwrite(path, os.urandom(SIZE))
            overwritten = True
        return lab.job().status is Status.FAILED

    lab.run_until(refused)
    assert overwritten
    assert_refused(lab)


def test_other_rights_cost_one_reading_though_the_worker_is_killed_later(
    killed: SimLab, read_bytes: Counter[str]
) -> None:
    """Its mark is found again, although the row has another fingerprint by then."""
    chmod(killed.folder / "model" / "a.bin")
    killed.run_until_killed(8)
    left = killed.object()["persisted"]
    read_bytes.clear()
    assert killed.run_once(digests=Digests.ON)
    killed.assert_ready()
    since_its_mark = 5 * GRANULE  # a quarter of a second at 16 a second
    assert read_bytes["a.bin"] <= killed.file().size_bytes - left + since_its_mark
    assert len(told(killed)) == 1


def test_other_rights_of_a_stored_file_cost_one_reading_at_the_end(
    lab: Lab, reads: Counter[str]
) -> None:
    folder, sent = stored_of_two(lab), reads["a.bin"]
    chmod(folder / "a.bin")
    for _ in range(2):
        lab.world.script.add([{"on": "validate", "do": "status", "status": 503}])
    lab.run()
    lab.assert_ready()
    assert reads["a.bin"] == 2 * sent
    assert lab.file("a.bin").fingerprint == state(folder / "a.bin").fingerprint
    assert len(told(lab)) == 1


def test_a_header_that_was_allowed_may_have_other_rights(lab: Lab) -> None:
    folder = lab.model(a_bin=SIZE)
    (folder / "model.safetensors").write_bytes(bytes(SIZE))
    lab.enqueue(folder)
    chmod(folder / "model.safetensors")
    lab.run()
    lab.assert_ready()


def test_a_kept_file_that_gets_other_rights_before_it_is_read_is_not_sent_again(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rescan lists the folder at first, and reads for hours."""
    folder = failed(lab, a_bin=SIZE, b_bin=SIZE)
    lab.jobs.apply(1, Verb.RETRY, lab.clock.now())
    lab.run()
    before, opened = put_bytes(lab)["b.bin"], LocalFolder.open

    def then_open(self: LocalFolder, file: FileState, stop: StopToken) -> LocalFile:
        chmod(folder / file.path)
        return opened(self, file, stop)

    with monkeypatch.context() as patch:
        patch.setattr(LocalFolder, "open", then_open)
        files = kept(lab, folder)
    rescan(lab, folder, kept=files)
    lab.run()
    lab.assert_ready()
    assert put_bytes(lab)["b.bin"] == before


# -- where it counts ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "overlay"])
def test_on_a_disk_of_this_machine_what_was_put_back_is_read_again(
    path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, _ = half(path), on(kind, monkeypatch)
    chmod(path)
    with pytest.raises(SourceChanged):
        open_source(str(path.parent), file, StopToken(), NOTHING)


@pytest.mark.parametrize("kind", OTHERS)
def test_elsewhere_the_change_time_says_nothing_and_no_event_tells_of_it(
    path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, _ = half(path), on(kind, monkeypatch)
    chmod(path)
    with open_source(str(path.parent), file, StopToken(), NOTHING) as source:
        assert not source.touched
        assert source.fingerprint == file.fingerprint


def test_a_link_that_was_agreed_to_leads_to_the_same_file_whatever_its_rights(path: Path) -> None:
    real = path.rename(path.parent.with_name("real.bin"))
    path.symlink_to(real)
    body = real.read_bytes()
    sent = PrefixCrc(len(body), google_crc32c.value(body))
    for known in (fingerprint_of(real.stat(), str(real)), "linked:{0.st_mtime_ns}:{0.st_ino}"):
        file = state(path, fingerprint=known.format(real.stat()), mark=sent)
        chmod(real)
        with open_source(str(path.parent), file, StopToken(), NOTHING) as source:
            assert same_inode(file.fingerprint, source.fingerprint)
            assert is_linked(source.fingerprint)
    before = real.stat()
    real.rename(path.parent.with_name("gone"))
    real.write_bytes(os.urandom(before.st_size))
    os.utime(real, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(SourceChanged):
        open_source(str(path.parent), file, StopToken(), NOTHING)


# -- fingerprints without it --------------------------------------------------------------------


def test_a_job_of_an_older_version_goes_on_and_nothing_is_read_again(
    lab: Lab, read_bytes: Counter[str]
) -> None:
    path = interrupted(lab)
    sent = read_bytes["a.bin"]
    older = fingerprint_of(path.stat(), lasting=True)
    with lab.engine.begin() as connection:
        connection.execute(text("UPDATE files SET fingerprint = :older"), {"older": older})
    chmod(path)
    lab.run()
    lab.assert_ready()
    assert read_bytes["a.bin"] <= SIZE + GRANULE
    assert sent
    assert told(lab) == []
    assert lab.file().fingerprint == older


def test_a_snapshot_is_not_read_again_whatever_becomes_of_the_other_names(
    lab: Lab, read_bytes: Counter[str]
) -> None:
    """Two jobs keep the file, and the trainer deletes it once half of it was sent."""
    lab.bytes_per_s = GRANULE / 20
    path = lab.model(a_bin=SIZE) / "a.bin"
    new, snapshots = lab.new_job(path.parent), Snapshots(lab.state / "kept")
    with ExitStack() as stack:
        kept_at, manifest = stack.enter_context(snapshots.taking(new.manifest))
        lab.enqueue(path.parent, snapshot=kept_at, manifest=manifest)
        lab.run_until(lambda: held(lab) > 3 * GRANULE)
        chmod(path)
        stack.enter_context(snapshots.taking(new.manifest))
        content = path.read_bytes()
        path.unlink()
        lab.bytes_per_s = None
        lab.run()
    path.write_bytes(content)
    lab.assert_ready()
    assert read_bytes["a.bin"] <= SIZE + GRANULE
    assert told(lab) == []
