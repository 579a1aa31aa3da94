"""What is known of the SHA-256 of a file's first bytes, between its transfers."""

from __future__ import annotations

from dataclasses import dataclass, field

from uploader.core.job import PrefixCrc
from uploader.sources import sha256
from uploader.sources.reader import Proofs, Sent
from uploader.store.marks import Mark

#: How many blocks wait to be hashed, of one file and of all. With many files in flight none wait:
#: each is read again while the machine still has it in memory.
QUEUED, QUEUED_IN_ALL = 8, 32
_MOST_KEPT = 1024

Unqueued = dict[int, tuple[int, bytes]]
Hashed = tuple[PrefixCrc, sha256.Snapshot]


@dataclass(frozen=True, slots=True)
class Prefix:
    """The hash of a file's first bytes, and their CRC32C.

    ``as_sent``: they are those that were sent and kept, whoever may have written to the file.
    ``unqueued``: of blocks after them that were sent and not hashed, by their offset, the length
    and SHA-256. ``earlier``: the hash of fewer bytes, in the order of their number.
    """

    pair: PrefixCrc = field(default_factory=PrefixCrc)
    sha256: sha256.Sha256 = field(default_factory=sha256.Plain)
    as_sent: bool = True
    unqueued: Unqueued = field(default_factory=dict)
    earlier: tuple[Hashed, ...] = ()

    @property
    def sent(self) -> Sent | None:
        """What proves that a file still begins with them; None if nothing does."""
        proves = self.as_sent and self.pair.offset
        return Sent(self.pair, self.sha256.hexdigest()) if proves else None


class Kept:
    """What is known of files whose transfers ended early, for their next one in this process."""

    def __init__(self) -> None:
        self._prefixes: dict[bytes, Prefix] = {}
        self.proofs = Proofs()
        #: Those at work; any thread adds its own and takes it away.
        self.following: set[object] = set()
        #: Job and path of files that were written to, if their rows could not be told.
        self.owed: set[tuple[int, str]] = set()

    def room(self) -> int:
        """How many blocks one of those at work may queue."""
        return min(QUEUED, QUEUED_IN_ALL // max(1, len(self.following)))

    def take(self, mark: Mark) -> Prefix:
        """How far the file of that mark was hashed, in this process or in one that was killed."""
        if (kept := self._prefixes.pop(mark.key, None)) is not None:
            return kept
        if (saved := mark.hash.read()) is not None:
            offset, crc32c, state, as_sent = saved
            if (resumed := sha256.resumed(state, offset)) is not None:
                return Prefix(PrefixCrc(offset, crc32c), resumed, as_sent)
        return Prefix()

    def drop(self, mark: Mark) -> Prefix:
        """The file is sent by a transfer that does not hash: then nothing is known of it."""
        self.take(mark)
        mark.hash.forget_beyond(0)
        return Prefix()

    def put(self, mark: Mark, prefix: Prefix) -> None:
        """Keep it; the oldest is forgotten first."""
        if mark.key and prefix.pair.offset:
            self._prefixes[mark.key] = prefix
        while len(self._prefixes) > _MOST_KEPT:
            self._prefixes.pop(next(iter(self._prefixes)), None)
