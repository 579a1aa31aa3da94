"""One local file, open for one transfer: its blocks, its CRC32C and its identity.

The rule of docs/invariants.md §6 is kept here. A source is what size and mtime_ns of the *open
file* say; where those moved, only a re-read prefix that matches a known pair proves that it is
still the same file.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from types import TracebackType
from typing import Self

import google_crc32c

from uploader.core.errors import (
    SourceChanged,
    SourceMissing,
    SourceUnreadable,
    SourceUnsettled,
)
from uploader.core.job import FileState, PrefixCrc
from uploader.model.fingerprint import fingerprint_of, same
from uploader.runtime import StopToken

#: Measured: 128 KiB to 1 MiB are equal; the granule makes every block a possible offset.
BLOCK_BYTES = 256 * 1024


class Source:
    """An open file, with the CRCs known of it: ``pairs`` maps an offset to the CRC up to it."""

    def __init__(self, path: Path, descriptor: int, stop: StopToken) -> None:
        facts = os.fstat(descriptor)
        self.path = path
        self.regular = stat.S_ISREG(facts.st_mode)
        self.size_bytes = facts.st_size
        self.fingerprint = fingerprint_of(facts)
        #: Was it proven by its bytes, for its fingerprint is another one?
        self.touched = False
        self.pairs: dict[int, int] = {0: 0}
        self._descriptor = descriptor
        self._stop = stop

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._descriptor)

    def check(self) -> None:
        """Raises SourceUnsettled where the open file was written to, or touched, since."""
        try:
            facts = os.fstat(self._descriptor)
        except OSError as error:  # the handle of a network filesystem went stale
            raise _unreadable(self.path, error) from None
        untouched = same(self.fingerprint, fingerprint_of(facts))
        if facts.st_size != self.size_bytes or not untouched:
            raise SourceUnsettled(f"{self.path.name} was written to while it was being sent")

    def block(self, start: int, count: int) -> bytes:
        """``count`` bytes at ``start``. Raises SourceUnsettled where there are fewer."""
        try:
            block = os.pread(self._descriptor, count, start)
        except OSError as error:
            raise _unreadable(self.path, error) from None
        if len(block) < count:
            raise SourceUnsettled(f"{self.path.name} is shorter than it was")
        return block

    def crc_at(self, offset: int) -> PrefixCrc:
        """The CRC of [0, offset): the largest known pair at or below, extended by reading.

        Raises SourceUnsettled: a pair of bytes read after a change would prove that change.
        """
        start = max(known for known in self.pairs if known <= offset)
        if start < offset:
            crc = self._extended(PrefixCrc(start, self.pairs[start]), offset)
            self.check()
            self.pairs[offset] = crc
        return PrefixCrc(offset, self.pairs[offset])

    def confirm(self, offset: int) -> PrefixCrc:
        """The pair at a confirmed ``offset``; smaller ones are not needed any more."""
        pair = self.crc_at(offset)
        self.pairs = {0: 0} | {known: crc for known, crc in self.pairs.items() if known >= offset}
        return pair

    def matches(self, pair: PrefixCrc) -> bool:
        """True where the bytes [0, pair.offset), read again, have that CRC."""
        return self._extended(PrefixCrc(), pair.offset) == pair.crc32c

    def _extended(self, pair: PrefixCrc, stop_at: int) -> int:
        position, crc = pair.offset, pair.crc32c
        while position < stop_at:
            self._stop.check()
            block = self.block(position, min(BLOCK_BYTES, stop_at - position))
            position, crc = position + len(block), google_crc32c.extend(crc, block)
        return crc


def open_source(root: str, file: FileState, stop: StopToken) -> Source:
    """Open a file of the manifest, proven to be the one it names (docs/invariants.md §6).

    Raises SourceMissing, SourceUnreadable (may pass), or SourceChanged.
    """
    path = Path(root) / file.path
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise _unreadable(path, error) from None
    try:
        source = Source(path, descriptor, stop)
        _prove(source, file)
    except BaseException as error:
        os.close(descriptor)
        if isinstance(error, OSError):
            raise _unreadable(path, error) from None
        raise
    return source


def _prove(source: Source, file: FileState) -> None:
    proof = best_pair(file)
    proven = source.regular and source.size_bytes == file.size_bytes
    source.touched = not same(file.fingerprint, source.fingerprint)
    if proven and source.touched:
        # An empty prefix proves nothing, except of an empty file.
        proven = (proof.offset > 0 or not file.size_bytes) and source.matches(proof)
    if not proven:
        raise changed(file.path)
    source.pairs |= {pair.offset: pair.crc32c for pair in (file.checkpoint, file.mark)}


def best_pair(file: FileState) -> PrefixCrc:
    """The largest proven pair of a file; of a stored one, the whole of it."""
    if file.stored and file.crc32c is not None:
        return PrefixCrc(file.size_bytes, file.crc32c)
    return max(file.checkpoint, file.mark, key=lambda pair: pair.offset)


def changed(path: str) -> SourceChanged:
    """The refusal to splice: what is on disk is not what was enqueued."""
    return SourceChanged(f"{path} is not the file that was enqueued")


def _unreadable(path: Path, error: OSError) -> SourceMissing | SourceUnreadable:
    # Looked at in this order, a folder that comes back meanwhile is not taken for a lost file.
    if isinstance(error, FileNotFoundError) and path.parent.is_dir() and not path.exists():
        return SourceMissing(f"{path.name} is gone from {path.parent}")
    words = error.strerror or type(error).__name__
    return SourceUnreadable(f"cannot read {path}: {words}")
