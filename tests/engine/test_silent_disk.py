"""A disk that does not answer, as a hung file server: its job waits, the others go on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.engine.conftest import GRANULE, LIMITS, SIMULATED_DEADLINE_S, Lab
from uploader.core.job import Reason, Stage, Status
from uploader.core.lifecycle import Verb
from uploader.core.reasons import Code
from uploader.engine import disks
from uploader.engine.berths import Berths
from uploader.engine.disks import PATIENCE_S
from uploader.engine.hashing import Digests
from uploader.engine.prefix import Kept
from uploader.engine.throttle import Slots
from uploader.engine.worker import DRAIN_S
from uploader.sources.local import LocalFile, LocalFolder

SIZE = 40 * GRANULE
#: So much longer than anything takes that does not wait for a disk.
LONG_S = 10 * PATIENCE_S
#: What is asked of a disk, by the object that asks.
CALLS = {
    "require": LocalFolder,
    "open": LocalFolder,
    "check": LocalFile,
    "block": LocalFile,
    "close": LocalFile,
}


class Silence:
    """From now on the disk below ``folder`` does not answer a kind of call, until it is over."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.over = threading.Event()
        self.calls = 0
        self._lab = lab
        self._folder = folder

    def hush(
        self, monkeypatch: pytest.MonkeyPatch, name: str, among: Callable[[], object] = lambda: True
    ) -> None:
        """Calls of that name, if ``among``: it is asked at each of them."""
        real = getattr(CALLS[name], name)

        def call(this: Any, *of: Any) -> Any:
            asked = getattr(this, "_root", None) or this._path
            if asked.is_relative_to(self._folder) and not self.over.is_set() and among():
                self.calls += 1
                self._lab.clock.wait(self.over, SIMULATED_DEADLINE_S)
            return real(this, *of)

        monkeypatch.setattr(CALLS[name], name, call)


@pytest.fixture
def bad(lab: Lab) -> int:
    """A job of several files, whose disk is going to be silent; it is claimed first."""
    lab.max_jobs = lab.max_files = 1
    return lab.enqueue(lab.model("bad", a_bin=SIZE, b_bin=SIZE, c_bin=SIZE))


@pytest.fixture
def good(lab: Lab, bad: int) -> int:
    """A job that is to go on meanwhile."""
    assert bad
    return lab.enqueue(lab.model("good", a_bin=SIZE))


@pytest.fixture
def silence(lab: Lab) -> Silence:
    return Silence(lab, lab.folder / "bad")


def goes_on_meanwhile(lab: Lab, silence: Silence, bad: int, good: int) -> Reason | None:
    """Once the good job is done the disk answers, and then the bad one is; its reason before."""
    waited_for: list[Reason | None] = []

    def reached() -> bool:
        if lab.job(good).status is Status.DONE and not silence.over.is_set():
            assert lab.clock.boot_s() < LONG_S
            assert lab.job(bad).status is Status.ACTIVE
            waited_for.append(lab.job(bad).reason)
            silence.over.set()
        return lab.job(bad).status is Status.DONE

    lab.run_until(reached, digests=Digests.ON)
    assert silence.calls
    for job_id in (bad, good):
        lab.assert_ready(job_id)
        assert lab.job(job_id).reason is None
        assert all(file.attempts == 0 for file in lab.jobs.files(job_id))
    return waited_for[0]


@pytest.mark.parametrize(
    "call",
    [pytest.param(call, marks=[] if call == "block" else [pytest.mark.long]) for call in CALLS],
)
def test_a_disk_that_does_not_answer_holds_up_its_own_job_alone(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, silence: Silence, bad: int, good: int, call: str
) -> None:
    silence.hush(monkeypatch, call)
    reason = goes_on_meanwhile(lab, silence, bad, good)
    assert reason is not None
    assert reason.code == Code.SOURCE_SILENT


@pytest.mark.long
def test_it_may_fall_silent_in_the_middle_of_a_file(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, silence: Silence, bad: int, good: int
) -> None:
    silence.hush(monkeypatch, "block", lambda: lab.object("a.bin", "bad")["persisted"])
    assert goes_on_meanwhile(lab, silence, bad, good) is not None


@pytest.mark.long
def test_it_may_fall_silent_when_all_files_are_looked_at_again(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, silence: Silence, bad: int, good: int
) -> None:
    silence.hush(monkeypatch, "open", lambda: all(f.stored for f in lab.jobs.files(bad)))
    assert goes_on_meanwhile(lab, silence, bad, good) is not None


@pytest.mark.long
def test_a_hash_that_waits_for_the_disk_holds_up_its_own_job_alone(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, silence: Silence, bad: int, good: int
) -> None:
    monkeypatch.setattr(Kept, "room", lambda _: 0)  # every block is read again to be hashed
    silence.hush(monkeypatch, "block", lambda: threading.current_thread().name.endswith("sha256"))
    assert goes_on_meanwhile(lab, silence, bad, good) is not None
    assert all(file.sha256 for file in lab.jobs.files(bad))


@pytest.mark.long
def test_what_other_files_confirm_does_not_take_the_reason_away_for_good(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, silence: Silence, bad: int
) -> None:
    lab.max_files = 2
    lab.bytes_per_s = SIZE / (4 * PATIENCE_S)
    silence.hush(monkeypatch, "block", lambda: not silence.calls)
    lab.run_until(lab.passed(LONG_S))
    reason = lab.job(bad).reason
    assert lab.file("b.bin", bad).stored
    assert reason is not None
    assert reason.code == Code.SOURCE_SILENT


@pytest.mark.long
def test_no_other_file_is_begun_while_the_disk_is_silent_and_a_drain_ends_in_its_time(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, silence: Silence, bad: int
) -> None:
    lab.max_files = 2
    silence.hush(monkeypatch, "open")
    lab.run_until(lab.passed(LONG_S))
    assert silence.calls == 2
    assert lab.clock.boot_s() < LONG_S + DRAIN_S + 2.0
    silence.over.set()
    lab.run()
    lab.assert_ready(bad)
    assert lab.job(bad).reason is None


@pytest.mark.long
def test_so_many_jobs_leave_their_places_and_no_more(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, silence: Silence, bad: int
) -> None:
    monkeypatch.setattr(disks, "MOST_HELD_UP", 1)
    another = Silence(lab, lab.folder / "worse")
    another.over = silence.over
    second, third = lab.enqueue(lab.model("worse")), lab.enqueue(lab.model("good"))
    for one in (silence, another):
        one.hush(monkeypatch, "require")
    places: list[Stage] = []

    def reached() -> bool:
        if lab.clock.boot_s() > LONG_S and not places:
            places.extend(lab.job(job_id).stage for job_id in (bad, second, third))
            assert all(lab.job(job_id).reason for job_id in (bad, second))
            assert lab.job(third).lease is None
            silence.over.set()
        return lab.job(third).status is Status.DONE

    lab.run_until(reached)
    assert places == [Stage.CREATE] * 3


@pytest.mark.long
def test_a_job_that_is_paused_while_its_disk_is_silent_sends_nothing_once_it_answers(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, silence: Silence, bad: int
) -> None:
    silence.hush(monkeypatch, "block")

    def reached() -> bool:
        job = lab.job(bad)
        if job.reason and job.status is Status.ACTIVE:
            lab.jobs.apply(bad, Verb.PAUSE, lab.clock.now())
        elif lab.clock.boot_s() > LONG_S:
            silence.over.set()
        return silence.over.is_set() and job.lease is None

    lab.run_until(reached)
    assert lab.job(bad).status is Status.PAUSED
    assert lab.object("a.bin", "bad")["body_bytes_read"] == 0


def test_a_cancelled_job_whose_disk_is_silent_leaves_the_name_of_its_model_to_others(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, silence: Silence, bad: int
) -> None:
    """And is cleaned up after, although its thread hangs for as long as the disk does."""
    silence.hush(monkeypatch, "block", lambda: lab.object("a.bin", "bad")["persisted"])
    lab.run_until(lambda: lab.job(bad).stage is Stage.UPLOAD)
    new = lab.new_job(lab.model("elsewhere", a_bin=SIZE, b_bin=SIZE, c_bin=SIZE))
    new = replace(new, model_id="bad", create_body={**new.create_body, "modelId": "bad"})
    later: list[int] = []

    def reached() -> bool:
        if lab.job(bad).reason and not later:
            lab.jobs.apply(bad, Verb.CANCEL, lab.clock.now())
            later.append(lab.jobs.enqueue(new, lab.clock.now())[0])
        if later and lab.job(later[0]).status is Status.DONE and "closed" in lab.kinds(bad):
            assert lab.clock.boot_s() < LONG_S
            silence.over.set()
        return silence.over.is_set()

    lab.run_until(reached)
    assert silence.calls
    lab.assert_ready(later[0])
    assert lab.job(bad).lease is None


def test_who_has_lost_its_slot_meanwhile_waits_for_another_after_its_put(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, silence: Silence, bad: int, good: int
) -> None:
    lab.bytes_per_s = SIZE / PATIENCE_S  # so that there is time between the two
    silence.hush(monkeypatch, "block")

    def sent(job_id: int) -> int:
        return sum(file.checkpoint.offset for file in lab.jobs.files(job_id))

    def reached() -> bool:
        if sent(good) and not silence.over.is_set():
            silence.over.set()
        return lab.file("a.bin", good).stored

    lab.run_until(reached)
    assert 0 < sent(bad) <= LIMITS.max_put_bytes  # type: ignore[operator]


@pytest.mark.parametrize("small", [False, True])
def test_a_slot_that_is_given_back_twice_is_free_once(lab: Lab, *, small: bool) -> None:
    slots = Slots(lab.clock, 2)
    berths = Berths(slots, 1, threading.Event(), lambda: True)
    give, _kept = berths.take(small=False), berths.take(small=small)
    assert give is not None
    give()
    give()
    assert slots.demand() == (1, False)


def test_the_rate_of_a_job_is_zero_once_no_byte_of_it_has_moved_for_long(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, silence: Silence, bad: int
) -> None:
    lab.bytes_per_s = 4.0 * GRANULE
    silence.hush(monkeypatch, "block", lambda: lab.clock.boot_s() > 5.0)
    rates: list[float | None] = []

    def reached() -> bool:
        rates.append(lab.job(bad).rate_bps)
        return lab.clock.boot_s() > PATIENCE_S

    lab.run_until(reached)
    assert max(rate or 0.0 for rate in rates) > 0.0
    assert rates[-1] == 0.0
