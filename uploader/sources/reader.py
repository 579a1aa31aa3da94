"""A file open for one transfer: its CRC32C up to any offset, and the proof of its identity.

This implements docs/invariants.md §6. A file with a new fingerprint is the same file only if the
prefix that was sent, read again, has the same SHA-256, as far as that is known, and the same CRC.
If nothing of it was sent, it is taken as it is now, provided that its size is the same and its own
header is sound.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Self

import google_crc32c

from uploader.core.crc32c import crc_before
from uploader.core.errors import SourceUnreadable, SourceUnsettled
from uploader.core.job import FileState, PrefixCrc
from uploader.model.fingerprint import (
    is_written,
    same,
    same_inode,
    unless_only_changed,
    written,
)
from uploader.model.links import Private
from uploader.runtime import StopToken
from uploader.sources.base import OpenFile, Source
from uploader.sources.local import LocalFolder, changed

#: 128 KiB to 1 MiB are equally fast, as measured; the granule makes every block end at a possible
#: offset.
BLOCK_BYTES = 256 * 1024
_MOST_PROOFS = 1024


@dataclass(frozen=True, slots=True)
class Sent:
    """The first bytes of a file as they were sent: up to where, with which CRC, and SHA-256."""

    pair: PrefixCrc
    sha256: str


class Proofs:
    """What this process has read again and proven: the same doubt does not cost another reading.

    A row says so only once the service has said how much it holds, which may take a night.
    """

    def __init__(self) -> None:
        self._last: dict[tuple[int, str], tuple[str, PrefixCrc, Sent | None]] = {}
        self._lock = Lock()

    def has(self, row: FileState, found: str, pair: PrefixCrc, sent: Sent | None) -> bool:
        """Was the file of ``row`` proven by these, while its fingerprint was ``found``?"""
        return self._last.get((row.job_id, row.path)) == (found, pair, sent)

    def keep(self, row: FileState, found: str, pair: PrefixCrc, sent: Sent | None) -> None:
        """Remember that it was. The oldest is forgotten first."""
        if is_written(found):  # it may change, and its fingerprint would not
            return
        with self._lock:
            self._last[row.job_id, row.path] = found, pair, sent
            if len(self._last) > _MOST_PROOFS:
                del self._last[next(iter(self._last))]


class Reader:
    """An open file and its known CRCs: ``pairs`` maps an offset to the CRC up to it."""

    def __init__(self, file: OpenFile, stop: StopToken) -> None:
        self.size_bytes = file.size_bytes
        self.fingerprint = file.fingerprint
        #: Does its fingerprint differ from the row's, or does that say nothing at the end?
        self.touched = False
        #: Does its time differ from the row's?
        self.rewritten = False
        #: If so: its bytes before this offset are those that were sent, by their SHA-256.
        self.proven_bytes = 0
        self.pairs: dict[int, int] = {0: 0}
        self._file = file
        self._stop = stop

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._stop.disk:
            self._file.close()

    def same(self, known: str) -> bool:
        """As `OpenFile.same`."""
        with self._stop.disk:
            return self._file.same(known)

    def check(self) -> None:
        """As `OpenFile.check`."""
        with self._stop.disk:
            self._file.check()

    @property
    def written_to(self) -> bool:
        """As `OpenFile.written_to`, by now."""
        with contextlib.suppress(SourceUnsettled, SourceUnreadable):  # that shows by itself
            self.check()
        return self._file.written_to

    def block(self, start: int, count: int) -> bytes:
        """As `OpenFile.block`."""
        with self._stop.disk:
            return self._file.block(start, count)

    def is_sound(self) -> bool:
        """As `OpenFile.is_sound`."""
        with self._stop.disk:
            return self._file.is_sound()

    def crc_at(self, offset: int) -> PrefixCrc:
        """The CRC of [0, offset), from a known pair and the bytes between the two.

        The next known pair above is preferred: the bytes up to it are sent again anyway.
        Raises SourceUnsettled: a CRC of bytes read after a change would seem to prove them.
        """
        if offset not in self.pairs:
            above = min((known for known in self.pairs if known > offset), default=None)
            if above is None:
                start = max(known for known in self.pairs if known < offset)
                crc = self._extended(PrefixCrc(start, self.pairs[start]), offset)
            else:
                tail = self._extended(PrefixCrc(offset), above)
                crc = crc_before(self.pairs[above], tail, above - offset)
            self.check()
            self.pairs[offset] = crc
        return PrefixCrc(offset, self.pairs[offset])

    def confirm(self, offset: int) -> PrefixCrc:
        """The pair at a confirmed ``offset``; smaller ones are no longer needed."""
        pair = self.crc_at(offset)
        self.pairs = {0: 0} | {known: crc for known, crc in self.pairs.items() if known >= offset}
        return pair

    def matches(self, pair: PrefixCrc) -> bool:
        """Do the bytes [0, pair.offset), read again unless they are proven, have that CRC?"""
        start = self.proven_bytes
        if start > pair.offset:
            return True  # of the bytes that are proven
        return self._extended(PrefixCrc(start, self.pairs[start]), pair.offset) == pair.crc32c

    def proves(self, sent: Sent) -> bool:
        """Do the bytes [0, sent.pair.offset), read again, have that SHA-256?"""
        digest = hashlib.sha256()
        for block in self._blocks(0, sent.pair.offset):
            digest.update(block)
        if digest.hexdigest() != sent.sha256:
            return False
        self.believe(sent)
        return True

    def believe(self, sent: Sent) -> None:
        """The bytes [0, sent.pair.offset) are proven to have that SHA-256."""
        self.proven_bytes = sent.pair.offset
        self.pairs[sent.pair.offset] = sent.pair.crc32c

    def _extended(self, pair: PrefixCrc, stop_at: int) -> int:
        crc = pair.crc32c
        for block in self._blocks(pair.offset, stop_at):
            crc = google_crc32c.extend(crc, block)
        return crc

    def _blocks(self, position: int, stop_at: int) -> Iterator[bytes]:
        while position < stop_at:
            self._stop.check()
            block = self.block(position, min(BLOCK_BYTES, stop_at - position))
            yield block
            position += len(block)


def source_of(root: str, private: Private) -> Source:
    """The source that ``root``, a job's path, names; what is ``private`` is not part of it."""
    return LocalFolder(Path(root), private)


def open_source(  # noqa: PLR0913 - which file, and all that is known of it
    root: str,
    row: FileState,
    stop: StopToken,
    private: Private,
    sent: Sent | None = None,
    proofs: Proofs | None = None,
    *,
    at_end: bool = False,
) -> Reader:
    """Open a file of the manifest, proven to be the one it names (docs/invariants.md §6).

    ``sent`` is what is known of its first bytes apart from its row. What ``proofs`` has is not
    read again. ``at_end``: all of it was sent, and it counts as touched if somebody has or had it
    open for writing. Until then, the fingerprint goes on to say so.
    Raises SourceMissing, SourceUnreadable (may pass), SourceChanged, or Stopped.
    """
    source = source_of(root, private)
    with stop.disk:
        file = source.open(row, stop)
    reader = Reader(file, stop)
    with contextlib.ExitStack() as unproven:
        unproven.enter_context(reader)
        reader.touched = not reader.same(row.fingerprint)
        reader.rewritten = not same(row.fingerprint, file.fingerprint)
        if not reader.touched:
            reader.fingerprint = unless_only_changed(row.fingerprint, file.fingerprint)
        if at_end:
            reader.touched |= is_written(row.fingerprint) or is_written(file.fingerprint)
        elif is_written(row.fingerprint):
            reader.fingerprint = written(reader.fingerprint)
        if not _is_the_one(reader, row, sent, proofs or Proofs()):
            raise changed(row.path)
        unproven.pop_all()
    reader.pairs |= {pair.offset: pair.crc32c for pair in (row.checkpoint, row.mark)}
    return reader


def _is_the_one(reader: Reader, row: FileState, sent: Sent | None, proofs: Proofs) -> bool:
    if reader.size_bytes != row.size_bytes:
        return False
    if not reader.touched:
        return True
    proof = best_pair(row)
    if row.stored and row.sha256:
        sent = Sent(proof, row.sha256)
    if sent or proof.offset or not row.size_bytes:
        return _is_what_was_sent(reader, row, proof, sent, proofs)
    # No two versions can be mixed if nothing of one was kept. A file that was begun and has another
    # time now is not the one that was enqueued, even so.
    if row.stored or (row.bytes_sent and reader.rewritten):
        return False
    # Other permissions make no header unsound: one that is was enqueued like that.
    return same_inode(row.fingerprint, reader.fingerprint) or reader.is_sound()


def _is_what_was_sent(
    reader: Reader, row: FileState, pair: PrefixCrc, sent: Sent | None, proofs: Proofs
) -> bool:
    if proofs.has(row, reader.fingerprint, pair, sent):
        if sent:
            reader.believe(sent)
        return True
    if (sent and not reader.proves(sent)) or not reader.matches(pair):
        return False
    proofs.keep(row, reader.fingerprint, pair, sent)
    return True


def best_pair(row: FileState) -> PrefixCrc:
    """The largest proven pair of a file; for a stored file, that of the whole file."""
    if row.stored and row.crc32c is not None:
        return PrefixCrc(row.size_bytes, row.crc32c)
    return max(row.checkpoint, row.mark, key=lambda pair: pair.offset)
