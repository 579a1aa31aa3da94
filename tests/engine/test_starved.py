"""A job whose files are slow, for whatever reason, does not keep all slots from another one."""

from __future__ import annotations

import sys
import threading
from functools import partial
from typing import Any

import pytest

from tests.engine.conftest import GRANULE, Lab
from uploader.core.job import Stage, Status
from uploader.sources.local import LocalFile

#: Not slow enough for a disk that counts as silent.
BLOCK_S = 21.0
#: As with an hour's PUTs: nothing is confirmed for long.
WHOLE: dict[str, Any] = {"max_put_bytes": 1 << 30}


@pytest.fixture
def quick() -> threading.Event:
    """As long as this is set, the disk takes no time."""
    return threading.Event()


@pytest.fixture
def slow(lab: Lab, quick: threading.Event, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """Its jobs that are called `slow…` have a disk that takes its time for each block."""
    block = LocalFile.block

    def later(file: LocalFile, start: int, count: int) -> bytes:
        if file._path.parent.name.startswith("slow") and not quick.is_set():
            lab.clock.wait(threading.Event(), BLOCK_S)
        return block(file, start, count)

    monkeypatch.setattr(LocalFile, "block", later)
    return lab


@pytest.mark.parametrize("max_files", [1, pytest.param(4, marks=pytest.mark.long)])
def test_a_slow_disk_keeps_no_other_job_without_a_slot(
    slow: Lab, quick: threading.Event, max_files: int
) -> None:
    slow.max_files = max_files
    sizes: Any = {f"f{number}_bin": 60 * GRANULE for number in range(5)}
    held_up = slow.enqueue(slow.model("slow", **sizes))
    others: list[int] = []
    began_s = 0.0

    def reached() -> bool:
        nonlocal began_s
        if not others:
            if slow.clock.boot_s() > 3 * BLOCK_S:
                others.append(slow.enqueue(slow.model("other", a_bin=GRANULE, b_bin=9 * GRANULE)))
                began_s = slow.clock.boot_s()
            return False
        return slow.job(others[0]).stage is Stage.READY

    slow.run_until(reached, **WHOLE)
    assert slow.clock.boot_s() - began_s < 400
    assert slow.job(held_up).stage is Stage.UPLOAD
    quick.set()
    slow.run(**WHOLE)
    slow.assert_ready(held_up)
    assert all(file.attempts == 0 for file in slow.jobs.files(held_up))
    sent = sum(file.bytes_sent for file in slow.jobs.files(held_up))
    assert sent - slow.job(held_up).bytes_total <= (max_files + 2) * 2 * GRANULE


@pytest.mark.long
@pytest.mark.parametrize("max_files", [1, 4])
def test_what_is_read_again_to_be_proven_keeps_no_slot_from_another_job(
    slow: Lab, quick: threading.Event, max_files: int
) -> None:
    quick.set()
    slow.max_files, slow.bytes_per_s = 4, 4.0 * GRANULE
    sizes: Any = {f"f{number}_bin": 40 * GRANULE for number in range(4)}
    touched = slow.enqueue(slow.model("slow", **sizes))
    files = partial(slow.jobs.files, touched)
    slow.run_until(lambda: all(file.mark.offset >= 16 * GRANULE for file in files()))
    assert not any(file.stored for file in files())
    slow.max_files, slow.bytes_per_s = max_files, None
    quick.clear()
    for path in (slow.folder / "slow").iterdir():
        path.touch()
    others: list[int] = []

    def reached() -> bool:
        if not others:
            if slow.clock.boot_s() - again_s > 2 * BLOCK_S:
                others.append(slow.enqueue(slow.model("other", a_bin=GRANULE, b_bin=9 * GRANULE)))
            return False
        return slow.job(others[0]).stage is Stage.READY

    again_s = slow.clock.boot_s()
    slow.run_until(reached)
    assert slow.clock.boot_s() - again_s < 14 * BLOCK_S, "no proof was waited for"
    assert slow.job(touched).stage is Stage.UPLOAD
    quick.set()
    slow.run()
    slow.assert_ready(touched)


@pytest.mark.long
@pytest.mark.parametrize(("max_jobs", "block_s"), [(1, 0.7), (2, BLOCK_S)])
def test_slow_disks_keep_no_other_job_without_a_place(
    slow: Lab,
    quick: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
    max_jobs: int,
    block_s: float,
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "BLOCK_S", block_s)
    slow.max_jobs = max_jobs
    sizes: Any = dict.fromkeys(("a_bin", "b_bin"), 400 * GRANULE)
    slowed = [slow.enqueue(slow.model(f"slow{n}", **sizes)) for n in range(max_jobs)]
    others: list[int] = []

    def reached() -> bool:
        if not others:
            if slow.clock.boot_s() > BLOCK_S:
                others.append(slow.enqueue(slow.model("other", a_bin=9 * GRANULE)))
            return False
        return slow.job(others[0]).stage is Stage.READY

    slow.run_until(reached, **WHOLE)
    assert slow.clock.boot_s() < 400
    assert all(slow.job(each).status is Status.ACTIVE for each in slowed)
    quick.set()
    slow.run(**WHOLE)
    for each in slowed:
        slow.assert_ready(each)


@pytest.mark.long
def test_what_is_read_again_at_the_end_keeps_no_place_from_another_job(
    slow: Lab, quick: threading.Event
) -> None:
    quick.set()
    slow.max_jobs = slow.max_files = 1
    slow.bytes_per_s = 4.0 * GRANULE
    sizes: Any = {"a_bin": 20 * GRANULE, "b_bin": 20 * GRANULE, "c_bin": 6 * GRANULE}
    touched = slow.enqueue(slow.model("slow", **sizes))
    slow.run_until(lambda: slow.job(touched).files_stored == 2)
    slow.bytes_per_s = None
    quick.clear()
    for file in slow.jobs.files(touched):
        if file.stored:
            (slow.folder / "slow" / file.path).touch()
    other = slow.enqueue(slow.model("other", a_bin=9 * GRANULE))
    slow.run_until(lambda: slow.job(other).stage is Stage.READY)
    assert slow.job(touched).files_stored == 3
    assert slow.job(touched).stage is Stage.UPLOAD
