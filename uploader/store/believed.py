"""Which jobs a worker takes as they are written, and what becomes of the others.

Rows are input: somebody else may have written them. One job's rows never stop another job.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, select, update

from uploader.core.errors import UnreadableRow
from uploader.core.events import EventKind
from uploader.core.job import FileState, Job, Reason, Status
from uploader.core.lifecycle import Verb, advance
from uploader.core.reasons import Code
from uploader.core.seal import Seal
from uploader.store.blank import NO_LEASE
from uploader.store.file_updates import FORGET
from uploader.store.journal import Transaction, reason_columns
from uploader.store.leftovers import ERASED, forget_all, leave
from uploader.store.rows import file_of, read_job, reading_job
from uploader.store.tables import files, jobs

_UNSEALED = Reason(Code.UNSEALED, Code.UNSEALED.meaning, Code.UNSEALED.hint)


@dataclass(frozen=True, slots=True)
class Looked:
    """What was seen of a job's files before it is claimed.

    ``reason``: why the job may not be claimed. ``strayed``: files of which it has no seal how far
    they are.
    """

    reason: Reason | None = None
    strayed: tuple[FileState, ...] = ()


def look_at_files(connection: Connection, seal: Seal, job_id: int) -> Looked:
    """Without the write lock: a job may have many files, and other jobs would wait for it.

    Nobody needs to look again once the job is claimed: whoever reads a file then checks its seal.
    """
    query = select(files).where(files.c.job_id == job_id)
    try:
        with reading_job(job_id):
            found = [file_of(row) for row in connection.execute(query)]
    except UnreadableRow as error:
        return Looked(Reason(error.code, error.message, error.hint))
    if not all(map(seal.holds_file, found)):
        return Looked(_UNSEALED)
    return Looked(strayed=tuple(file for file in found if not seal.holds_standing(file)))


def believed(transaction: Transaction, job_id: int, looked: Looked) -> Job | None:
    """The job, for the worker that has just taken it; None if it may not: then it is set aside.

    It fails if its rows cannot be read or have no seal. Without its seal, it is forgotten how far a
    file is; a session that is ours, maybe of an earlier version, is left over.
    """
    try:
        job = read_job(transaction.connection, job_id)
        reason = looked.reason or (None if transaction.seal.holds_job(job) else _UNSEALED)
    except UnreadableRow as error:
        reason = Reason(error.code, error.message, error.hint)
    if reason is not None:
        _set_aside(transaction, job_id, reason)
        return None
    for file in looked.strayed:
        _forget_standing(transaction, file)
    return job


def _forget_standing(transaction: Transaction, file: FileState) -> None:
    as_seen = files.c.address_seal.is_not_distinct_from(file.address_seal)
    this = (files.c.job_id == file.job_id, files.c.path == file.path, as_seen)
    if file.session is not None:
        session = file.job_id, file.path, file.session.reveal()
        if transaction.seal.holds_address(*session, file.address_seal):
            leave(transaction, *this, files.c.session_uri == file.session.reveal())
    blank = FORGET | {"upload_url": None, "address_seal": None}
    gone = transaction.run(update(files).where(*this).values(**blank))
    if gone.rowcount:
        message = "how far it was has no seal of this job table: it is sent anew"
        transaction.add_event(file.job_id, EventKind.SESSION_DROPPED, message, file.path)


def _set_aside(transaction: Transaction, job_id: int, reason: Reason) -> None:
    """It fails; if it is cancelled already, nothing of it is ended or deleted remotely."""
    this = update(jobs).where(jobs.c.id == job_id)
    transaction.run(this.values(**NO_LEASE))
    status = advance(Status.ACTIVE, Verb.FAIL)
    failed = this.values(status=status, not_before=None, **reason_columns(reason))
    if transaction.run(failed.where(jobs.c.status == Status.ACTIVE)).rowcount:
        transaction.add_event(job_id, EventKind.FAILED, reason.message)
        return
    transaction.run(this.values(delete_on_cancel=False))
    transaction.run(update(files).where(files.c.job_id == job_id).values(ERASED))
    forget_all(transaction, job_id)
    transaction.add_event(job_id, EventKind.LEFT_OPEN, reason.message)
