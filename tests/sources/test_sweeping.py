"""What removes a snapshot that no job needs, and what keeps it from that."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import pytest

from tests.remote.scripted import HandClock
from tests.sources.test_snapshot import goes_on, root, snapshots, taken
from uploader.core.errors import StoreError, UploaderError, UsageError
from uploader.core.job import Manifest, ManifestFile
from uploader.files import LockFile
from uploader.sources import snapshot
from uploader.sources.local import LocalFolder, opened
from uploader.sources.snapshot import LONG_S, Snapshots, Sweeper

__all__ = ["root", "snapshots"]
#: Of tests that wait for what must happen.
PATIENCE_S = 30


def test_only_what_is_in_use_outlives_a_sweep(snapshots: Snapshots, root: Path) -> None:
    first, second = taken(snapshots, root), taken(snapshots, root)
    assert snapshots.sweep(lambda: [str(second)], goes_on) == {}
    assert (first.exists(), second.exists()) == (False, True)
    assert (root / "model.safetensors").exists()


def test_a_sweep_without_any_snapshot_makes_nothing(snapshots: Snapshots, tmp_path: Path) -> None:
    assert snapshots.sweep(list, goes_on) == {}
    assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize("name", ["thesis", "snapshot-of-may", "0" * 31, "snapshot-" + "g" * 32])
def test_a_folder_that_is_no_snapshot_by_its_name_is_left_alone(
    snapshots: Snapshots, root: Path, name: str
) -> None:
    unneeded = taken(snapshots, root)
    theirs = snapshots.home / name
    theirs.mkdir()
    assert snapshots.sweep(list, goes_on) == {}
    assert (unneeded.exists(), theirs.exists()) == (False, True)


def test_a_pipe_in_the_folder_is_not_waited_for(snapshots: Snapshots, root: Path) -> None:
    unneeded = taken(snapshots, root)
    os.mkfifo(snapshots.home / "table")
    assert snapshots.sweep(list, goes_on) == {}
    assert not unneeded.exists()


def test_snapshots_behind_a_link_are_neither_taken_nor_swept(
    snapshots: Snapshots, root: Path, tmp_path: Path
) -> None:
    """Another state folder may have its own there."""
    elsewhere = tmp_path / "elsewhere"
    others = Snapshots(elsewhere)
    theirs = taken(others, root)
    snapshots.home.symlink_to(elsewhere)
    assert "is a link" in snapshots.sweep(list, goes_on)[snapshots.home]
    with pytest.raises(UsageError, match="is a link") as refused:
        taken(snapshots, root)
    assert "remove the link" in refused.value.hint
    assert [path for path in elsewhere.iterdir() if path.is_dir()] == [theirs]


@contextmanager
def locked(folder: Path, how: int) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


# -- while one is being taken --------------------------------------------------------------


@pytest.fixture
def hanging(
    snapshots: Snapshots, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """The snapshot of a folder of which the disk does not answer, as long as the test lasts."""
    silent = shutil.copytree(root, tmp_path / "silent")
    asked, answers = threading.Event(), threading.Event()

    def late(folder: Path, file: ManifestFile) -> int:
        if folder == silent and file.path == "model.safetensors":
            asked.set()
            answers.wait(PATIENCE_S)
        return opened(folder, file)

    monkeypatch.setattr(snapshot, "opened", late)
    thread = threading.Thread(target=taken, args=(snapshots, silent))
    thread.start()
    assert asked.wait(PATIENCE_S)
    (folder,) = (tmp_path / "kept").iterdir()
    yield folder
    answers.set()
    thread.join(PATIENCE_S)
    assert (folder / "model.safetensors").exists()
    assert snapshots.sweep(list, goes_on) == {}
    assert not folder.exists()


def test_a_folder_whose_disk_does_not_answer_keeps_no_other_snapshot(
    snapshots: Snapshots, root: Path, hanging: Path
) -> None:
    other = taken(snapshots, root)
    left = snapshots.sweep(list, goes_on)
    assert not other.exists()
    assert (hanging / "config.json").exists()
    assert list(left) == [hanging]
    assert f"fuser {hanging}" in left[hanging]


def test_of_what_a_job_was_made_since_a_sweep_began_nothing_is_swept(
    snapshots: Snapshots, root: Path
) -> None:
    old, used = taken(snapshots, root), list[Path]()

    def in_use() -> list[str]:
        before = [*map(str, used)]
        used[:] = used or [taken(snapshots, root)]
        return before

    assert snapshots.sweep(in_use, goes_on) == {}
    assert not old.exists()
    assert used[0].exists()


def _before_it_is_open(path: Path, flags: int, sweep: Callable[[], object]) -> LockFile:
    sweep()
    return LockFile(path, flags)


def _before_it_is_locked(path: Path, flags: int, sweep: Callable[[], object]) -> LockFile:
    file = LockFile(path, flags)
    sweep()
    return file


@pytest.mark.parametrize("opening", [_before_it_is_open, _before_it_is_locked])
def test_a_folder_that_is_swept_before_it_is_locked_is_not_the_one_that_is_taken(
    snapshots: Snapshots,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    opening: Callable[[Path, int, Callable[[], object]], LockFile],
) -> None:
    swept: list[Path] = []

    def swept_once(path: Path, flags: int) -> LockFile:
        if swept or not path.name.startswith("snapshot-"):
            return LockFile(path, flags)
        swept.append(path)
        return opening(path, flags, lambda: snapshots.sweep(list, goes_on))

    monkeypatch.setattr(snapshot, "LockFile", swept_once)
    kept = taken(snapshots, root)
    assert swept != [kept]
    assert not swept[0].exists()
    assert (kept / "model.safetensors").exists()


def test_what_a_taker_that_was_killed_has_left_is_swept(snapshots: Snapshots, root: Path) -> None:
    taken(snapshots, root)
    begun = taken(snapshots, root).with_name(f"snapshot-{0:032}")
    begun.mkdir()
    assert snapshots.sweep(list, goes_on) == {}
    assert [*begun.parent.iterdir()] == []


def test_whoever_takes_and_sweeps_at_once_nothing_in_use_is_lost(
    snapshots: Snapshots, root: Path
) -> None:
    used, over = list[str](), threading.Event()

    def take() -> None:
        for number in range(12):
            with snapshots.taking(LocalFolder(root).list().manifest) as (path, _):
                used.extend([path] if number % 3 else [])
            snapshots.sweep(lambda: tuple(used), goes_on)

    def sweep() -> None:
        while not over.is_set():
            snapshots.sweep(lambda: tuple(used), goes_on)

    threads = [threading.Thread(target=run) for run in (take, take, take, sweep, sweep)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
        if thread is threads[2]:
            over.set()
    assert snapshots.sweep(lambda: used, goes_on) == {}
    assert len(used) == 24
    assert sorted(used) == sorted(map(str, Path(used[0]).parent.iterdir()))
    assert all(Path(path, "model.safetensors").exists() for path in used)


# -- alongside an older version, which has one lock for all of them ------------------------


def test_an_older_version_sweeps_nothing_while_a_snapshot_is_being_taken(
    snapshots: Snapshots, tmp_path: Path
) -> None:
    with (
        snapshots.taking(Manifest(str(tmp_path), ())) as (path, _),
        pytest.raises(BlockingIOError),
        locked(Path(path).parent, fcntl.LOCK_EX),
    ):
        pytest.fail("it would sweep")


def test_what_an_older_version_takes_is_not_swept_and_keeps_none_of_ours(
    snapshots: Snapshots, root: Path, tmp_path: Path
) -> None:
    ours = taken(snapshots, root)
    theirs = tmp_path / "kept" / "0123456789abcdef0123456789abcdef"
    theirs.mkdir()
    with locked(tmp_path / "kept", fcntl.LOCK_SH):
        left = snapshots.sweep(list, goes_on)
        assert (ours.exists(), theirs.exists()) == (False, True)
        assert f"fuser {tmp_path / 'kept'}`" in left[theirs]
    assert snapshots.sweep(list, goes_on) == {}
    assert not theirs.exists()


# -- what stays for long -------------------------------------------------------------------


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


def test_what_stays_for_an_hour_is_told_once_an_hour(
    snapshots: Snapshots, hanging: Path, clock: HandClock, caplog: pytest.LogCaptureFixture
) -> None:
    sweeper = Sweeper(snapshots, list, goes_on, clock)
    told = []
    for _ in range(130):
        sweeper.sweep()
        told.append(len(caplog.messages))
        clock.boot += 60
    assert [told[59], told[60], told[119], told[120], told[129]] == [0, 1, 1, 2, 2]
    assert str(hanging) in caplog.text


def test_snapshots_that_are_taken_one_after_another_are_not_told(
    snapshots: Snapshots, tmp_path: Path, clock: HandClock, caplog: pytest.LogCaptureFixture
) -> None:
    sweeper = Sweeper(snapshots, list, goes_on, clock)
    for _ in range(4):
        with snapshots.taking(Manifest(str(tmp_path), ())):
            sweeper.sweep()
        clock.boot += LONG_S
    assert caplog.messages == []


@pytest.mark.parametrize("kind", [StoreError, UsageError])
def test_a_store_that_does_not_say_what_is_in_use_for_an_hour_is_told(
    snapshots: Snapshots,
    root: Path,
    clock: HandClock,
    caplog: pytest.LogCaptureFixture,
    kind: type[UploaderError],
) -> None:
    kept = taken(snapshots, root)

    def in_use() -> list[str]:
        raise kind("the disk is full")

    sweeper = Sweeper(snapshots, in_use, goes_on, clock)
    sweeper.sweep()
    clock.boot += LONG_S
    sweeper.sweep()
    (told,) = caplog.messages
    assert "the disk is full" in told
    assert "have stayed" not in told
    assert kept.exists()


def test_one_that_cannot_be_removed_keeps_no_other(
    snapshots: Snapshots, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    three = sorted(taken(snapshots, root) for _ in range(3))
    remove = shutil.rmtree

    def fails(path: Path, *, ignore_errors: bool) -> None:
        if path != three[1]:
            remove(path, ignore_errors=ignore_errors)

    monkeypatch.setattr(shutil, "rmtree", fails)
    assert snapshots.sweep(list, goes_on) == {three[1]: "it cannot be removed"}
    assert [path.exists() for path in three] == [False, True, False]


# -- under a table that was put back -------------------------------------------------------


def at(number: int) -> Callable[[str], tuple[bool, str]]:
    """As of a table of which the last event has that number."""
    return lambda before: (number >= int(before or 0), str(number))


def test_what_a_table_that_was_put_back_does_not_know_is_kept(
    snapshots: Snapshots, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    known, younger = taken(snapshots, root), taken(snapshots, root)
    both = [str(known), str(younger)]
    assert snapshots.sweep(lambda: both, at(20)) == {}
    put_back = [str(known)]
    for number in (7, 8, 30):  # it goes on, and beyond what it was
        assert snapshots.sweep(lambda: put_back, at(number)) == {}
        assert younger.exists()
    (told,) = caplog.messages
    assert str(younger) in told
    assert str(known) not in told
    late = taken(snapshots, root)
    assert snapshots.sweep(list, at(31)) == {}
    assert (known.exists(), younger.exists(), late.exists()) == (False, True, False)


def test_once_the_younger_table_is_back_its_snapshots_are_swept_as_ever(
    snapshots: Snapshots, root: Path
) -> None:
    younger = taken(snapshots, root)
    for number, used in ((20, [str(younger)]), (7, []), (20, [str(younger)])):
        snapshots.sweep(partial(list, used), at(number))
        assert younger.exists()
    assert snapshots.sweep(list, at(21)) == {}
    assert not younger.exists()


@pytest.mark.parametrize("words", [b"", b"\xff", b"\n\n", b"0\nanother\n\0"])
def test_what_cannot_be_read_of_the_table_before_keeps_nothing_for_ever(
    snapshots: Snapshots, root: Path, words: bytes
) -> None:
    taken(snapshots, root).with_name("table").write_bytes(words)
    assert snapshots.sweep(list, at(1)) == {}
    assert not [*snapshots.home.glob("snapshot-*")]


def test_it_is_read_as_far_as_it_can_be_of_use(snapshots: Snapshots, root: Path) -> None:
    table = taken(snapshots, root).with_name("table")
    table.write_bytes(b"0\n")
    os.truncate(table, 1 << 30)
    tracemalloc.start()
    try:
        assert snapshots.sweep(list, at(1)) == {}
        assert tracemalloc.get_traced_memory()[1] < 100 << 20
    finally:
        tracemalloc.stop()


def test_a_disk_without_space_keeps_no_snapshot(
    snapshots: Snapshots, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = taken(snapshots, root)

    full = Mock(side_effect=OSError(errno.ENOSPC, "No space left on device"))
    monkeypatch.setattr(snapshots, "_note", full)
    assert snapshots.sweep(list, at(5)) == {}
    assert full.called
    assert not old.exists()
