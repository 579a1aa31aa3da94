"""What a worker writes about the files of a job that it holds; the token fences each write.

Facts about a file are written whatever the job's status has become meanwhile: a running transfer of
a paused or blocked job still ends at the right byte. Every verb about one file returns its row as
it is now and runs a fixed number of statements, so that nobody has to read it again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, Update, bindparam, or_, select, update

from uploader.core.events import EventKind
from uploader.core.job import WRITTEN, FileState, Mode, PrefixCrc, Reason, Stage, Status
from uploader.core.redact import SessionUri
from uploader.core.resumable import UploadUrl, gets_further
from uploader.core.seal import RunSeal
from uploader.store.blank import NO_SESSION, NOT_STORED
from uploader.store.fence import Fence
from uploader.store.file_updates import OPEN_SESSION, STORE, portions
from uploader.store.journal import Transaction, reason_columns, storable
from uploader.store.leftovers import leave
from uploader.store.rows import file_of, reading_job
from uploader.store.sealed import check_files
from uploader.store.standing import Standing
from uploader.store.tables import files, jobs


@dataclass(frozen=True, slots=True)
class FileProgress:
    """How far one transfer is.

    ``sessions`` is the file's count when the transfer began and fences a late report of an
    earlier session. ``bytes_sent`` is the file's total of this run of the job, not a
    difference. ``awaiting_since``, ``gap`` and ``reached``: as `FileState` has them.
    ``advanced``: since the last report its session got further than ever, not just by a few bytes.
    """

    path: str
    sessions: int
    checkpoint: PrefixCrc
    mark: PrefixCrc
    bytes_sent: int
    advanced: bool = False
    awaiting_since: datetime | None = None
    gap: bool = False
    reached: int = 0


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session of a file, and where its object will be (host, bucket and key)."""

    path: str
    uri: SessionUri
    object_path: str | None


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that the server has completely; ``verified`` if its checksum was equal.

    ``bytes_sent`` is the file's total of this run of the job, ``object_path`` where the object is,
    ``generation`` its own, if the server gave one. The digest: as `FileState` has it.
    """

    path: str
    crc32c: int
    bytes_sent: int
    verified: bool
    generation: int | None = None
    sha256: str | None = None
    sha256_as_sent: bool = False
    object_path: str | None = None


_UNVERIFIED = "stored; the server gave no checksum"


class HeldFiles:
    """The files of one held job. Each verb raises LeaseLost unless the lease holds."""

    def __init__(self, fence: Fence, seal: RunSeal) -> None:
        self._fence = fence
        self._seal = seal
        self._job_id = fence.lease.job_id

    def keep_urls(self, urls: Mapping[str, UploadUrl], until: datetime) -> list[FileState]:
        """Commit a map of URLs before any of them is used; returns the files that are not stored.

        It is written in portions: a map of many URLs does not keep other jobs waiting.
        After ``until`` they can no longer start a session. A file with a session needs none. A
        URL's kind decides how its file is sent.
        """
        job_id = self._job_id
        unstored = (files.c.job_id == job_id, files.c.stored.is_(False))
        statement = (
            update(files)
            .where(*unstored, files.c.session_uri.is_(None), files.c.path == bindparam("named"))
            .values(
                upload_url=bindparam("url"),
                address_seal=bindparam("sealed"),
                mode=bindparam("by"),
            )
        )
        # Until the last portion is there, what says that they can be used does not say so.
        paths = list(urls)
        written = [*portions(paths)] or [[]]
        for portion in written:
            last = {"urls_until": until} if portion is written[-1] else {}
            with self._fence.writing(**last) as transaction:
                standing = Standing(transaction, self._seal, portion)
                rows = [
                    {
                        "named": path,
                        "url": urls[path].url.reveal(),
                        "sealed": standing.after(path, url=urls[path]),
                        "by": urls[path].mode,
                    }
                    for path in portion
                ]
                if rows:
                    transaction.connection.execute(statement, rows)
        with self._fence.journal.reading() as connection:
            found = connection.execute(select(files).where(*unstored).order_by(files.c.path))
            return [self._file(row) for row in found]

    def expire_urls(self) -> None:
        """The URLs that were kept are good for nothing any more, however long they should live."""
        with self._fence.writing(urls_until=None):
            pass

    def open_sessions(self, sessions: Sequence[NewSession]) -> list[FileState]:
        """Commit sessions before their first bytes leave; their URLs are no longer needed.

        See docs/invariants.md §1.
        """
        with self._fence.writing(start_accepted=True) as transaction:
            standing = Standing(transaction, self._seal, [new.path for new in sessions])
            rows = [
                {
                    "named": new.path,
                    "uri": new.uri.reveal(),
                    "place": new.object_path,
                    "sealed": standing.with_session(new.path, new.uri, new.object_path),
                }
                for new in sessions
            ]
            written = self._write_all(transaction, OPEN_SESSION, rows, at=transaction.now)
            kind, message = EventKind.SESSION_OPENED, "an upload session was opened"
            news = [(message, file.path) for file in written if file.sessions == 1]
            transaction.add_events(self._job_id, kind, news)
            for again in (file.path for file in written if file.sessions > 1):
                self._fence.tell(transaction, kind, message, again)
            return written

    def drop_session(  # noqa: PLR0913 - why a session ended is counted in three ways
        self,
        path: str,
        why: str,
        *,
        bytes_sent: int,
        url: UploadUrl | None = None,
        old: bool = False,
        lost: bool = False,
        mismatch: bool = False,
        lives: bool = False,
    ) -> FileState:
        """The file starts over, by ``url`` if that can still start a session.

        ``lives``: the session may be open, and is ended before anybody else sends to the model.
        ``old``: the session was older than six days. ``lost``: the server no longer knew it;
        counted as long as no session got further than the ones before. ``mismatch``: the stored
        object was not our source. Raises ValueError once the job's stage says that every file
        is stored.
        """
        with self._fence.writing() as transaction:
            self._check_uploading(transaction)
            standing = Standing(transaction, self._seal, [path])
            if lives:
                leave(transaction, files.c.job_id == self._job_id, files.c.path == path)
            file = self._write(
                transaction,
                path,
                **NO_SESSION,
                **(self._loss(transaction, path) if lost else {}),
                **({} if url is None else {"mode": url.mode}),
                upload_url=None if url is None else url.url.reveal(),
                address_seal=standing.after(path, session=None, url=url, stored=False),
                bytes_sent=bytes_sent,
                **NOT_STORED,
                old_sessions_lost=files.c.old_sessions_lost + int(old),
                mismatches=files.c.mismatches + int(mismatch),
            )
            self._fence.tell(transaction, EventKind.SESSION_DROPPED, why, path)
            return file

    def mark_all_stored(self, stored: Sequence[StoredFile]) -> list[FileState]:
        """The server has these objects completely."""
        with self._fence.writing() as transaction:
            standing = Standing(transaction, self._seal, [new.path for new in stored])
            rows = [
                {
                    "named": new.path,
                    "sealed": standing.once_stored(new),
                    "crc": new.crc32c,
                    "sent": new.bytes_sent,
                    "proven": new.verified,
                    "place": new.object_path,
                    "version": new.generation,
                    "digest": new.sha256,
                    "as_sent": new.sha256_as_sent,
                }
                for new in stored
            ]
            written = self._write_all(transaction, STORE, rows)
            news = [("stored and verified" if f.verified else _UNVERIFIED, f.path) for f in stored]
            transaction.add_events(self._job_id, EventKind.STORED, news)
            self._end_failures(transaction)
            return written

    def mark_failed(
        self, path: str, reason: Reason, not_before: datetime | None, *, bytes_sent: int
    ) -> FileState:
        """A transfer failed; the file's next attempt begins at ``not_before`` at the earliest."""
        with self._fence.writing() as transaction:
            file = self._write(
                transaction,
                path,
                bytes_sent=bytes_sent,
                awaiting_since=None,
                attempts=files.c.attempts + 1,
                failures=files.c.failures + 1,
                not_before=not_before,
                last_error=storable(reason.message),
            )
            self._fence.tell(transaction, EventKind.FILE_FAILED, reason.message, path, reason.code)
            return file

    def reidentify(
        self, path: str, size_bytes: int, found: str, *, unproven: bool = False
    ) -> FileState:
        """The same bytes under another fingerprint, proven by the caller (docs/invariants.md §6).

        ``unproven``: as in `FileState`. If nothing was sent, the bytes are taken as they are now.
        """
        seal = self._seal.file(path, size_bytes, found)
        with self._fence.writing() as transaction:
            standing = Standing(transaction, self._seal, [path])
            doubt = {"unproven": True} if unproven else {}  # until another session
            file = self._write(
                transaction,
                path,
                fingerprint=found,
                seal=seal,
                address_seal=standing.after(path, fingerprint=found, **doubt),
                **doubt,
            )
            other = "given other permissions or links"
            message = f"touched, replaced, or {other}: its bytes are the same"
            message += ", as far as CRC32C shows: it gets no SHA-256" if unproven else ""
            if not (file.bytes_sent or file.stored):
                message = "nothing of it was sent yet and its size is the same: taken as it is now"
            if file.stored:
                message = f"touched, replaced, {other}, or open for writing:"
                message += " read again, it is what was sent"
            elif found.endswith(WRITTEN) and not unproven:
                message = "open for writing, or touched: it is read again once all is stored"
            self._fence.tell(transaction, EventKind.REIDENTIFIED, message, path)
            return file

    def report_progress(
        self, rows: Sequence[FileProgress], rate_bps: float | None
    ) -> list[FileState]:
        """The progress of all running transfers at once, ``rate_bps`` in bytes per second.

        A row of a session that is no longer the file's, or of a stored file, is skipped.
        """
        with self._fence.writing(rate_bps=rate_bps) as transaction:
            standing = Standing(transaction, self._seal, [row.path for row in rows])
            found = [(row, self._reported(transaction, row, standing)) for row in rows]
            written = [(row, file) for row, file in found if file is not None]
            if any(row.advanced for row, _ in written):
                self._end_failures(transaction)
            return [file for _, file in written]

    # -- rows ------------------------------------------------------------------------------

    def _write_all(
        self,
        transaction: Transaction,
        statement: Update,
        rows: Sequence[Mapping[str, Any]],
        **common: Any,
    ) -> list[FileState]:
        """The rows of several files as just written; raises LeaseLost if the job lacks one.

        The number of statements does not depend on the number of rows.
        """
        this = {"job": self._job_id, **common}
        transaction.connection.execute(statement, [{**row, **this} for row in rows])
        paths = [row["named"] for row in rows]
        query = select(files).where(files.c.job_id == self._job_id, files.c.path.in_(paths))
        found = {row.path: self._file(row) for row in transaction.connection.execute(query)}
        if not found.keys() >= set(paths):
            raise self._fence.lost()
        return [found[path] for path in paths]

    def _write(self, transaction: Transaction, path: str, **columns: Any) -> FileState:
        """One file's row as just written; raises LeaseLost if the job has no such file."""
        this = (files.c.job_id == self._job_id, files.c.path == path)
        result = transaction.run(update(files).where(*this).values(**columns).returning(files))
        with reading_job(self._job_id):
            row = result.one_or_none()
        if row is not None:
            return self._file(row)
        raise self._fence.lost()

    def _file(self, row: Row[Any]) -> FileState:
        """Raises StoreError for a row that this program never writes, or that has no seal."""
        with reading_job(self._job_id):
            file = file_of(row)
        check_files(self._seal, [file])
        return file

    def _loss(self, transaction: Transaction, path: str) -> dict[str, Any]:
        """What is counted of a session that is lost now."""
        columns = (files.c.furthest, files.c.offset, files.c.size_bytes)
        this = (files.c.job_id == self._job_id, files.c.path == path)
        found = transaction.connection.execute(select(*columns).where(*this)).one_or_none()
        if found is not None and gets_further(*found):
            return {"furthest": found.offset, "sessions_lost": 1}
        return {"sessions_lost": files.c.sessions_lost + 1}

    def _check_uploading(self, transaction: Transaction) -> None:
        stage = select(jobs.c.stage).where(jobs.c.id == self._job_id)
        if transaction.connection.execute(stage).scalar_one() in (Stage.VALIDATE, Stage.READY):
            raise ValueError(f"every file of job {self._job_id} is stored")

    def _reported(
        self, transaction: Transaction, row: FileProgress, standing: Standing
    ) -> FileState | None:
        """The file with ``row`` written to it; None if the report is late."""
        pairs = {"checkpoint": row.checkpoint, "mark": row.mark}
        forgiven = {"failures": 0} if row.advanced else {}
        statement = (
            update(files)
            .where(
                files.c.job_id == self._job_id,
                files.c.path == row.path,
                files.c.sessions == row.sessions,
                files.c.stored.is_(False),
                files.c.bytes_sent
                <= row.bytes_sent,  # two threads may report; the later report counts
                _reportable(row),
            )
            .values(
                offset=row.checkpoint.offset,
                offset_crc32c=row.checkpoint.crc32c,
                mark_bytes=row.mark.offset,
                mark_crc32c=row.mark.crc32c,
                bytes_sent=row.bytes_sent,
                awaiting_since=row.awaiting_since,
                gap=row.gap,
                reached=row.reached,
                address_seal=standing.after(row.path, gap=row.gap, **pairs),
                **forgiven,
            )
            .returning(files)
        )
        with reading_job(self._job_id):
            found = transaction.run(statement).one_or_none()
        return None if found is None else self._file(found)

    def _end_failures(self, transaction: Transaction) -> None:
        """Confirmed bytes end a series of failures; a blocked or paused job keeps its reason."""
        transaction.run(
            update(jobs)
            .where(jobs.c.id == self._job_id, jobs.c.status == Status.ACTIVE)
            .values(failures=0, **reason_columns(None))
        )


def _reportable(row: FileProgress) -> ColumnElement[bool]:
    """Whether a report counts: its session is live, or its file goes by PUT without an offset."""
    live = files.c.session_uri.is_not(None)
    return live if row.checkpoint.offset else or_(live, files.c.mode == Mode.PUT)
