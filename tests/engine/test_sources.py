"""docs/invariants.md §6: two versions of a changed source are never mixed."""

from __future__ import annotations

import errno
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import google_crc32c
import pytest

from tests.engine.conftest import GRANULE, Lab
from uploader.core.errors import SourceChanged, SourceMissing, SourceUnreadable, SourceUnsettled
from uploader.core.exits import exit_of
from uploader.core.job import FileState, PrefixCrc, Status
from uploader.core.lifecycle import Verb
from uploader.model.fingerprint import fingerprint_of
from uploader.model.links import NOTHING
from uploader.runtime import StopToken
from uploader.sources.reader import open_source

SIZE = 10 * GRANULE + 7


def interrupted(lab: Lab) -> Path:
    """A job stopped in the middle of its one file; the file."""
    lab.bytes_per_s = GRANULE / 20  # so that nobody is too late to stop it
    folder = lab.model(a_bin=SIZE)
    lab.enqueue(folder)
    reached = lambda: bool(lab.world.report()["objects"]) and lab.object()["persisted"] > GRANULE  # noqa: E731
    lab.run_until(reached)
    lab.bytes_per_s = None
    return folder / "a.bin"


def assert_refused(lab: Lab, code: str = "source_changed") -> None:
    job = lab.job()
    assert job.status is Status.FAILED, lab.dump()
    assert job.reason is not None
    assert job.reason.code == code
    assert exit_of(job.status, job.reason) == 12
    assert lab.world.report()["validate_calls"] == 0


def rewrite(path: Path, content: bytes) -> None:
    """In place, with another mtime."""
    before = path.stat().st_mtime_ns
    path.write_bytes(content)
    os.utime(path, ns=(before + 10**9, before + 10**9))


def test_another_content_of_the_same_size_is_refused(lab: Lab) -> None:
    path = interrupted(lab)
    rewrite(path, os.urandom(SIZE))
    lab.run()
    assert_refused(lab)


@pytest.mark.parametrize("change", [-1, 1])
def test_another_size_is_refused(lab: Lab, change: int) -> None:
    path = interrupted(lab)
    content = path.read_bytes()
    rewrite(path, (content + b"x")[: SIZE + change])
    lab.run()
    assert_refused(lab)


def test_a_touched_file_goes_on_proven_by_its_prefix(lab: Lab) -> None:
    path = interrupted(lab)
    read = lab.object()["body_bytes_read"]
    os.utime(path, ns=(1, 1))
    lab.run()
    lab.assert_ready()
    assert lab.object()["body_bytes_read"] - SIZE <= GRANULE
    assert read > 0
    assert "reidentified" in lab.kinds()


def test_a_file_replaced_by_the_same_bytes_goes_on(lab: Lab) -> None:
    path = interrupted(lab)
    stat = path.stat()
    copy = path.with_name("copy")
    copy.write_bytes(path.read_bytes())
    os.utime(copy, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    copy.rename(path)
    lab.run()
    lab.assert_ready()
    assert "reidentified" in lab.kinds()


def test_times_that_moved_before_the_first_byte_are_accepted_and_reported(lab: Lab) -> None:
    """A clock change on FAT, a remount, a copy without -p: mtimes shift, bytes do not."""
    folder = lab.model(a_bin=SIZE, b_bin=SIZE)
    lab.enqueue(folder)
    for name in ("a.bin", "b.bin"):
        os.utime(folder / name, ns=(1, 1))
    lab.run()
    lab.assert_ready()
    told = [event.message for event in lab.jobs.events(1) if event.kind == "reidentified"]
    assert len(told) == 2
    assert all("nothing of it was sent yet" in message for message in told)


def test_weights_whose_header_no_longer_fits_are_not_taken(lab: Lab) -> None:
    folder = lab.model(a_bin=SIZE)
    header = b'{"t":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}}'
    weights = folder / "model.safetensors"
    weights.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    lab.enqueue(folder)
    weights.write_bytes(bytes(weights.stat().st_size))
    os.utime(weights, ns=(1, 1))
    lab.run()
    assert_refused(lab)


@pytest.mark.parametrize("most", [1, 4097, GRANULE - 1])
def test_short_reads_are_read_on(lab: Lab, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """FUSE, 9p and gVisor give fewer bytes than asked for; only an empty read is an end."""
    size_bytes = GRANULE + 77 if most > 1 else 999
    folder = lab.model(a_bin=size_bytes)
    lab.enqueue(folder)
    real = os.pread

    def short(descriptor: int, count: int, start: int) -> bytes:
        return real(descriptor, min(count, most), start)

    monkeypatch.setattr("uploader.sources.local.os.pread", short)
    lab.run()
    lab.assert_ready()
    assert lab.job().bytes_sent == size_bytes


def test_a_deleted_file_fails_the_job_until_it_is_back(lab: Lab) -> None:
    path = interrupted(lab)
    away = path.with_name("away")
    path.rename(away)
    lab.run()
    assert_refused(lab, "source_missing")
    away.rename(path)
    lab.jobs.apply(1, Verb.RETRY, lab.clock.now())
    lab.run()
    lab.assert_ready()


def test_a_folder_that_is_gone_is_waited_for_for_a_while(lab: Lab) -> None:
    path = interrupted(lab)
    away = path.parent.with_name("moved")
    path.parent.rename(away)

    def put_back() -> bool:
        if lab.job().attempts >= 5 and away.exists():
            away.rename(path.parent)
        return lab.job().status is not Status.ACTIVE

    lab.run_until(put_back)
    lab.assert_ready()
    assert lab.kinds().count("retrying") == 1
    assert "file_failed" not in lab.kinds()


def test_a_folder_that_stays_away_ends_its_job_with_one_line_and_a_reason(lab: Lab) -> None:
    path = interrupted(lab)
    path.parent.rename(path.parent.with_name("moved"))
    lab.run()
    job = lab.job()
    assert (job.status, job.attempts) == (Status.FAILED, 19)
    assert job.reason
    assert (job.reason.code, job.reason.message) == (
        "source_gone",
        f"the folder {path.parent} is gone",
    )
    assert [*map(str, lab.kinds()[-2:])] == ["retrying", "failed"]
    assert lab.kinds().count("retrying") == 1


@pytest.mark.long
def test_a_disk_that_is_not_mounted_is_waited_for_for_days(lab: Lab) -> None:
    disk = lab.folder / "disk"
    disk.mkdir()
    folder = lab.model("disk/model", a_bin=SIZE)
    lab.enqueue(folder)
    folder.rename(lab.folder / "elsewhere")

    def mount() -> bool:
        if lab.job().attempts >= 60 and not folder.exists():
            (lab.folder / "elsewhere").rename(folder)
        return lab.job().status is not Status.ACTIVE

    lab.run_until(mount)
    lab.assert_ready()
    assert lab.world.report()["creates"] == 1


def test_a_folder_that_is_gone_before_its_turn_leaves_no_model(lab: Lab) -> None:
    folder = lab.model(a_bin=SIZE)
    lab.enqueue(folder)
    folder.rename(folder.with_name("moved"))
    lab.run()
    assert lab.job().status is Status.FAILED
    assert lab.world.report()["creates"] == 0


def test_a_folder_that_goes_away_under_many_transfers_is_one_line(lab: Lab) -> None:
    lab.bytes_per_s = 2.0 * GRANULE
    sizes: dict[str, Any] = {f"{name}_bin": 4 * GRANULE for name in "abcdefgh"}
    folder = lab.model(**sizes)
    lab.enqueue(folder)
    lab.run_until(lambda: lab.job().files_stored >= 1)
    folder.rename(folder.with_name("moved"))
    lab.run()
    assert lab.job().status is Status.FAILED
    assert lab.kinds().count("retrying") == 1
    assert "file_failed" not in lab.kinds()


def test_a_stored_file_that_changes_before_validation_is_refused(lab: Lab) -> None:
    folder = lab.model(a_bin=GRANULE, b_bin=SIZE)
    lab.enqueue(folder)
    changed: list[bool] = []

    def overwrite(name: str) -> None:
        of_b = threading.current_thread().name.endswith("b.bin")
        if name == "put after" and of_b and not changed:
            lab.until(lambda: lab.file("a.bin").stored)
            changed.append(True)
            rewrite(folder / "a.bin", os.urandom(GRANULE))

    lab.boundary = overwrite
    lab.run()
    assert changed
    assert_refused(lab)


def test_a_file_written_to_while_it_is_sent_is_never_completed(lab: Lab) -> None:
    folder = lab.model(a_bin=SIZE)
    lab.enqueue(folder)
    path, blocks = folder / "a.bin", iter(range(1000))

    def write(name: str) -> None:
        if name == "put block" and next(blocks) == 6:
            with path.open("r+b") as file:
                file.seek(0)
                file.write(b"another prefix")
            os.utime(path, ns=(2, 2))

    lab.boundary = write
    lab.run()
    assert_refused(lab)
    assert lab.object()["size"] is None


# -- the source itself -----------------------------------------------------------------------


def state(path: Path, **facts: object) -> FileState:
    stat = path.stat()
    known = FileState(1, path.name, stat.st_size, fingerprint_of(stat))
    return replace(known, **facts)  # type: ignore[arg-type]


def test_crcs_extend_from_the_nearest_known_pair(tmp_path: Path) -> None:
    path = tmp_path / "f"
    content = os.urandom(3 * GRANULE + 11)
    path.write_bytes(content)
    with open_source(str(tmp_path), state(path), StopToken(), NOTHING) as source:
        for offset in (len(content), 0, 1, GRANULE, 2 * GRANULE - 1, len(content)):
            expected = PrefixCrc(offset, google_crc32c.value(content[:offset]))
            assert source.crc_at(offset) == expected
        source.confirm(2 * GRANULE - 1)
        assert min(offset for offset in source.pairs if offset) == 2 * GRANULE - 1


def test_a_resume_reads_nothing_that_a_mark_covers(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(os.urandom(2 * GRANULE))
    file = state(path, mark=PrefixCrc(2 * GRANULE, 12345))
    with open_source(str(tmp_path), file, StopToken(), NOTHING) as source:
        assert source.crc_at(2 * GRANULE) == PrefixCrc(2 * GRANULE, 12345)


def test_what_is_not_there_and_what_cannot_be_read(tmp_path: Path) -> None:
    file = FileState(1, "f", 1, "local:1:1")
    with pytest.raises(SourceMissing):
        open_source(str(tmp_path), file, StopToken(), NOTHING)
    with pytest.raises(SourceUnreadable):
        open_source(str(tmp_path / "away"), file, StopToken(), NOTHING)


def test_a_fifo_in_the_place_of_a_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "f")
    with pytest.raises(SourceChanged):
        open_source(str(tmp_path), FileState(1, "f", 0, "local:1:1"), StopToken(), NOTHING)


def test_a_file_that_shrinks_while_open_is_unsettled(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"x" * 100)
    with open_source(str(tmp_path), state(path), StopToken(), NOTHING) as source:
        path.write_bytes(b"x" * 10)
        with pytest.raises(SourceUnsettled):
            source.block(0, 100)
        with pytest.raises(SourceUnsettled):
            source.check()


# -- disks that cannot read ----------------------------------------------------------------


def break_reads(
    monkeypatch: pytest.MonkeyPatch, path: Path, at: int, times: float = float("inf")
) -> None:
    """Reads of that file from ``at`` on fail as a bad block does, so many times."""
    real, left, inode = os.pread, [times], path.stat().st_ino

    def pread(descriptor: int, count: int, start: int) -> bytes:
        if start >= at and left[0] > 0 and os.fstat(descriptor).st_ino == inode:
            left[0] -= 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(descriptor, count, start)

    monkeypatch.setattr(os, "pread", pread)


@pytest.mark.parametrize("plain_put", [False, True])
def test_a_bad_block_ends_the_job_and_every_other_file_is_stored(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, *, plain_put: bool
) -> None:
    folder = lab.model(a_bin=SIZE, b_bin=SIZE)
    break_reads(monkeypatch, folder / "a.bin", 6 * GRANULE)
    if plain_put:
        lab.world.script.add([{"on": "start", "do": "status", "status": 403}])
    lab.enqueue(folder)
    lab.run()
    assert_refused(lab, "source_damaged")
    reason = lab.job().reason
    assert reason is not None
    assert "after its first 1,572,864 bytes: Input/output error" in reason.message
    assert lab.file("b.bin").stored
    tries = 20 if plain_put else 1
    assert lab.object("a.bin")["body_bytes_read"] <= tries * 6 * GRANULE


def test_a_disk_that_reads_again_costs_a_granule_a_try(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = lab.model(a_bin=SIZE)
    break_reads(monkeypatch, folder / "a.bin", 6 * GRANULE, times=19)
    lab.enqueue(folder)
    lab.run()
    lab.assert_ready()
    assert lab.object()["body_bytes_read"] <= SIZE + 20 * GRANULE


@pytest.mark.long
def test_a_disk_that_is_gone_in_the_middle_of_a_file_is_waited_for(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = lab.model(a_bin=SIZE)
    pread, scandir, back_at_s = os.pread, os.scandir, [0.0]

    def unplug(*of: Any) -> Any:
        back_at_s[0] = back_at_s[0] or lab.clock.boot_s() + 7200
        return gone(pread, *of) if of[2] >= 6 * GRANULE else pread(*of)

    def gone(read: Any, *of: Any) -> Any:
        if lab.clock.boot_s() < back_at_s[0]:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(*of)

    monkeypatch.setattr(os, "pread", unplug)
    monkeypatch.setattr(os, "scandir", lambda *of: gone(scandir, *of))
    lab.enqueue(folder)
    lab.run_until(lambda: lab.job().reason is not None)
    reason = lab.job().reason
    assert reason is not None
    assert reason.code == "source_unreadable"
    lab.run()
    lab.assert_ready()
    assert lab.clock.boot_s() > 7200
