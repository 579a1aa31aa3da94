"""docs/invariants.md §6: another file of the same size and time, as archives may give it."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engine.conftest import GRANULE, Lab
from tests.engine.test_belief import without_facts
from tests.engine.test_kept import kept, put_bytes
from tests.engine.test_new_life import failed, rescan
from tests.engine.test_sources import assert_refused, state
from tests.simulation.lab import SimLab
from uploader import mounts
from uploader.core.errors import SourceChanged, SourceUnreadable
from uploader.core.job import Mode, PrefixCrc
from uploader.core.lifecycle import Verb
from uploader.engine.hashing import Digests
from uploader.model.links import NOTHING
from uploader.runtime import StopToken
from uploader.sources.local import LocalFile
from uploader.sources.reader import open_source

SIZE = 10 * GRANULE + 7
OTHERS = ["nfs4", "cifs", "fuse.sshfs", "vfat", ""]


@pytest.fixture(autouse=True)
def _on_a_local_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the tests run."""
    on("ext4", monkeypatch)


def supplant(path: Path, content: bytes | None = None) -> None:
    """By another file of that name and time; without ``content``, of the same bytes."""
    facts, fresh = path.stat(), path.parent.with_name("fresh")
    fresh.write_bytes(path.read_bytes() if content is None else content)
    os.utime(fresh, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    fresh.rename(path)
    assert path.stat().st_ino != facts.st_ino


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many blocks of each file were read, whoever read them."""
    counted, block = Counter[str](), LocalFile.block

    def counting(self: LocalFile, start: int, count: int) -> bytes:
        counted[self.name] += 1
        return block(self, start, count)

    monkeypatch.setattr(LocalFile, "block", counting)
    return counted


def on(kind: str, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The file system of every open file is of that ``kind``; returns what is asked about."""
    asked: list[object] = []

    def file_system_of(descriptor: int) -> str:
        asked.append(descriptor)
        return kind

    monkeypatch.setattr(mounts, "file_system_of", file_system_of)
    return asked


def stored_of_two(lab: Lab) -> Path:
    """A job that was drained with `a.bin` stored and nothing of `b.bin`."""
    lab.enqueue(lab.model(a_bin=SIZE, b_bin=SIZE))
    lab.world.script.add([{"on": "start", "match": "b.bin", "do": "status", "status": 503}])
    lab.run_until(lambda: lab.file("a.bin").stored)
    return lab.folder / "model"


# -- between files -----------------------------------------------------------------------------


def test_a_stored_file_that_was_replaced_is_read_again_at_the_end(
    lab: Lab, reads: Counter[str]
) -> None:
    folder, sent = stored_of_two(lab), reads["a.bin"]
    supplant(folder / "a.bin")
    lab.run()
    lab.assert_ready()
    assert reads["a.bin"] == 2 * sent
    told = [(e.path, e.message) for e in lab.jobs.events(1) if e.kind == "reidentified"]
    assert told == [
        (
            "a.bin",
            (
                "touched, replaced, given other permissions or links, or open for writing:"
                " read again, it is what was sent"
            ),
        )
    ]


def test_the_files_of_two_versions_never_become_one_model(lab: Lab) -> None:
    folder = stored_of_two(lab)
    for name in ("a.bin", "b.bin"):
        supplant(folder / name, os.urandom(SIZE))
    lab.run()
    assert_refused(lab)


def test_what_was_read_again_is_not_read_a_third_time(lab: Lab, reads: Counter[str]) -> None:
    folder, sent = stored_of_two(lab), reads["a.bin"]
    supplant(folder / "a.bin")
    for _ in range(2):
        lab.world.script.add([{"on": "validate", "do": "status", "status": 503}])
    lab.run()
    lab.assert_ready()
    assert reads["a.bin"] == 2 * sent
    assert lab.file("a.bin").fingerprint == state(folder / "a.bin").fingerprint


def test_a_kept_file_that_is_replaced_after_it_was_read_is_read_again(lab: Lab) -> None:
    folder = failed(lab, a_bin=SIZE, b_bin=SIZE)
    lab.jobs.apply(1, Verb.RETRY, lab.clock.now())
    lab.run()
    rescan(lab, folder, kept=kept(lab, folder))
    assert lab.file("b.bin").stored
    supplant(folder / "b.bin", os.urandom(SIZE))
    lab.run()
    assert_refused(lab)


def test_a_rescan_keeps_a_replaced_file_of_the_same_bytes(lab: Lab, reads: Counter[str]) -> None:
    folder = failed(lab, a_bin=SIZE, b_bin=SIZE)
    lab.jobs.apply(1, Verb.RETRY, lab.clock.now())
    lab.run()
    before = put_bytes(lab)["b.bin"]
    supplant(folder / "b.bin")
    rescan(lab, folder, kept=kept(lab, folder))
    reads.clear()
    lab.run()
    lab.assert_ready()
    assert put_bytes(lab)["b.bin"] == before
    assert reads["b.bin"] == 0, "its row has the new inode"


# -- within a file -----------------------------------------------------------------------------


@pytest.fixture
def killed(tmp_path: Path) -> Iterator[SimLab]:
    """A worker that was killed in the middle of its one file."""
    lab = SimLab(tmp_path, 1, landing_polls=1)
    lab.bytes_per_s = 16.0 * GRANULE
    lab.enqueue(lab.model(a_bin=40 * GRANULE + 7))
    lab.run_until_killed(30)
    assert lab.object()["persisted"] > 20 * GRANULE
    yield lab
    lab.close()


def test_after_a_kill_no_other_version_is_gone_on_with(killed: SimLab) -> None:
    path = killed.folder / "model" / "a.bin"
    content = bytearray(path.read_bytes())
    content[3000] ^= 1
    content[-1] ^= 1
    supplant(path, bytes(content))
    killed.run_once(digests=Digests.ON)
    assert_refused(killed)


@pytest.mark.parametrize("checksums", [True, False])
def test_after_a_kill_what_no_record_of_ours_covers_is_sent_again_if_it_differs(
    killed: SimLab, monkeypatch: pytest.MonkeyPatch, checksums: bool
) -> None:
    path, at = killed.folder / "model" / "a.bin", killed.object()["persisted"] - 5
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    supplant(path, bytes(content))
    lose_marks(killed)
    if not checksums:
        without_facts(monkeypatch)
    assert killed.file().mark.offset < at
    assert killed.run_once(digests=Digests.ON)
    killed.assert_ready()
    assert killed.object()["sessions_started"] == 2


def test_after_a_kill_other_bytes_that_only_a_mark_covers_are_refused(killed: SimLab) -> None:
    mark = killed.marks.of(killed.file()).read() or PrefixCrc()
    assert mark.offset > killed.file().mark.offset
    path = killed.folder / "model" / "a.bin"
    content = bytearray(path.read_bytes())
    content[mark.offset - 5] ^= 1
    supplant(path, bytes(content))
    killed.run_once(digests=Digests.OFF)
    assert_refused(killed)


@pytest.mark.parametrize("marks", [True, False])
def test_after_a_kill_a_copy_of_the_same_bytes_is_gone_on_with(killed: SimLab, marks: bool) -> None:
    supplant(killed.folder / "model" / "a.bin")
    if not marks:
        lose_marks(killed)
    assert killed.run_once(digests=Digests.ON)
    killed.assert_ready()
    assert "reidentified" in killed.kinds()
    assert killed.object()["sessions_started"] == 1


def lose_marks(lab: Lab) -> None:
    """As after a power cut."""
    for mark in (lab.state / "marks").iterdir():
        mark.unlink()


def test_a_copy_of_the_same_bytes_keeps_its_digest_and_is_not_sent_again(lab: Lab) -> None:
    lab.bytes_per_s = GRANULE / 20
    path = lab.model(a_bin=SIZE) / "a.bin"
    lab.enqueue(path.parent)
    lab.run_until(lambda: held(lab) > 3 * GRANULE, digests=Digests.ON)
    lab.bytes_per_s = None
    supplant(path)
    lab.run(digests=Digests.ON)
    lab.assert_ready()
    assert lab.object()["body_bytes_read"] - SIZE <= GRANULE
    assert lab.file().sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert lab.file().sha256_as_sent


def held(lab: Lab) -> int:
    objects: dict[str, Any] = lab.world.report()["objects"]
    return int(lab.object()["persisted"]) if objects else 0


@pytest.mark.parametrize("same", [True, False])
def test_a_plain_put_that_was_cut_starts_over_with_the_same_bytes_only(
    lab: Lab, same: bool
) -> None:
    path = lab.model(a_bin=SIZE) / "a.bin"
    lab.enqueue(path.parent)
    lab.world.script.add(
        [
            {"on": "start", "do": "status", "status": 403},
            {"on": "put", "do": "cut", "at_byte": 5 * GRANULE},
        ]
    )
    lab.run_until(lambda: lab.file().attempts > 0)
    supplant(path, None if same else os.urandom(SIZE))
    lab.run()
    assert lab.file().mode is Mode.PUT
    if same:
        lab.assert_ready()
    else:
        assert_refused(lab)


# -- where it is --------------------------------------------------------------------------------


def half(path: Path) -> Any:
    return state(path, checkpoint=PrefixCrc(GRANULE, 12345), bytes_sent=GRANULE)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    path = tmp_path / "model" / "a.bin"
    path.write_bytes(os.urandom(2 * GRANULE))
    return path


@pytest.mark.parametrize("kind", OTHERS)
def test_where_inode_numbers_may_change_with_each_mount_they_say_nothing(
    path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, _ = half(path), on(kind, monkeypatch)
    supplant(path, os.urandom(2 * GRANULE))
    with open_source(str(path.parent), file, StopToken(), NOTHING) as source:
        assert not source.touched
        assert source.fingerprint != file.fingerprint


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "overlay"])
def test_on_a_disk_of_this_machine_another_inode_has_to_have_the_same_bytes(
    path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, _ = half(path), on(kind, monkeypatch)
    supplant(path, os.urandom(2 * GRANULE))
    with pytest.raises(SourceChanged):
        open_source(str(path.parent), file, StopToken(), NOTHING)


def test_it_is_asked_where_a_file_is_only_if_its_inode_is_another(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, asked = half(path), on("ext4", monkeypatch)
    with open_source(str(path.parent), file, StopToken(), NOTHING) as source:
        assert not source.touched
    os.utime(path, ns=(1, 1))
    with pytest.raises(SourceChanged):
        open_source(str(path.parent), file, StopToken(), NOTHING)
    assert asked == []


def test_if_it_cannot_be_asked_where_a_file_is_nothing_of_it_is_taken(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_many(_: int) -> str:
        raise OSError(24, os.strerror(24))

    monkeypatch.setattr(mounts, "file_system_of", too_many)
    file = half(path)
    supplant(path)
    with pytest.raises(SourceUnreadable):
        open_source(str(path.parent), file, StopToken(), NOTHING)
