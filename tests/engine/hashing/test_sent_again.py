"""What is sent again may be other bytes of the same CRC32C: no proof survives beyond its start."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.engine.conftest import GRANULE, Lab
from tests.engine.hashing.conftest import (
    CONTENT,
    EXPECTED,
    FILE,
    SIZE,
    STARTS,
    WHOLE,
    Bench,
    Memory,
    assert_true,
    forged,
    next_transfer,
)
from tests.simulation.sim import Sim
from uploader.core.errors import NoThread
from uploader.core.job import PrefixCrc
from uploader.engine import hashing
from uploader.engine.hashing import Digests, Hashing
from uploader.engine.prefix import QUEUED, Kept, Prefix
from uploader.runtime import StopToken
from uploader.sources.reader import BLOCK_BYTES, Reader
from uploader.store.marks import Mark, Marks

OTHER = forged(CONTENT, 5 * BLOCK_BYTES + 9)
MIXED = CONTENT[: 4 * BLOCK_BYTES] + OTHER[4 * BLOCK_BYTES :]


@pytest.mark.parametrize("room", [0, 2, QUEUED])
@pytest.mark.parametrize("kept", [3 * BLOCK_BYTES, 3 * BLOCK_BYTES + 12_345])
@pytest.mark.parametrize("again", ["put", "transfer"])
def test_what_is_sent_again_may_be_other_bytes(
    file: Memory, room: int, kept: int, again: str
) -> None:
    """The server kept less than was sent, and what it is sent then is not what was hashed."""
    bench = Bench(file, patient=True)
    bench.hashing.room = lambda: room
    bench.send(STARTS[:7])
    file.content = forged(CONTENT, 5 * BLOCK_BYTES + 9)
    bench = bench if again == "put" else next_transfer(bench, file)
    bench.send(range(kept, SIZE, BLOCK_BYTES), file.content)
    assert_true(bench, CONTENT[:kept] + file.content[kept:])
    assert bench.hashing.as_sent == (kept % BLOCK_BYTES == 0)


@pytest.mark.parametrize("again", ["put", "transfer"])
def test_what_is_sent_again_after_all_of_it_was_hashed_is_hashed_again(
    file: Memory, again: str
) -> None:
    """Its thread has ended by then."""
    bench, clock = Bench(file, patient=True), Sim(1)

    def body() -> None:
        one = bench
        one.hashing.start(clock.spawn, "sha256")
        one.send(STARTS)
        clock.wait(one.hashing._shared.ended, 5.0)
        assert one.hashing.prefix.pair == WHOLE
        file.content = forged(CONTENT, 8 * BLOCK_BYTES + 9)
        if again == "transfer":
            one = next_transfer(one, file)
            one.hashing.start(clock.spawn, "sha256")
            clock.wait(threading.Event(), 5.0)
        one.send(STARTS[7:], file.content)
        assert one.digest() == hashlib.sha256(file.content).hexdigest()
        assert one.hashing.as_sent
        one.hashing.end()

    assert clock.run(body)


@pytest.mark.parametrize("back", [0, 3])
def test_a_kill_just_after_the_server_went_back_leaves_no_state_of_bytes_that_are_sent_again(
    file: Memory, mark: Mark, tmp_path: Path, back: int
) -> None:
    before = Bench(file, mark, patient=True)
    before.send(STARTS[:7])
    before.hashing.save()
    other = forged(CONTENT, 5 * BLOCK_BYTES + 9)
    before.send(STARTS[back:7], other)  # and it is killed; the server has seven blocks
    file.content = other
    after = Bench(file, Marks(tmp_path / "marks").of(FILE), patient=True)
    after.send(STARTS[7:], other)
    assert_true(after, CONTENT[: back * BLOCK_BYTES] + other[back * BLOCK_BYTES :])


def test_what_was_sent_after_the_hash_was_given_up_is_not_proven(
    file: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashing, "FALLS_BEHIND_BYTES", BLOCK_BYTES)
    before = Bench(file, patient=False)
    before.hashing.room = lambda: 0
    for start in STARTS[:3]:
        before.hashing.offer(start, CONTENT[start : start + BLOCK_BYTES])
    before.send(STARTS[3:6])
    file.content = forged(CONTENT, 4 * BLOCK_BYTES + 9)
    after = next_transfer(before, file, patient=False)
    after.send(STARTS[6:], file.content)
    assert_true(after, CONTENT[: 6 * BLOCK_BYTES] + file.content[6 * BLOCK_BYTES :])


def offer(bench: Bench, starts: Any, content: bytes = CONTENT) -> None:
    """Send blocks for which the queue has no room, and give the hash no time."""
    bench.hashing.room = lambda: 0
    for start in starts:
        bench.hashing.offer(start, content[start : start + BLOCK_BYTES])


def fail_to_read(bench: Bench, file: Memory, _: pytest.MonkeyPatch) -> None:
    file.broken = True
    offer(bench, STARTS[6:8])
    bench.hashing.answering()
    file.broken = False


def fall_behind(bench: Bench, _: Memory, patch: pytest.MonkeyPatch) -> None:
    bench.hashing._patient = False
    patch.setattr(hashing, "MOST_BEHIND_BYTES", BLOCK_BYTES)
    offer(bench, STARTS[6:8])
    bench.hashing.answering()


@pytest.mark.parametrize("give_up", [fail_to_read, fall_behind])
@pytest.mark.parametrize("again", [STARTS[4:6], STARTS[4:8], [*STARTS[5:8], *STARTS[4:6]]])
def test_a_hash_that_was_given_up_still_goes_back_to_what_is_sent_again(
    file: Memory, monkeypatch: pytest.MonkeyPatch, give_up: Callable[..., None], again: list[int]
) -> None:
    before = Bench(file, patient=True)
    before.send(STARTS[:6])
    give_up(before, file, monkeypatch)
    assert before.hashing._shared.over
    file.content = OTHER
    offer(before, again, OTHER)
    after = next_transfer(before, file)
    assert after.hashing.prefix.pair.offset == 4 * BLOCK_BYTES
    after.send(range(again[-1] + BLOCK_BYTES, SIZE, BLOCK_BYTES), OTHER)
    assert_true(after, MIXED)


def without_thread(file: Memory, prefix: Prefix, mark: Mark) -> Hashing:
    def refused(*_: Any) -> None:
        raise NoThread("no more")

    stop = StopToken()
    one = Hashing(Reader(file, stop), prefix, mark, Sim(1), stop, patient=True)
    one.start(refused, "x")
    return one


@pytest.mark.parametrize("blocks", [6, len(STARTS)])
def test_so_does_one_that_never_had_a_thread(file: Memory, marks: Marks, blocks: int) -> None:
    before = Bench(file, marks.of(FILE), patient=True)
    before.send(STARTS[:blocks])
    before.hashing.end()
    one = without_thread(file, before.hashing.prefix, marks.of(FILE))
    for start in STARTS[4:]:
        one.offer(start, OTHER[start : start + BLOCK_BYTES])
    assert one.digest(WHOLE) is None
    one.end()
    assert one.prefix.pair.offset == 4 * BLOCK_BYTES


def test_what_is_sent_again_just_as_all_is_hashed_is_not_proven_by_what_was_hashed(
    file: Memory,
) -> None:
    """Its thread has found nothing more to do, but has not ended yet."""
    bench = Bench(file, patient=True)
    bench.send(STARTS)
    bench.hashing._shared.ended.clear()
    offer(bench, STARTS[4:], OTHER)
    bench.hashing._clock.wait = lambda event, _: event.set() or True  # type: ignore[method-assign,assignment,func-returns-value]
    bench.hashing.end()
    assert bench.hashing.prefix.pair.offset == 4 * BLOCK_BYTES


@pytest.mark.parametrize("most_back", [1, 64])
@pytest.mark.parametrize("done", [6 * BLOCK_BYTES, SIZE])
def test_no_saved_record_is_left_of_bytes_that_are_sent_again(
    file: Memory, marks: Marks, monkeypatch: pytest.MonkeyPatch, most_back: int, done: int
) -> None:
    """Not even for a moment: a kill may come as soon as they are on their way."""
    monkeypatch.setattr(hashing, "_MOST_BACK", most_back)
    before = Bench(file, marks.of(FILE), patient=True)
    before.send(STARTS[:6])
    before.hashing.save()
    before.send(range(6 * BLOCK_BYTES, done, BLOCK_BYTES))
    assert Kept().take(marks.of(FILE)).pair.offset == 6 * BLOCK_BYTES
    file.content = OTHER
    offer(before, STARTS[4:5], OTHER)
    assert Kept().take(marks.of(FILE)).pair == PrefixCrc()
    before.hashing.save()
    assert Kept().take(marks.of(FILE)).pair == PrefixCrc(), "the hash has not gone back yet"
    before.send(STARTS[5:7], OTHER)
    before.hashing.save()
    saved = Kept().take(marks.of(FILE))
    assert not saved.pair.offset or saved.as_sent == (most_back == 64)


def test_a_record_of_bytes_before_those_that_are_sent_again_is_kept(
    file: Memory, marks: Marks
) -> None:
    bench = Bench(file, marks.of(FILE), patient=True)
    bench.send(STARTS[:4])
    bench.hashing.save()
    bench.send(STARTS[4:7])
    offer(bench, STARTS[4:5])
    assert Kept().take(marks.of(FILE)).pair.offset == 4 * BLOCK_BYTES


def test_of_a_hash_that_is_told_nothing_more_nothing_is_kept(file: Memory, marks: Marks) -> None:
    bench = Bench(file, marks.of(FILE), patient=True)
    bench.send(STARTS[:6])
    bench.hashing.save()
    bench.hashing.give_up()
    bench.hashing.end()
    bench.hashing.save(6 * BLOCK_BYTES)
    assert bench.hashing.prefix.pair == PrefixCrc()
    assert Kept().take(marks.of(FILE)).pair == PrefixCrc()


def test_a_transfer_that_does_not_hash_leaves_nothing_for_the_next_one(
    file: Memory, marks: Marks
) -> None:
    bench, kept = Bench(file, marks.of(FILE), patient=True), Kept()
    bench.send(STARTS[:6])
    bench.hashing.save()
    kept.put(marks.of(FILE), bench.hashing.prefix)
    assert kept.drop(marks.of(FILE)).pair == PrefixCrc()
    assert kept.take(marks.of(FILE)).pair == PrefixCrc()


def test_half_a_block_is_no_proof_once_the_other_half_is_sent_again(file: Memory) -> None:
    """The block is read again later, and has its first bytes then."""
    kept = 5 * BLOCK_BYTES + 5
    before = Bench(file, patient=True)
    before.send(STARTS[:3])
    file.broken = True
    offer(before, STARTS[3:6])
    before.hashing.answering()
    file.broken = False
    before.hashing.offer(kept, OTHER[kept : STARTS[6]])
    after = next_transfer(before, file)
    after.send(STARTS[6:])
    assert_true(after, CONTENT[:kept] + OTHER[kept:])
    assert after.digest() == EXPECTED, "what no longer is a proof is read without one"


def test_of_countless_turns_of_the_server_a_hash_that_was_given_up_remembers_the_lowest(
    file: Memory,
) -> None:
    bench = Bench(file, patient=True)
    bench.send(STARTS[:2])
    bench.hashing._shared.over = True
    for turn in range(1000):
        start = 4 * BLOCK_BYTES + turn
        bench.hashing.offer(start, CONTENT[start : start + BLOCK_BYTES])
    assert len(bench.hashing._shared.queue) == 1


def persisted(lab: Lab) -> int:
    return lab.object()["persisted"] if lab.world.report()["objects"] else 0


def test_a_transfer_that_does_not_hash_forgets_what_was_saved(lab: Lab) -> None:
    lab.enqueue(lab.model(a_bin=SIZE))
    lab.bytes_per_s = GRANULE / 20
    for digests, sent in ((Digests.ON, 4), (Digests.OFF, 7)):
        most = sent * GRANULE
        lab.run_until(lambda most=most: persisted(lab) >= most, digests=digests)  # type: ignore[misc]
        saved = Kept().take(lab.marks.of(lab.file())).pair.offset
        assert bool(saved) == (digests is Digests.ON)
