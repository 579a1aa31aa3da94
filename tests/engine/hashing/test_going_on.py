"""The next transfer, or another process after a kill, goes on with the hash where it was."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.engine.hashing.conftest import CONTENT, EXPECTED, FILE, STARTS, Bench, Memory
from uploader.core.job import PrefixCrc
from uploader.engine import prefix
from uploader.engine.prefix import Kept, Prefix
from uploader.sources import sha256
from uploader.sources.reader import BLOCK_BYTES
from uploader.store.marks import Mark, Marks


@pytest.mark.parametrize("blocks", range(len(STARTS) + 1))
def test_the_next_transfer_goes_on_where_this_one_ended(
    file: Memory, mark: Mark, blocks: int
) -> None:
    first = Bench(file, mark, patient=True)
    first.send(STARTS[:blocks])
    first.hashing.end()
    first.kept.put(mark, first.hashing.prefix)
    second = Bench(file, mark, kept=first.kept, patient=True)
    second.send(STARTS[blocks:])
    assert second.digest() == EXPECTED
    assert second.hashing.as_sent
    assert file.read == []


@pytest.mark.parametrize("blocks", range(len(STARTS)))
def test_another_process_goes_on_where_this_one_was_killed(
    file: Memory, mark: Mark, tmp_path: Path, blocks: int
) -> None:
    first = Bench(file, mark, patient=True)
    first.send(STARTS[:blocks])
    first.hashing.save()
    second = Bench(file, Marks(tmp_path / "marks").of(FILE), patient=True)
    second.send(STARTS[blocks:])
    assert second.digest() == EXPECTED
    assert second.hashing.as_sent
    assert file.read == []


def test_the_state_of_a_hash_that_stands_still_is_saved(
    file: Memory, mark: Mark, tmp_path: Path
) -> None:
    """What a stalled transfer sent within a quarter of a second is not read again after a kill."""
    bench = Bench(file, mark, patient=True)
    sim = bench.clock

    def body() -> None:
        bench.hashing.start(sim.spawn, "sha256")
        for start in STARTS[:3]:
            bench.hashing.offer(start, CONTENT[start : start + BLOCK_BYTES])
        sim.wait(threading.Event(), 5)
        saved = Kept().take(Marks(tmp_path / "marks").of(FILE))
        assert saved.pair.offset == 3 * BLOCK_BYTES
        bench.hashing.end()

    assert sim.run(body)


def test_where_no_state_can_be_saved_another_process_reads_again(
    file: Memory, mark: Mark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sha256, "_opener", lambda: None)
    first = Bench(file, mark, patient=True)
    first.send(STARTS[:4])
    first.hashing.save()
    second = Bench(file, Marks(tmp_path / "marks").of(FILE), patient=True)
    second.send(STARTS[4:])
    assert second.digest() == EXPECTED
    assert not second.hashing.as_sent
    assert file.read == [*STARTS[:4]]


def test_a_saved_state_that_is_damaged_is_not_believed(
    file: Memory, mark: Mark, tmp_path: Path
) -> None:
    first = Bench(file, mark, patient=True)
    first.send(STARTS[:4])
    first.hashing.save()
    (path,) = (tmp_path / "marks").iterdir()
    whole = path.read_bytes()
    for at in range(28, len(whole), 7):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert Kept().take(mark).pair == PrefixCrc()
    path.write_bytes(whole)
    assert Kept().take(mark).pair.offset == 4 * BLOCK_BYTES


def test_only_so_many_hashes_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefix, "_MOST_KEPT", 2)
    kept, marks = Kept(), [Mark(None, bytes([number])) for number in range(3)]
    for number, one in enumerate(marks):
        kept.put(one, Prefix(PrefixCrc(64 * (number + 1), 1)))
    kept.put(Mark(None, b""), Prefix(PrefixCrc(64, 1)))
    assert [kept.take(one).pair.offset for one in marks] == [0, 128, 192]
    assert kept.take(marks[2]).pair.offset == 0, "it goes to one transfer only"
