"""The contract of a source: whatever provides a model's files implements these two classes.

There is one kind, the local folder (`local`), and only reading blocks knows no more of a source
than this: docs/architecture.md §2 names what else another kind would have to change. `reader` adds
the CRC32C of every prefix, and the proof that a file is still the one that was enqueued, which
compares local fingerprints.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from uploader.core.job import FileState
from uploader.model.folder import Folder
from uploader.runtime import StopToken


class OpenFile(Protocol):
    """One file, open for reading at any offset, by two threads: one sends, one hashes.

    **Fingerprint.** ``fingerprint`` belongs to the open file, not to its name: replacing the name
    meanwhile changes nothing here. `model.fingerprint` makes and compares all there are. Equal
    fingerprints promise equal bytes, as far as can be known without reading. A clock that is set
    back to the same nanosecond, or a version that is used again, breaks that unnoticed: the CRC of
    the whole still describes what was sent. Different fingerprints promise nothing: what was sent
    is read again, and if it is unchanged the transfer goes on. A fingerprint that ends in
    `core.job.WRITTEN` promises nothing beyond the moment at which it was taken.

    **Reading.** A short read is not the end: `block` reads on until it has all bytes that it was
    asked for, or until an empty read shows that there are no more.

    **Blocking.** Every method may block for as long as the disk or the network does. `block` checks
    the stop token between two reads, and a source with sockets registers them with the token, so
    that a cut ends a running read.
    """

    name: str
    size_bytes: int
    fingerprint: str
    #: Whether `check` has seen that it may have been written to, and `same` may not show that.
    written_to: bool

    def same(self, known: str) -> bool:
        """Is it the file with that fingerprint, as far as the source can know without reading it?

        Raises SourceUnreadable.
        """

    def check(self) -> None:
        """Is the open file unchanged? Called after each block is read and before it is sent.

        Raises SourceUnsettled if it was written to, SourceUnreadable. A source that pins a version
        at `Source.open` need not do anything.
        """

    def block(self, start: int, count: int) -> bytes:
        """Exactly ``count`` bytes at ``start``, as fresh ``bytes``.

        Raises SourceUnsettled if there are fewer, SourceDamaged if these cannot be read although
        others can, SourceAway, Stopped.
        """

    def is_sound(self) -> bool:
        """Does the file's header, if there is one, fit the file's size? Reads only the header."""

    def close(self) -> None:
        """Close the file; raises nothing."""


class Source(Protocol):
    """Where the files of one model are.

    **Errors that pass:** SourceUnreadable, if one file cannot be read for now; the engine waits and
    opens it again. If the whole folder is affected (it is unmounted, or a service does not answer),
    raise SourceAway: the whole job waits. **Errors that do not:** SourceMissing, if one file is
    gone while its place is there, and SourceChanged.
    """

    def list(self, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> Folder:
        """Every file with its size and fingerprint, and what is left out or refused, and why.

        Reads names and at most the first bytes; never waits for a stop token, because no lease is
        running yet. Raises NotFound, UsageError, PreflightRefused.
        """

    def require(self) -> None:
        """Raises SourceAway if no file can be opened now. Cheap: call it before a long step."""

    def open(self, file: FileState, stop: StopToken) -> OpenFile:
        """Open a file by the name that `list` gave it; its size and fingerprint may be others.

        Follows nothing that `list` would not have followed. Raises SourceMissing,
        SourceUnreadable, SourceChanged for what is not a file (any more), JobRefused for a secret.
        """
