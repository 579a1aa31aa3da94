"""In whatever order blocks are sent: the right digest or none, and none is read that passed by."""

from __future__ import annotations

import random

import pytest

from tests.engine.hashing.conftest import CONTENT, EXPECTED, SIZE, STARTS, Bench, Memory
from uploader.engine import hashing
from uploader.sources.reader import BLOCK_BYTES


@pytest.mark.parametrize("patient", [True, False])
def test_blocks_that_pass_are_not_read_again(file: Memory, patient: bool) -> None:
    bench = Bench(file, patient=patient)
    bench.send(STARTS)
    assert bench.digest() == EXPECTED
    assert file.read == []


def test_blocks_that_are_sent_again_are_hashed_once(file: Memory) -> None:
    bench = Bench(file, patient=True)
    bench.send([*STARTS[:7], *STARTS[3:9], *STARTS])
    assert bench.digest() == EXPECTED
    assert bench.hashing.as_sent
    assert file.read == []


def test_what_a_server_has_after_all_is_read_again(file: Memory) -> None:
    bench = Bench(file, patient=True)
    bench.send([*STARTS[:7], *STARTS[:2], *STARTS[5:]])
    assert bench.digest() == EXPECTED
    assert not bench.hashing.as_sent
    assert file.read == [*STARTS[2:5]]


def test_a_server_that_went_back_to_an_odd_byte_shifts_the_blocks(file: Memory) -> None:
    bench = Bench(file, patient=True)
    bench.send(STARTS[:5])
    bench.send(range(3 * BLOCK_BYTES + 12_345, SIZE, BLOCK_BYTES))
    assert bench.digest() == EXPECTED
    assert file.read == []


@pytest.mark.parametrize("seed", range(5))
def test_blocks_in_another_order_are_never_hashed_in_that_order(file: Memory, seed: int) -> None:
    shuffled = random.Random(seed).sample(STARTS, len(STARTS))
    bench = Bench(file, patient=True)
    bench.send(shuffled)
    assert bench.digest() in (EXPECTED, None)


def test_a_hash_goes_back_only_so_far(file: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "_MOST_BACK", 3)
    for kept, as_sent in ((5, True), (4, False), (0, True)):
        bench = Bench(file, patient=True)
        bench.send(STARTS[:7])
        bench.send(STARTS[kept:])
        assert bench.digest() == EXPECTED
        assert bench.hashing.as_sent == as_sent


def test_few_of_the_blocks_that_are_not_queued_are_remembered(
    file: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashing, "MOST_UNQUEUED", 4)
    bench = Bench(file, patient=True)
    bench.hashing.room = lambda: 0
    for start in STARTS:
        bench.hashing.offer(start, CONTENT[start : start + BLOCK_BYTES])
    assert bench.digest() is None


@pytest.mark.parametrize("patient", [True, False])
def test_what_is_sent_before_the_hash_begins_is_read_once(file: Memory, patient: bool) -> None:
    bench = Bench(file, patient=patient)
    bench.send(STARTS[6:])
    assert bench.digest() == EXPECTED
    assert file.read == [*STARTS[:6]]


def test_nothing_was_left_to_send_so_the_file_is_read(file: Memory) -> None:
    assert Bench(file, patient=True).digest() == EXPECTED
    assert file.read == [*STARTS]


def test_bytes_that_were_never_sent_have_no_digest(file: Memory) -> None:
    """Whatever is hashed, its CRC32C must be the one that the service accepted."""
    other = bytearray(CONTENT)
    other[5 * BLOCK_BYTES] ^= 1
    bench = Bench(file, patient=True)
    bench.send(STARTS, bytes(other))
    assert bench.digest() is None


def test_what_was_written_after_it_was_sent_has_no_digest(file: Memory) -> None:
    """Even if its CRC32C is the same: what is read again is what was sent, or there is none."""
    bench = Bench(file, patient=True)
    for start in STARTS[6:]:
        bench.hashing.offer(start, CONTENT[start : start + BLOCK_BYTES])
    file.written = True
    assert bench.digest() is None


def test_two_blocks_that_change_places_have_no_digest(file: Memory) -> None:
    first, second = CONTENT[:BLOCK_BYTES], CONTENT[BLOCK_BYTES : 2 * BLOCK_BYTES]
    bench = Bench(file, patient=True)
    bench.send(STARTS, second + first + CONTENT[2 * BLOCK_BYTES :])
    assert bench.digest() is None


def test_a_file_that_cannot_be_read_again_has_no_digest_and_no_error(file: Memory) -> None:
    bench = Bench(file, patient=True)
    file.broken = True
    bench.send(STARTS[1:])
    assert bench.digest() is None
