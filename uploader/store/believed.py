"""Which jobs a worker takes as they are written, and what becomes of the others.

Rows are input: somebody else may have written them. One job's rows never stop another job.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, select, update

from uploader.core.errors import UnreadableRow
from uploader.core.events import EventKind
from uploader.core.job import FileState, Reason, Status
from uploader.core.lifecycle import Verb, advance
from uploader.core.reasons import Code
from uploader.core.seal import RunSeal, Seal
from uploader.core.whole_job import WholeJob
from uploader.store.blank import NO_LEASE
from uploader.store.file_updates import FORGET, portions
from uploader.store.journal import Transaction, reason_columns
from uploader.store.leftovers import ERASED, forget_all, leave
from uploader.store.rows import file_of, read_job, reading_job
from uploader.store.tables import files, jobs

_UNSEALED = Reason(Code.UNSEALED, Code.UNSEALED.meaning, Code.UNSEALED.hint)
#: Of so many files an event says that they are sent anew; of the others, one event for all.
_MOST_TOLD = 20


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
    # In one statement: another run may begin between two.
    run = jobs.c.created_at, jobs.c.run_number, jobs.c.files_run
    query = select(files, *run).join(jobs).where(files.c.job_id == job_id)
    try:
        with reading_job(job_id):
            rows = connection.execute(query).all()
            found = [(file_of(row), _run_of(seal, row)) for row in rows]
    except UnreadableRow as error:
        return Looked(Reason(error.code, error.message, error.hint))
    if not all(run.holds_file(file) for file, run in found):
        return Looked(_UNSEALED)
    return Looked(strayed=tuple(file for file, run in found if not run.holds_standing(file)))


def _run_of(seal: Seal, row: Row[Any]) -> RunSeal:
    return RunSeal(seal, row.job_id, row.created_at, row.run_number, row.files_run)


def believed(transaction: Transaction, job_id: int, looked: Looked) -> WholeJob | None:
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
    _forget_standing(transaction, job_id, looked.strayed)
    return job


def _forget_standing(transaction: Transaction, job_id: int, strayed: Sequence[FileState]) -> None:
    """After an upgrade these may be all files of a job: no statement is for one of them."""
    gone: list[FileState] = []
    for portion in portions(strayed):
        these = files.c.job_id == job_id, files.c.path.in_([file.path for file in portion])
        now = select(files.c.path, files.c.address_seal).where(*these)
        known = {row.path: row.address_seal for row in transaction.connection.execute(now)}
        same = [file for file in portion if known.get(file.path, "") == file.address_seal]
        paths = files.c.path.in_([file.path for file in same])
        if ours := [file.path for file in same if _is_ours(transaction, file)]:
            leave(transaction, files.c.job_id == job_id, files.c.path.in_(ours))
        blank = FORGET | {"upload_url": None, "address_seal": None}
        transaction.run(update(files).where(files.c.job_id == job_id, paths).values(**blank))
        gone += same
    message = "how far it was has no seal of this job table: it is sent anew"
    told: list[tuple[str, str | None]] = [(message, file.path) for file in gone[:_MOST_TOLD]]
    if more := len(gone) - len(told):
        told.append((f"so it is with {more} more of its files", None))
    transaction.add_events(job_id, EventKind.SESSION_DROPPED, told)


def _is_ours(transaction: Transaction, file: FileState) -> bool:
    """Has it a session that was written with the secret, maybe by an earlier version?"""
    if file.session is None:
        return False
    address = file.job_id, file.path, file.session.reveal()
    return transaction.seal.holds_address(*address, file.address_seal)


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
