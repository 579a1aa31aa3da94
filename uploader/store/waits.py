"""No job waits for a time that was written by a clock that was ahead (docs/operations.md §1.1)."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, exists, or_, select, update

from uploader.store.journal import Transaction
from uploader.store.tables import files, jobs

#: The clocks of two machines may differ by so much.
_CLOCKS_DIFFER = timedelta(minutes=5)


def written_ahead(now: datetime) -> ColumnElement[bool]:
    """Was the job last changed at a time that is still to come?"""
    return jobs.c.updated_at > now + _CLOCKS_DIFFER


def is_waiting(now: datetime) -> ColumnElement[bool]:
    """Does the job, or a file of it, wait for a later time?"""
    late = exists().where(files.c.job_id == jobs.c.id, files.c.not_before > now)
    return or_(jobs.c.not_before > now, late)


def clear_waits(transaction: Transaction, some: ColumnElement[bool]) -> None:
    """Let none of those jobs, and no file of theirs, wait for a later time."""
    # Jobs first: that a file waits may be what makes a job one of ``some``.
    for table, job_id in ((jobs, jobs.c.id), (files, files.c.job_id)):
        theirs = job_id.in_(select(jobs.c.id).where(some))
        late = update(table).where(theirs, table.c.not_before > transaction.now)
        transaction.run(late.values(not_before=None))
