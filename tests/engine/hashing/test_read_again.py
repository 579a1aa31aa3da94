"""What is read again must be what was sent, although other bytes have its CRC32C."""

from __future__ import annotations

import google_crc32c
import pytest

from tests.engine.hashing.conftest import (
    CONTENT,
    EXPECTED,
    STARTS,
    WHOLE,
    Bench,
    Memory,
    assert_true,
    forged,
    next_transfer,
)
from uploader.core.errors import SourceChanged
from uploader.engine.prefix import QUEUED
from uploader.sources.reader import BLOCK_BYTES


@pytest.mark.parametrize("patient", [True, False])
@pytest.mark.parametrize("room", [0, 1, 3])
def test_a_block_that_is_read_again_must_be_the_one_that_was_sent(
    file: Memory, room: int, patient: bool
) -> None:
    for at in (None, 0, 5 * BLOCK_BYTES + 9):
        bench = Bench(file, patient=patient)
        bench.hashing.room = lambda: room
        for start in STARTS:
            bench.hashing.offer(start, CONTENT[start : start + BLOCK_BYTES])
        file.content = CONTENT if at is None else forged(CONTENT, at)
        assert google_crc32c.value(file.content) == WHOLE.crc32c
        queued = at is not None and at < room * BLOCK_BYTES
        if at is None or queued:
            assert bench.digest() == EXPECTED
        else:
            with pytest.raises(SourceChanged):
                bench.digest()
        file.content = CONTENT


def test_so_must_one_that_the_next_transfer_reads(file: Memory) -> None:
    for content, expected in ((CONTENT, EXPECTED), (forged(CONTENT, BLOCK_BYTES), None)):
        before = Bench(file, patient=True)
        before.hashing.room = lambda: 1
        for start in STARTS[:4]:
            before.hashing.offer(start, CONTENT[start : start + BLOCK_BYTES])
        file.content = content
        before.hashing.end()
        after = next_transfer(before, file)
        if expected is None:
            with pytest.raises(SourceChanged):
                after.send(STARTS[4:])
        else:
            after.send(STARTS[4:])
            assert after.digest() == expected
        file.content = CONTENT


def test_a_block_that_was_found_to_be_another_is_not_believed_the_next_time(file: Memory) -> None:
    before = Bench(file, patient=True)
    before.hashing.room = lambda: 0
    for start in STARTS[:4]:
        before.hashing.offer(start, CONTENT[start : start + BLOCK_BYTES])
    file.content = forged(CONTENT, 2 * BLOCK_BYTES + 9)
    before.hashing.answering()
    with pytest.raises(SourceChanged):
        before.hashing.offer(STARTS[4], CONTENT[STARTS[4] : STARTS[5]])
    after = next_transfer(before, file)
    after.send(STARTS[4:], file.content)
    assert_true(after, CONTENT[: 4 * BLOCK_BYTES] + file.content[4 * BLOCK_BYTES :])


def test_what_is_queued_after_a_gap_when_a_transfer_ends_is_proven_all_the_same(
    file: Memory,
) -> None:
    before = Bench(file, patient=True)
    for start in STARTS[:6]:  # the third one finds no room
        before.hashing.room = lambda start=start: 0 if start == STARTS[2] else QUEUED  # type: ignore[misc]
        before.hashing.offer(start, CONTENT[start : start + BLOCK_BYTES])
    after = next_transfer(before, file)
    after.send(STARTS[6:])
    assert after.digest() == EXPECTED
    assert after.hashing.as_sent
