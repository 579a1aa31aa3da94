"""Proof of what was uploaded: the receipt of a job that is done (docs/receipts.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from uploader.core.distribution import __version__
from uploader.core.errors import (
    Differs,
    SourceChanged,
    SourceMissing,
    SourceUnreadable,
    SourceUnsettled,
    VerbRefused,
)
from uploader.core.job import FileState, Job, Stage, Status
from uploader.core.receipt_documents import ReceiptDocument, receipt_document
from uploader.sources.digest import digest

_EARLIER = "a receipt that was printed earlier still proves what was sent"
_UNREADABLE = "mount its folder or put it back; integrity.sha256 = on proves later jobs without it"


def receipt_of(
    job: Job, files: Sequence[FileState], on_bytes: Callable[[int], None] = lambda _: None
) -> ReceiptDocument:
    """The receipt of a job and its files; calls ``on_bytes`` with each block that it reads.

    Only `unread` files are read: of the others the job table knows what was sent, whatever has
    become of them. Raises as `require_proof`, and Differs if a file that is read cannot be read,
    or is not the one that was sent.
    """
    require_proof(job, files)
    root = Path(job.path)
    digests = {file.path: file.sha256 or _sha256(root, file, on_bytes) for file in files}
    return receipt_document(job, files, digests, __version__)


def unread(files: Iterable[FileState]) -> list[FileState]:
    """The files whose SHA-256 was not computed while they were sent."""
    return [file for file in files if file.sha256 is None]


def require_proof(job: Job, files: Sequence[FileState]) -> None:
    """Raises VerbRefused if the job is not done: until then there is nothing to prove.

    Raises Differs if the job table has lost its files, does not say what was sent of one, or that
    the model became READY: a proof of nothing would hold for any folder.
    """
    if job.status is not Status.DONE:
        message = f"job {job.id} is {job.status}: only a job that is done can be proven"
        raise VerbRefused(message, hint=f"`uploader wait {job.id}` waits until it is")
    if job.stage is not Stage.READY:
        message = f"job {job.id} is done in stage {job.stage}: nothing can be proven"
        raise Differs(message, hint=_EARLIER)
    if not files:
        message = f"the job table has no file of job {job.id}: nothing can be proven"
        raise Differs(message, hint=_EARLIER)
    if lost := [file.path for file in files if not file.stored or file.crc32c is None]:
        message = f"the job table does not say what was sent of {lost[0]}: nothing can be proven"
        raise Differs(message, hint=_EARLIER)


def _sha256(root: Path, file: FileState, on_bytes: Callable[[int], None]) -> str:
    """The SHA-256 of a local file whose size and CRC32C are those of what was sent."""
    path = root / file.path
    try:
        found = digest(path, on_bytes, file.size_bytes)
    except SourceUnsettled:
        raise Differs(f"{path} was written to while it was read") from None
    except (SourceChanged, SourceMissing) as error:
        raise Differs(error.message) from None
    except SourceUnreadable as error:
        raise Differs(error.message, hint=_UNREADABLE) from None
    if (found.size_bytes, found.crc32c) != (file.size_bytes, file.crc32c):
        raise Differs(f"{path} is not the file that was sent")
    return found.sha256
