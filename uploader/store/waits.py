"""No job waits for a time that was written by a clock that was ahead (docs/operations.md §1.1)."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, select, update

from uploader.store.journal import Transaction
from uploader.store.tables import files, jobs

#: The clocks of two machines may differ by so much.
_CLOCKS_DIFFER = timedelta(minutes=5)


def written_ahead(now: datetime) -> ColumnElement[bool]:
    """Was the job last changed at a time that is still to come?"""
    return jobs.c.updated_at > now + _CLOCKS_DIFFER


def clear_waits(transaction: Transaction, some: ColumnElement[bool]) -> None:
    """Let none of those jobs, and no file of theirs, wait for a later time."""
    for table, job_id in ((files, files.c.job_id), (jobs, jobs.c.id)):
        theirs = job_id.in_(select(jobs.c.id).where(some))
        late = update(table).where(theirs, table.c.not_before > transaction.now)
        transaction.run(late.values(not_before=None))
