"""What becomes of the jobs of a worker that is gone (docs/invariants.md §10)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, case, update

from uploader.core.events import EventKind
from uploader.core.job import Reason, Status
from uploader.core.reasons import Code
from uploader.core.retry import pause_after_rescues
from uploader.core.text import duration
from uploader.store.held import NO_LEASE
from uploader.store.journal import Transaction, reason_columns
from uploader.store.tables import jobs

#: A worker that was killed sooner after its last write hardly had the time to come further.
_TIME_TO_COME_FURTHER = timedelta(seconds=5)


def rescue(transaction: Transaction, orphaned: ColumnElement[bool]) -> list[int]:
    """End the leases of those jobs, whose worker is gone; returns their ids."""
    late = jobs.c.updated_at <= transaction.now - _TIME_TO_COME_FURTHER
    rescues = case((late, jobs.c.rescues + 1), else_=jobs.c.rescues)
    values = {"updated_at": transaction.now, "rescues": rescues, **NO_LEASE}
    freed = update(jobs).where(orphaned).values(values)
    rows = transaction.run(freed.returning(jobs.c.id, jobs.c.status, jobs.c.rescues)).all()
    for row in rows:
        if row.status == Status.ACTIVE:  # of all other jobs only the lease was left
            _go_on(transaction, row.id, row.rescues)
    return [row.id for row in rows]


def _go_on(transaction: Transaction, job_id: int, rescues: int) -> None:
    """Whatever ends each worker that takes the job, the others are to have one meanwhile."""
    said, pause = "its worker is gone: the job goes on", pause_after_rescues(rescues, job_id)
    if pause:
        message = f"{rescues} workers in a row have died while they had this job"
        reason = Reason(Code.WORKERS_DIED, message, Code.WORKERS_DIED.hint)
        columns: dict[str, Any] = {"not_before": transaction.now + pause}
        this = update(jobs).where(jobs.c.id == job_id)
        transaction.run(this.values(**columns, **reason_columns(reason)))
        said = f"{message}: it is tried again in {duration(pause.total_seconds())}"
    transaction.add_event(job_id, EventKind.RESCUED, said)
