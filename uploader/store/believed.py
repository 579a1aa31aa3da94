"""Which jobs a worker takes as they are written, and what becomes of the others.

Rows are input: somebody else may have written them. One job's rows never stop another job.
"""

from __future__ import annotations

from sqlalchemy import select, update

from uploader.core.errors import UnreadableRow
from uploader.core.events import EventKind
from uploader.core.job import FileState, Job, Reason, Status
from uploader.core.lifecycle import Verb, advance
from uploader.core.reasons import Code
from uploader.store.blank import NO_SESSION
from uploader.store.held import NO_LEASE
from uploader.store.journal import Transaction, reason_columns
from uploader.store.rows import file_of, read_job, reading_job
from uploader.store.tables import files, jobs


def believed(transaction: Transaction, job_id: int) -> Job | None:
    """The job, for the worker that has just taken it; None if it may not: then it is set aside.

    It fails if its rows cannot be read or have no seal. An address without its seal is forgotten.
    """
    try:
        job = read_job(transaction.connection, job_id)
        if _is_sealed(transaction, job):
            return job
        reason = Reason(Code.UNSEALED, Code.UNSEALED.meaning, Code.UNSEALED.hint)
    except UnreadableRow as error:
        reason = Reason(error.code, error.message, error.hint)
    _set_aside(transaction, job_id, reason)
    return None


def _is_sealed(transaction: Transaction, job: Job) -> bool:
    seal = transaction.seal
    if seal.secret is None:
        return True
    query = select(files).where(files.c.job_id == job.id)
    with reading_job(job.id):
        found = [file_of(row) for row in transaction.connection.execute(query)]
    if not seal.holds_job(job) or not all(map(seal.holds_file, found)):
        return False
    for file in found:
        if not seal.holds_address(file):
            _forget_address(transaction, file)
    return True


def _forget_address(transaction: Transaction, file: FileState) -> None:
    this = update(files).where(files.c.job_id == file.job_id, files.c.path == file.path)
    transaction.run(this.values(**NO_SESSION, upload_url=None, address_seal=None))
    message = "where it was to be sent has no seal of this job table: it is asked for anew"
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
    sessions = update(files).where(files.c.job_id == job_id)
    transaction.run(sessions.values(session_uri=None, session_at=None, upload_url=None))
    transaction.add_event(job_id, EventKind.LEFT_OPEN, reason.message)
