"""What a worker writes about the files of a job it holds; each write is fenced by the token.

A file's facts are kept whatever the job's status has become meanwhile: a paused or blocked
job's running transfer still ends at the right byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, or_, select, update

from uploader.core.job import FileState, Lease, Mode, PrefixCrc, Reason, Stage, Status
from uploader.core.redact import SessionUri
from uploader.store.fence import Fenced, write_file
from uploader.store.journal import Transaction, reason_columns, storable
from uploader.store.rows import read_file
from uploader.store.tables import files, jobs
from uploader.store.transitions import NO_SESSION


@dataclass(frozen=True, slots=True)
class FileProgress:
    """How far one transfer is.

    ``sessions`` is the file's count when the transfer began and fences a late report of an
    earlier session. ``bytes_sent`` is the file's total of this life, not a difference.
    ``advanced``: the server confirmed bytes since the last report.
    """

    path: str
    sessions: int
    checkpoint: PrefixCrc
    mark: PrefixCrc
    bytes_sent: int
    advanced: bool = False


class FileWrites(Fenced):
    """Each verb raises LeaseLost unless the lease holds."""

    def open_session(
        self, lease: Lease, path: str, uri: SessionUri, object_path: str | None, now: datetime
    ) -> FileState:
        """Commit a session before its first byte leaves (invariant 1); the file as it is now."""
        with self._fenced(lease, now, start_accepted=True) as transaction:
            write_file(
                transaction,
                lease,
                path,
                **NO_SESSION
                | {
                    "mode": Mode.SESSION,
                    "session_uri": uri.reveal(),
                    "session_at": now,
                    "object_path": object_path,
                    "sessions": files.c.sessions + 1,
                },
            )
            transaction.tell(lease.job_id, "session_opened", "an upload session was opened", path)
            return read_file(transaction.connection, lease.job_id, path)

    def start_put(self, lease: Lease, path: str, now: datetime) -> FileState:
        """The file goes by one plain PUT, for that is its URL's kind; the file as it is now."""
        with self._fenced(lease, now) as transaction:
            write_file(transaction, lease, path, mode=Mode.PUT, **NO_SESSION)
            return read_file(transaction.connection, lease.job_id, path)

    def drop_session(  # noqa: PLR0913 - why a session ended is counted in two ways
        self,
        lease: Lease,
        path: str,
        why: str,
        now: datetime,
        *,
        bytes_sent: int,
        old: bool = False,
        mismatch: bool = False,
    ) -> FileState:
        """The file starts over; the file as it is now, with its counters.

        ``old``: the session was older than six days. ``mismatch``: the stored object was not
        our source. Raises ValueError once the job's stage says that every file is stored.
        """
        with self._fenced(lease, now) as transaction:
            _check_uploading(transaction, lease)
            write_file(
                transaction,
                lease,
                path,
                **NO_SESSION,
                bytes_sent=bytes_sent,
                stored=False,
                verified=False,
                crc32c=None,
                old_sessions_lost=files.c.old_sessions_lost + int(old),
                mismatches=files.c.mismatches + int(mismatch),
            )
            transaction.tell(lease.job_id, "session_dropped", why, path)
            return read_file(transaction.connection, lease.job_id, path)

    def file_stored(
        self,
        lease: Lease,
        path: str,
        crc32c: int,
        now: datetime,
        *,
        bytes_sent: int,
        verified: bool,
    ) -> None:
        """The server has the whole object; ``verified`` where it said which one."""
        with self._fenced(lease, now) as transaction:
            write_file(
                transaction,
                lease,
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
            _progressed(transaction, lease)
            message = "stored and verified" if verified else "stored; the server named no checksum"
            transaction.tell(lease.job_id, "stored", message, path)

    def file_failed(
        self,
        lease: Lease,
        path: str,
        reason: Reason,
        not_before: datetime | None,
        now: datetime,
        *,
        bytes_sent: int,
    ) -> None:
        """A transfer failed; the file's next attempt not before ``not_before``."""
        with self._fenced(lease, now) as transaction:
            write_file(
                transaction,
                lease,
                path,
                bytes_sent=bytes_sent,
                attempts=files.c.attempts + 1,
                failures=files.c.failures + 1,
                not_before=not_before,
                last_error=storable(reason.message),
            )
            transaction.tell(lease.job_id, "retrying", reason.message, path)

    def reidentify(self, lease: Lease, path: str, mtime_ns: int, inode: int, now: datetime) -> None:
        """The same bytes under another mtime or inode, proven by the caller (invariant 6)."""
        with self._fenced(lease, now) as transaction:
            write_file(transaction, lease, path, mtime_ns=mtime_ns, inode=inode)
            message = "the file was touched or replaced by the same bytes"
            transaction.tell(lease.job_id, "reidentified", message, path)

    def note(
        self, lease: Lease, kind: str, message: str, now: datetime, path: str | None = None
    ) -> None:
        """One event and nothing else."""
        with self._fenced(lease, now) as transaction:
            transaction.tell(lease.job_id, kind, message, path)

    def progress(
        self, lease: Lease, rows: Sequence[FileProgress], rate_bps: float | None, now: datetime
    ) -> None:
        """The progress of all running transfers at once, ``rate_bps`` in bytes per second.

        A row of a session that is no longer the file's, or of a stored file, is skipped.
        """
        with self._fenced(lease, now, rate_bps=rate_bps) as transaction:
            written = [row for row in rows if _written(transaction, lease, row)]
            if any(row.advanced for row in written):
                _progressed(transaction, lease)


def _check_uploading(transaction: Transaction, lease: Lease) -> None:
    stage = select(jobs.c.stage).where(jobs.c.id == lease.job_id)
    if transaction.connection.execute(stage).scalar_one() in (Stage.VALIDATE, Stage.READY):
        raise ValueError(f"every file of job {lease.job_id} is stored (invariant 4)")


def _written(transaction: Transaction, lease: Lease, row: FileProgress) -> bool:
    """Was ``row`` written, or is it late?"""
    forgiven = {"failures": 0} if row.advanced else {}
    statement = (
        update(files)
        .where(
            files.c.job_id == lease.job_id,
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


def _reportable(row: FileProgress) -> ColumnElement[bool]:
    """A dropped session has no number of its own yet, and a PUT confirms nothing on its way."""
    live = files.c.session_uri.is_not(None)
    return live if row.checkpoint.offset else or_(live, files.c.mode == Mode.PUT)


def _progressed(transaction: Transaction, lease: Lease) -> None:
    """Confirmed bytes end a run of failures; a blocked or paused job keeps its reason."""
    transaction.run(
        update(jobs)
        .where(jobs.c.id == lease.job_id, jobs.c.status == Status.ACTIVE)
        .values(failures=0, **reason_columns(None))
    )
