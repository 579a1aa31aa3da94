"""The contract of a source: whatever a model's files come from implements these two.

One kind exists, the local folder (`local`). A model hub and an object store only have to
implement it; nothing above this room knows which kind a job has. `reader` adds what is the same
for all: the CRC32C of every prefix, and the proof that a file is still the one enqueued.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from uploader.core.job import FileState
from uploader.model.folder import Folder
from uploader.runtime import StopToken


class OpenFile(Protocol):
    """One file, open for reading at any offset, by one thread at a time.

    **Fingerprint.** ``fingerprint`` is that of what is open, not of a name: whoever replaces the
    name meanwhile changes nothing here. It is opaque outside the source's own code. Two equal
    fingerprints promise equal bytes as far as the source can know without reading them: a file
    system that restores size and modification time, or a store that reuses a version, breaks that
    promise, and then only the CRC of the whole, compared with the service's, notices.

    **Reading.** A short read is not the end: `block` reads on until it has all it was asked for, or
    until an empty read says that there is no more.

    **Blocking.** Every method may block for as long as the disk or the network does. `block` looks
    at the stop token between two reads, and a source with sockets registers them with it, so that
    a cut ends a read under way.
    """

    name: str
    size_bytes: int
    fingerprint: str

    def check(self) -> None:
        """Is what is open still as it was? Called after every block is read, before it is sent.

        Raises SourceUnsettled if it was written to, SourceUnreadable. A source that pins a version
        at `Source.open` need not do anything.
        """

    def block(self, start: int, count: int) -> bytes:
        """Exactly ``count`` bytes at ``start``, as fresh ``bytes``.

        Raises SourceUnsettled if there are fewer, SourceUnreadable, Stopped.
        """

    def is_sound(self) -> bool:
        """Does its own header, if it has one, fit its size? Reads the header and no more."""

    def close(self) -> None:
        """Give up what is open; nothing is raised."""


class Source(Protocol):
    """Where the files of one model are.

    **Errors that pass:** SourceUnreadable, for a folder that is away or a service that does not
    answer; the engine waits and opens again, for as long as it takes. **Errors that do not:**
    SourceMissing, for one file that is gone while its place is there, and SourceChanged.
    """

    def list(self, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> Folder:
        """Every file with its size and fingerprint, and what is left out or refused, and why.

        Looks at names and at most at the first bytes; never waits for a stop token, for nobody's
        lease runs yet. Raises NotFound, UsageError, PreflightRefused.
        """

    def open(self, file: FileState, stop: StopToken) -> OpenFile:
        """Open a file by the name that `list` gave it; its size and fingerprint may be others.

        Follows nothing that `list` would not have followed. Raises SourceMissing,
        SourceUnreadable, SourceChanged for what is not a file (any more).
        """

    def same(self, known: str, found: str) -> bool:
        """Do two fingerprints of this source mean the same bytes, as far as it can know?"""
