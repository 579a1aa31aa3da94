"""What a worker writes about the files of a job it holds; each write is fenced by the token.

A file's facts are kept whatever the job's status has become meanwhile: a paused or blocked
job's running transfer still ends at the right byte. Every verb about one file returns its row
as it is now and runs a fixed number of statements, so that nobody has to read it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, or_, select, update

from uploader.core.events import EventKind
from uploader.core.job import FileState, Mode, PrefixCrc, Reason, Stage, Status
from uploader.core.redact import SessionUri
from uploader.store.database.dialect import corrupt_rows_as_store_error
from uploader.store.fence import Fence
from uploader.store.journal import Transaction, reason_columns, storable
from uploader.store.rows import file_of
from uploader.store.tables import files, jobs

#: A file's row without a session, and without anything proven about one.
NO_SESSION: dict[str, Any] = {
    "session_uri": None,
    "session_at": None,
    "object_path": None,
    "offset": 0,
    "offset_crc32c": 0,
    "mark_bytes": 0,
    "mark_crc32c": 0,
}


@dataclass(frozen=True, slots=True)
class FileProgress:
    """How far one transfer is.

    ``sessions`` is the file's count when the transfer began and fences a late report of an
    earlier session. ``bytes_sent`` is the file's total of this run of the job, not a
    difference. ``advanced``: the server confirmed bytes since the last report.
    """

    path: str
    sessions: int
    checkpoint: PrefixCrc
    mark: PrefixCrc
    bytes_sent: int
    advanced: bool = False


class HeldFiles:
    """The files of one held job. Each verb raises LeaseLost unless the lease holds."""

    def __init__(self, fence: Fence) -> None:
        self._fence = fence
        self._job_id = fence.lease.job_id

    def open_session(self, path: str, uri: SessionUri, object_path: str | None) -> FileState:
        """Commit a session before its first byte leaves (invariant 1)."""
        with self._fence.writing(start_accepted=True) as transaction:
            columns = NO_SESSION | {
                "mode": Mode.SESSION,
                "session_uri": uri.reveal(),
                "session_at": transaction.now,
                "object_path": object_path,
                "sessions": files.c.sessions + 1,
            }
            file = self._write(transaction, path, **columns)
            self._tell(transaction, EventKind.SESSION_OPENED, "an upload session was opened", path)
            return file

    def start_put(self, path: str) -> FileState:
        """The file goes by one plain PUT, for that is its URL's kind."""
        with self._fence.writing() as transaction:
            return self._write(transaction, path, mode=Mode.PUT, **NO_SESSION)

    def drop_session(
        self, path: str, why: str, *, bytes_sent: int, old: bool = False, mismatch: bool = False
    ) -> FileState:
        """The file starts over.

        ``old``: the session was older than six days. ``mismatch``: the stored object was not
        our source. Raises ValueError once the job's stage says that every file is stored.
        """
        with self._fence.writing() as transaction:
            self._check_uploading(transaction)
            file = self._write(
                transaction,
                path,
                **NO_SESSION,
                bytes_sent=bytes_sent,
                stored=False,
                verified=False,
                crc32c=None,
                old_sessions_lost=files.c.old_sessions_lost + int(old),
                mismatches=files.c.mismatches + int(mismatch),
            )
            self._tell(transaction, EventKind.SESSION_DROPPED, why, path)
            return file

    def mark_stored(self, path: str, crc32c: int, *, bytes_sent: int, verified: bool) -> FileState:
        """The server has the whole object; ``verified`` if it said which one."""
        with self._fence.writing() as transaction:
            file = self._write(
                transaction,
                path,
                session_uri=None,
                session_at=None,
                offset=files.c.size_bytes,
                offset_crc32c=crc32c,
                mark_bytes=files.c.size_bytes,
                mark_crc32c=crc32c,
                bytes_sent=bytes_sent,
                stored=True,
                verified=verified,
                crc32c=crc32c,
                failures=0,
                not_before=None,
            )
            self._end_failures(transaction)
            message = "stored and verified" if verified else "stored; the server named no checksum"
            self._tell(transaction, EventKind.STORED, message, path)
            return file

    def mark_failed(
        self, path: str, reason: Reason, not_before: datetime | None, *, bytes_sent: int
    ) -> FileState:
        """A transfer failed; the file's next attempt not before ``not_before``."""
        with self._fence.writing() as transaction:
            file = self._write(
                transaction,
                path,
                bytes_sent=bytes_sent,
                attempts=files.c.attempts + 1,
                failures=files.c.failures + 1,
                not_before=not_before,
                last_error=storable(reason.message),
            )
            self._tell(transaction, EventKind.FILE_FAILED, reason.message, path)
            return file

    def reidentify(self, path: str, fingerprint: str) -> FileState:
        """The same bytes under another fingerprint, proven by the caller (invariant 6).

        Of a file of which nothing was sent, its bytes as they are now.
        """
        with self._fence.writing() as transaction:
            file = self._write(transaction, path, fingerprint=fingerprint)
            message = "the file was touched or replaced by the same bytes"
            if not (file.bytes_sent or file.stored):
                message = (
                    "nothing of it was sent yet, its name and size are the same: taken as it is"
                )
            self._tell(transaction, EventKind.REIDENTIFIED, message, path)
            return file

    def report_progress(self, rows: Sequence[FileProgress], rate_bps: float | None) -> None:
        """The progress of all running transfers at once, ``rate_bps`` in bytes per second.

        A row of a session that is no longer the file's, or of a stored file, is skipped.
        """
        with self._fence.writing(rate_bps=rate_bps) as transaction:
            written = [row for row in rows if self._reported(transaction, row)]
            if any(row.advanced for row in written):
                self._end_failures(transaction)

    # -- rows ------------------------------------------------------------------------------

    def _write(self, transaction: Transaction, path: str, **columns: Any) -> FileState:
        """One file's row as just written; raises LeaseLost if the job has no such file."""
        this = (files.c.job_id == self._job_id, files.c.path == path)
        result = transaction.run(update(files).where(*this).values(**columns).returning(files))
        with corrupt_rows_as_store_error():
            row = result.one_or_none()
            if row is not None:
                return file_of(row)
        raise self._fence.lost()

    def _tell(self, transaction: Transaction, kind: EventKind, message: str, path: str) -> None:
        transaction.tell(self._job_id, kind, message, path)

    def _check_uploading(self, transaction: Transaction) -> None:
        stage = select(jobs.c.stage).where(jobs.c.id == self._job_id)
        if transaction.connection.execute(stage).scalar_one() in (Stage.VALIDATE, Stage.READY):
            raise ValueError(f"every file of job {self._job_id} is stored (invariant 4)")

    def _reported(self, transaction: Transaction, row: FileProgress) -> bool:
        """Was ``row`` written, or is it late?"""
        forgiven = {"failures": 0} if row.advanced else {}
        statement = (
            update(files)
            .where(
                files.c.job_id == self._job_id,
                files.c.path == row.path,
                files.c.sessions == row.sessions,
                files.c.stored.is_(False),
                files.c.bytes_sent <= row.bytes_sent,  # two may report; the later one counts
                _reportable(row),
            )
            .values(
                offset=row.checkpoint.offset,
                offset_crc32c=row.checkpoint.crc32c,
                mark_bytes=row.mark.offset,
                mark_crc32c=row.mark.crc32c,
                bytes_sent=row.bytes_sent,
                **forgiven,
            )
        )
        return transaction.run(statement).rowcount == 1

    def _end_failures(self, transaction: Transaction) -> None:
        """Confirmed bytes end a run of failures; a blocked or paused job keeps its reason."""
        transaction.run(
            update(jobs)
            .where(jobs.c.id == self._job_id, jobs.c.status == Status.ACTIVE)
            .values(failures=0, **reason_columns(None))
        )


def _reportable(row: FileProgress) -> ColumnElement[bool]:
    """A dropped session has no number of its own yet, and a PUT confirms nothing on its way."""
    live = files.c.session_uri.is_not(None)
    return live if row.checkpoint.offset else or_(live, files.c.mode == Mode.PUT)
