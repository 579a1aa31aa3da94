"""A file in memory that is sent in blocks, and a hash of it that works when it is told to."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from pathlib import Path

import google_crc32c
import pytest

from tests.simulation.sim import Sim
from uploader.core.errors import SourceUnreadable, SourceUnsettled
from uploader.core.job import FileState, PrefixCrc
from uploader.core.redact import SessionUri
from uploader.engine.hashing import Hashing
from uploader.engine.prefix import Kept, Prefix
from uploader.runtime import StopToken
from uploader.sources import sha256
from uploader.sources.reader import BLOCK_BYTES, Reader
from uploader.store.marks import Mark, Marks

SIZE = 10 * BLOCK_BYTES + 77
CONTENT = random.Random(3).randbytes(SIZE)
WHOLE = PrefixCrc(SIZE, google_crc32c.value(CONTENT))
EXPECTED = hashlib.sha256(CONTENT).hexdigest()
STARTS = range(0, SIZE, BLOCK_BYTES)
FILE = FileState(1, "a.bin", SIZE, "x", session=SessionUri("https://s/o?upload_id=secret"))


class Memory:
    """An `OpenFile` in memory that counts what is read."""

    name, fingerprint, written_to = "a.bin", "x", False

    def __init__(self, content: bytes = CONTENT) -> None:
        self.content = content
        self.size_bytes = len(content)
        self.read: list[int] = []
        self.broken = self.written = False

    def same(self, known: str) -> bool:
        return known == self.fingerprint

    def check(self) -> None:
        if self.written:
            raise SourceUnsettled("no")

    def block(self, start: int, count: int) -> bytes:
        if self.broken:
            raise SourceUnreadable("no")
        self.read.append(start)
        return self.content[start : start + count]

    def is_sound(self) -> bool:
        return True

    def close(self) -> None:
        pass


class Bench:
    """A `Hashing` without a thread: it works when it is told that there is time."""

    def __init__(
        self, file: Memory, mark: Mark | None = None, *, kept: Kept | None = None, patient: bool
    ) -> None:
        self.mark = mark or Mark(None, b"")
        self.stop = StopToken()
        self.kept = kept or Kept()
        reader, prefix = Reader(file, self.stop), self.kept.take(self.mark)
        if not prefix.pair.offset:
            prefix = Prefix(sha256=sha256.started())
        self.clock = Sim(1)
        self.hashing = Hashing(reader, prefix, self.mark, self.clock, self.stop, patient=patient)

    def send(self, starts: Sequence[int], content: bytes = CONTENT) -> None:
        for start in starts:
            self.hashing.offer(start, content[start : start + BLOCK_BYTES])
            self.hashing.answering()

    def digest(self) -> str | None:
        return self.hashing.digest(WHOLE)


@pytest.fixture
def file() -> Memory:
    return Memory()


@pytest.fixture
def marks(tmp_path: Path) -> Marks:
    found = Marks(tmp_path / "marks")
    found.sweep(Sim(1).now())
    return found


@pytest.fixture
def mark(marks: Marks) -> Mark:
    return marks.of(FILE)


def forged(content: bytes, at: int) -> bytes:
    """Other bytes with the same CRC32C, whatever precedes and follows: its generator is added."""
    generator = int(f"{0x11EDC6F41:033b}"[::-1], 2)
    changed = int.from_bytes(content[at : at + 5], "little") ^ generator
    return content[:at] + changed.to_bytes(5, "little") + content[at + 5 :]


def next_transfer(before: Bench, file: Memory, *, patient: bool = True) -> Bench:
    """In the same process, after ``before`` was cut."""
    before.hashing.end()
    after, stop = Bench(file, patient=patient), StopToken()
    after.hashing = Hashing(
        Reader(file, stop), before.hashing.prefix, after.mark, after.clock, stop, patient=patient
    )
    return after


def assert_true(bench: Bench, stored: bytes) -> None:
    """If a digest counts as that of what was sent, it is that of what is stored."""
    found = bench.digest()
    assert not (found and bench.hashing.as_sent) or found == hashlib.sha256(stored).hexdigest()
