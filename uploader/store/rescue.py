"""What becomes of the jobs of a worker that is gone (docs/invariants.md §10)."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Dialect,
    Integer,
    LargeBinary,
    Select,
    and_,
    case,
    cast,
    func,
    not_,
    or_,
    select,
    union_all,
    update,
)

from uploader.core.events import EventKind
from uploader.core.job import POOLS, Reason, Stage, Status
from uploader.core.reasons import Code
from uploader.core.retry import pause_after_rescues
from uploader.core.text import duration
from uploader.store.blank import NO_LEASE
from uploader.store.journal import Transaction, reason_columns
from uploader.store.tables import active_in, jobs
from uploader.store.tokens import fewer_rescues, lived_long_at
from uploader.store.waits import clear_waits, written_ahead

#: After more deaths a job waits even if there is no other: the machine is to be left in peace.
_MOST_ALONE = 32
_SUSPECTED = and_(
    func.coalesce(jobs.c.reason_code, "") == Code.WORKERS_DIED,
    jobs.c.lease_token.is_(None),
    jobs.c.rescues <= _MOST_ALONE,
)


def as_bytes(column: Column[str], dialect: Dialect) -> ColumnElement[Any]:
    """A word of a row that nobody has judged yet: SQLite may hold text that is not UTF-8."""
    return cast(column, LargeBinary) if dialect.name == "sqlite" else column


def rescue(transaction: Transaction, orphaned: ColumnElement[bool]) -> list[int]:
    """End the leases of those jobs, whose worker is gone; returns their ids."""
    token = as_bytes(jobs.c.lease_token, transaction.connection.dialect)
    rescued_before = cast(jobs.c.rescues, Integer)  # SQLite may hold a word in its place
    columns = (jobs.c.id, jobs.c.status, token.label("token"), rescued_before.label("before"))
    clear_waits(transaction, and_(orphaned, written_ahead(transaction.now)))
    found = transaction.connection.execute(select(*columns).where(orphaned)).all()
    rescued = []
    for row in found:
        this = and_(jobs.c.id == row.id, token == row.token)
        long_ago = lived_long_at(row.token)
        # The worker wrote its row each second while it sent, and renewed its lease all the while.
        lived = or_(jobs.c.updated_at >= long_ago, jobs.c.lease_expires_at >= long_ago)
        rescues = case((lived, fewer_rescues()), else_=rescued_before + 1)
        values = {"updated_at": transaction.now, "rescues": rescues, **NO_LEASE}
        freed = update(jobs).where(this).values(values).returning(jobs.c.rescues)
        count = transaction.run(freed).scalar_one_or_none()
        if count is None:
            continue
        rescued.append(row.id)
        if row.status == Status.ACTIVE:  # of all other jobs only the lease was left
            _go_on(transaction, row.id, count if count > row.before else 0)
    return rescued


def _go_on(transaction: Transaction, job_id: int, rescues: int) -> None:
    """Whatever ends each worker that takes the job, the others are to have one meanwhile."""
    said, pause = "its worker is gone: the job goes on", pause_after_rescues(rescues, job_id)
    if pause:
        message = f"{rescues} workers have died soon after they had taken this job"
        reason = Reason(Code.WORKERS_DIED, message, Code.WORKERS_DIED.hint)
        columns: dict[str, Any] = {"not_before": transaction.now + pause}
        this = update(jobs).where(jobs.c.id == job_id)
        transaction.run(this.values(**columns, **reason_columns(reason)))
        said = f"{message}: it is tried again in {duration(pause.total_seconds())}"
    transaction.add_event(job_id, EventKind.RESCUED, said)


def _others(ours: ColumnElement[bool]) -> Select[Any]:
    """An active job that is not suspected, if there is one: the suspected ones wait for it."""
    first = [
        select(jobs.c.id)
        .where(ours, active_in(pool), not_(_SUSPECTED))
        .order_by(jobs.c.priority, jobs.c.not_before, jobs.c.id)
        .limit(1)
        .subquery()
        for pool in POOLS
    ]
    return select(union_all(*map(select, first)).subquery().c.id).limit(1)


def next_alone(ours: ColumnElement[bool], pool: Collection[Stage]) -> Select[Any]:
    """The job to take if all that are left wait because their workers died."""
    return (
        select(jobs.c.id)
        .where(ours, active_in(pool), _SUSPECTED, not_(_others(ours).exists()))
        .order_by(jobs.c.rescues, jobs.c.not_before, jobs.c.id)
        .limit(1)
    )
