"""What is known of the SHA-256 of a file's first bytes, between its transfers."""

from __future__ import annotations

from dataclasses import dataclass, field

from uploader.core.job import PrefixCrc
from uploader.sources import sha256
from uploader.sources.reader import Sent

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
