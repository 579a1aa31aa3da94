"""Nothing waits for a hash that falls behind, and memory does not grow."""

from __future__ import annotations

import threading
import tracemalloc
from typing import Any

import pytest

from tests.engine.hashing.conftest import CONTENT, EXPECTED, STARTS, WHOLE, Bench, Memory
from tests.simulation.sim import Sim
from uploader.core.errors import NoThread, Stopped
from uploader.engine import hashing
from uploader.engine.hashing import Hashing
from uploader.engine.prefix import QUEUED, Kept, Prefix
from uploader.runtime import StopToken
from uploader.sources.reader import BLOCK_BYTES, Reader
from uploader.store.marks import Mark
from uploader.threads import spawn


def test_a_hash_that_is_too_far_behind_is_given_up_unless_it_is_asked_for(
    file: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashing, "MOST_BEHIND_BYTES", 2 * BLOCK_BYTES)
    for patient, expected in ((False, None), (True, EXPECTED)):
        bench = Bench(file, patient=patient)
        bench.send(STARTS[3:])
        assert bench.digest() == expected
    assert file.read == [*STARTS[:3]], "what is given up reads nothing"


def test_a_hash_that_falls_behind_is_given_up_unless_it_catches_up(
    file: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashing, "FALLS_BEHIND_BYTES", 2 * BLOCK_BYTES)
    for behind, expected in ((1, EXPECTED), (4, None)):
        bench = Bench(file, patient=False)
        bench.hashing.room = lambda: 0
        for start in STARTS[:behind]:
            bench.hashing.offer(start, CONTENT[start : start + BLOCK_BYTES])
        bench.send(STARTS[behind:])
        assert bench.digest() == expected


def test_what_an_earlier_process_left_to_hash_is_not_falling_behind(
    file: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashing, "FALLS_BEHIND_BYTES", BLOCK_BYTES)
    for left in (STARTS[4:], STARTS[:0]):
        bench = Bench(file, patient=False)
        bench.send(left)
        assert bench.digest() == EXPECTED


class Never(Hashing):
    """A thread that never gets its turn."""

    def run(self) -> None:
        self._clock.wait(threading.Event(), 3600.0)
        super().run()


def stuck(file: Memory, clock: Sim, stop: StopToken, *, patient: bool) -> Never:
    one = Never(Reader(file, stop), Prefix(), Mark(None, b""), clock, stop, patient=patient)
    one.start(clock.spawn, "never")
    return one


def test_a_digest_is_waited_for_only_if_it_is_asked_for(file: Memory) -> None:
    for patient, expected, most_s in ((False, None, 0.1), (True, EXPECTED, 3700.0)):
        clock = Sim(1)

        def body(clock: Sim = clock, patient: bool = patient, expected: Any = expected) -> None:
            one = stuck(file, clock, StopToken(), patient=patient)
            for start in STARTS:
                one.offer(start, CONTENT[start : start + BLOCK_BYTES])
            assert one.digest(WHOLE) == expected

        clock.run(body)
        assert clock.boot_s() <= most_s


def test_a_long_transfer_may_wait_for_three_percent_of_it(file: Memory) -> None:
    clock = Sim(1)

    def body() -> None:
        one = stuck(file, clock, StopToken(), patient=False)
        clock.wait(threading.Event(), 1000.0)
        began_s = clock.boot_s()
        assert one.digest(WHOLE) is None
        assert clock.boot_s() - began_s == pytest.approx(30.0)

    clock.run(body)


def test_who_waits_for_a_digest_stops_when_asked(file: Memory) -> None:
    clock, stop = Sim(1), StopToken()

    def body() -> None:
        one = stuck(file, clock, stop, patient=True)
        stop.stop()
        with pytest.raises(Stopped):
            one.digest(WHOLE)

    clock.run(body)
    assert clock.boot_s() < 1.0


def test_blocks_that_nobody_hashes_are_not_kept(file: Memory) -> None:
    one = Bench(file, patient=False).hashing
    tracemalloc.start()
    try:
        for number in range(400):
            one.offer(number * BLOCK_BYTES, bytes(BLOCK_BYTES))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < (QUEUED + 3) * BLOCK_BYTES


@pytest.mark.parametrize(("files", "each"), [(1, QUEUED), (4, 8), (16, 2), (64, 0)])
def test_the_more_files_are_hashed_the_fewer_blocks_of_each_are_kept(
    file: Memory, files: int, each: int
) -> None:
    kept = Kept()
    hashing, *others = (Bench(file, patient=False).hashing for _ in range(files))
    kept.following |= {hashing, *others}
    hashing.room = kept.room
    for number in range(2 * QUEUED):
        hashing.offer(number * BLOCK_BYTES, bytes(BLOCK_BYTES))
    assert sum(bool(block) for _, block in hashing._shared.queue) == each


def test_with_no_thread_to_be_had_there_is_no_digest(file: Memory) -> None:
    def refused(*_: Any) -> None:
        raise NoThread("no more")

    one = Bench(file, patient=True).hashing
    one.start(refused, "x")
    one.offer(0, CONTENT[:BLOCK_BYTES])
    assert one.digest(WHOLE) is None
    one.end()


def test_a_real_thread_hashes_what_a_fast_sender_sends(file: Memory) -> None:
    from uploader.runtime import SystemClock  # noqa: PLC0415

    stop = StopToken()
    one = Hashing(Reader(file, stop), Prefix(), Mark(None, b""), SystemClock(), stop, patient=True)
    one.start(spawn, "sha256")
    for start in STARTS:
        one.offer(start, CONTENT[start : start + BLOCK_BYTES])
    one.answering()
    assert one.digest(WHOLE) == EXPECTED
    one.end()
