"""The bandwidth limit and the slots, on simulated time: exact, fair, and never silent for long."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from functools import partial

import pytest

from tests.simulation.sim import Sim
from uploader.core.errors import Stopped
from uploader.core.timetable import UNLIMITED, Entry, Timetable, always, local_time
from uploader.engine import throttle
from uploader.engine.berths import Berths
from uploader.engine.throttle import Slots, Throttle
from uploader.runtime import StopToken
from uploader.sources.reader import BLOCK_BYTES

KIB, MIB = 1024, 1024 * 1024


class Senders:
    """Connections of several jobs that send as much as they may, on simulated time."""

    def __init__(self, rate_bps: int | None, files: int = 64) -> None:
        self.clock = Sim(1)
        self.slots = Slots(self.clock, files)
        self.throttle = Throttle(self.clock, self.slots, always(rate_bps))
        self.sent: Counter[int] = Counter()
        self.silences: list[float] = []
        self.stop = StopToken()

    def send(self, seconds: float, jobs: dict[int, int], meanwhile: Callable[[], object]) -> None:
        """For so many seconds, with so many connections of each job."""

        def connection(job_id: int) -> None:
            assert self.slots.take(job_id, threading.Event())
            last_s = self.clock.boot_s()
            while self.clock.boot_s() < seconds:
                count = self.throttle.take(job_id, self.stop, BLOCK_BYTES)
                self.silences.append(self.clock.boot_s() - last_s)
                last_s = self.clock.boot_s()
                self.sent[job_id] += count
                self.clock.wait(threading.Event(), count / (50 * MIB))

        def body() -> None:
            for job_id, count in jobs.items():
                for _ in range(count):
                    self.clock.spawn(f"job {job_id}", partial(connection, job_id))
            meanwhile()
            self.clock.wait(threading.Event(), seconds - self.clock.boot_s() + 90)

        self.clock.run(body)

    def rests(self, seconds: float) -> None:
        self.clock.wait(threading.Event(), seconds)


def nothing() -> None:
    """Nothing happens meanwhile."""


@pytest.mark.parametrize("rate_bps", [8 * KIB, 64 * KIB, 1_000_000, 20_000_000])
@pytest.mark.parametrize("jobs", [{1: 1}, {1: 4}, {1: 3, 2: 1}])
def test_the_limit_is_exact_and_shared_equally_by_jobs(rate_bps: int, jobs: dict[int, int]) -> None:
    senders = Senders(rate_bps)
    senders.send(100, jobs, nothing)
    for job_id in jobs:
        assert senders.sent[job_id] == pytest.approx(100 * rate_bps / len(jobs), rel=0.03)
    total = sum(senders.sent.values())
    assert total == pytest.approx(100 * rate_bps, rel=0.03 if rate_bps < MIB else 0.002)


@pytest.mark.parametrize("count", [1, 4, 64])
def test_no_connection_is_silent_for_as_long_as_a_server_waits(count: int) -> None:
    senders = Senders(8 * KIB)
    senders.send(300, {1: count}, nothing)
    assert max(senders.silences) < 15


def test_another_limit_holds_within_a_second() -> None:
    senders = Senders(8 * KIB)
    counts: list[int] = []

    def steps() -> None:
        for limit in (UNLIMITED, always(MIB), always(8 * KIB)):
            senders.rests(20)
            senders.throttle.set(limit)
            senders.rests(1)
            counts.append(sum(senders.sent.values()))
            senders.rests(9)
            counts.append(sum(senders.sent.values()))

    senders.send(100, {1: 4}, steps)
    begin, end = counts[::2], counts[1::2]
    rates = [(after - before) / 9 for before, after in zip(begin, end, strict=True)]
    assert rates[0] > 100 * MIB
    assert rates[1:] == [pytest.approx(MIB, rel=0.05), pytest.approx(8 * KIB, rel=0.15)]


def test_a_timetable_changes_the_limit_at_its_minute() -> None:
    senders = Senders(None)
    local = local_time(senders.clock.now()) + timedelta(minutes=2)
    minute = local.weekday() * 1440 + local.hour * 60 + local.minute
    senders.throttle.set(Timetable("", (Entry(0, MIB), Entry(minute, 64 * KIB))))
    counts: list[int] = []

    def steps() -> None:
        for _ in range(2):
            senders.rests(119)
            counts.append(sum(senders.sent.values()))
            senders.rests(1)

    senders.send(240, {1: 2}, steps)
    assert counts[0] == pytest.approx(119 * MIB, rel=0.01)
    assert counts[1] - counts[0] == pytest.approx(MIB + 119 * 64 * KIB, rel=0.1)


def test_a_sender_that_waits_stops_at_once() -> None:
    senders = Senders(8 * KIB)
    stopped: list[float] = []

    def waits() -> None:
        try:
            while True:
                senders.throttle.take(1, senders.stop, BLOCK_BYTES)
        except Stopped:
            stopped.append(senders.clock.boot_s())

    def body() -> None:
        senders.clock.spawn("waits", waits)
        senders.rests(10.3)
        senders.stop.stop()
        senders.rests(5)

    senders.clock.run(body)
    assert stopped == [10.3]


@pytest.mark.parametrize(
    ("rate_bps", "jobs", "put_bytes"),
    [
        (None, {1: 1}, None),
        (8 * KIB, {1: 1}, 256 * KIB),
        (8 * KIB, {1: 4}, 256 * KIB),
        (MIB, {1: 1}, 60 * MIB),
        (MIB, {1: 4}, 15 * MIB),
        (MIB, {1: 3, 2: 1}, 10 * MIB),
        (1_000_000, {1: 1}, 228 * 256 * KIB),
    ],
)
def test_a_put_is_as_long_as_a_minute_sends(
    rate_bps: int | None, jobs: dict[int, int], put_bytes: int | None
) -> None:
    senders = Senders(rate_bps)
    for job_id, count in jobs.items():
        for _ in range(count):
            assert senders.slots.take(job_id, threading.Event())
    assert senders.throttle.put_bytes(1) == put_bytes


def test_the_limit_binds_only_while_somebody_would_send_more() -> None:
    senders = Senders(MIB)
    assert not senders.throttle.binds
    senders.send(2, {1: 1}, nothing)
    assert not senders.throttle.binds, "nobody has sent for a while"
    seen: list[bool] = []
    senders = Senders(MIB)

    def look() -> None:
        senders.rests(5)
        seen.append(senders.throttle.binds)

    senders.send(6, {1: 1}, look)
    assert seen == [True]


# -- slots -----------------------------------------------------------------------------------------


def test_a_job_that_finds_no_slot_is_woken_when_one_is_free() -> None:
    slots, one, two = Slots(Sim(1), 1), threading.Event(), threading.Event()
    assert slots.take(1, one)
    assert not slots.take(2, two)
    assert slots.demand() == (1, True)
    assert not two.is_set()
    slots.give(1)
    assert two.is_set()
    assert not slots.take(1, one), "it is the other's turn"
    assert slots.take(2, two)
    assert slots.demand() == (1, True)


def test_a_job_that_does_not_ask_any_more_holds_up_nobody() -> None:
    clock = Sim(1)
    slots = Slots(clock, 1)
    assert slots.take(1, threading.Event())
    assert not slots.take(2, threading.Event())
    slots.give(1)
    clock.suspend(3)
    assert slots.take(1, threading.Event())


def test_files_in_excess_give_up_their_slots() -> None:
    slots = Slots(Sim(1), 4)
    for job_id in (1, 1, 1, 2):
        assert slots.take(job_id, threading.Event())
    slots.set(2)
    assert not slots.take(2, threading.Event())
    assert (slots.yields(1), slots.yields(2)) == (True, False)
    slots.give(1)
    assert (slots.yields(1), slots.yields(2)) == (True, False)
    slots.give(1)
    assert (slots.yields(1), slots.yields(2)) == (False, False)


def starved(clock: Sim, slots: Slots, *job_ids: int, seconds: int = 31) -> None:
    """Those jobs ask for a slot each second, in vain."""
    for _ in range(seconds):
        clock.suspend(1)
        for job_id in job_ids:
            assert not slots.take(job_id, threading.Event())


def test_a_file_stops_for_a_job_that_waits_for_long_however_often_it_was_asked_before() -> None:
    clock = Sim(1)
    slots = Slots(clock, 1)
    assert slots.take(1, threading.Event())
    starved(clock, slots, 2)
    for _ in range(5):
        assert slots.is_anothers_turn(1)
    assert slots.stops(1, "a")
    assert not slots.stops(1, "a"), "one is enough"
    slots.give(1)
    assert slots.take(2, threading.Event())
    assert not slots.is_anothers_turn(1)


def test_a_job_that_gave_its_slot_away_waits_as_long_as_any_other() -> None:
    """It wanted more than it had; that is no reason to take the slot back at once."""
    clock = Sim(1)
    slots = Slots(clock, 1)
    assert slots.take(1, threading.Event())
    starved(clock, slots, 1, 2)
    assert slots.stops(1, "a")
    slots.give(1)
    assert slots.take(2, threading.Event())
    starved(clock, slots, 1, seconds=29)
    assert not slots.stops(2, "a")
    starved(clock, slots, 1, seconds=2)
    assert slots.stops(2, "a")


def again(clock: Sim, slots: Slots, seconds: int = 31) -> bool:
    """After job 2 had its turn, job 1 has the slot again, and 2 waits for so long."""
    slots.give(1)
    assert slots.take(2, threading.Event())
    slots.give(2)
    assert slots.take(1, threading.Event())
    starved(clock, slots, 2, seconds=seconds)
    return slots.stops(1, "a")


def test_a_put_of_which_nothing_was_kept_is_not_stopped_again_before_others_could_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Behind whatever passes on only whole PUTs two jobs would stop each other for ever."""
    monkeypatch.setattr(throttle, "_CUT_AGAIN_S", 600.0)  # of hours
    clock = Sim(1)
    slots = Slots(clock, 1)
    assert slots.take(1, threading.Event())
    starved(clock, slots, 2)
    assert slots.stops(1, "a")
    assert not again(clock, slots)
    assert slots.yields(1), "once it is confirmed it is the other's turn"
    assert not again(clock, slots)
    slots.kept(1)
    assert again(clock, slots)
    assert again(clock, slots, seconds=600)


def test_one_file_stops_for_each_job_that_waits_for_long() -> None:
    clock = Sim(1)
    slots = Slots(clock, 4)
    for _ in range(4):
        assert slots.take(1, threading.Event())
    starved(clock, slots, 2, 3)
    assert [slots.stops(1, path) for path in "abcd"] == [True, True, False, False]


def test_a_job_that_was_stopped_for_and_gets_no_slot_is_stopped_for_again() -> None:
    clock = Sim(1)
    slots = Slots(clock, 2)
    for _ in range(2):
        assert slots.take(1, threading.Event())
    starved(clock, slots, 2)
    assert slots.stops(1, "a")
    slots.set(1)
    slots.give(1)
    starved(clock, slots, 2)
    assert slots.stops(1, "b")


def test_small_files_that_wait_use_up_nobodys_turn() -> None:
    clock = Sim(1)
    slots = Slots(clock, 1)
    own = Berths(slots, 1, threading.Event(), lambda: True)
    large = own.take(small=False)
    assert large
    for _ in range(100):
        clock.suspend(1)
        assert not slots.take(2, threading.Event())
        assert own.take(small=True) is None
    assert slots.stops(1, "a")
    large()
    assert slots.take(2, threading.Event())


def test_small_files_that_share_a_slot_leave_it_to_a_job_that_waits_for_long() -> None:
    clock = Sim(1)
    slots = Slots(clock, 1)
    own = Berths(slots, 1, threading.Event(), lambda: True)
    own.saw([1.0])
    leave = [own.take(small=True)]
    for _ in range(40):
        clock.suspend(1)
        leave.append(own.take(small=True))  # before the one that was there is gone
        if slots.take(2, threading.Event()):
            return
        if done := leave.pop(0):
            done()
    pytest.fail("the slot never became free")
