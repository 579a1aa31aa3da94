"""Calls that may go on at the service although nobody hears the answer (docs/life.md §2.1)."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, exists, not_, or_, select, update

from uploader.core.job import Job, Status
from uploader.core.remote_model import DELETE_S, VALIDATE_S
from uploader.core.verdict import Call
from uploader.store.conditions import others_for_its_model
from uploader.store.fence import Fence
from uploader.store.journal import Transaction
from uploader.store.rows import reading_job
from uploader.store.standing import check_all_stored
from uploader.store.tables import jobs

#: Since when one may be under way.
_SINCE = {Call.VALIDATE: jobs.c.validating_since, Call.DELETE: jobs.c.deleting_since}


class HeldCalls:
    """`Held.calls`: each is under way from `begin` on, until it has been `heard`."""

    def __init__(self, fence: Fence, status: Status) -> None:
        self._fence = fence
        self._status = status

    def begin(self, call: Call) -> datetime | None:
        """``call`` is about to be sent, for a job that has the status with which it was claimed.

        Returns since when an earlier one may be under way, for `heard`. Raises ValueError for a
        validateUpload if a file of the job is not stored.
        """
        job_id, column = self._fence.lease.job_id, _SINCE[call]
        this = jobs.c.id == job_id
        with self._fence.writing(self._status) as transaction:
            if call is Call.VALIDATE:
                check_all_stored(transaction, job_id)
            with reading_job(job_id):
                found = transaction.connection.execute(select(column).where(this))
                earlier: datetime | None = found.scalar_one()
            transaction.run(update(jobs).where(this).values({column: transaction.now}))
        return earlier

    def heard(self, call: Call, earlier: datetime | None) -> None:
        """It is over, whatever the user has done to the job meanwhile; the ``earlier`` may not be.

        So an answer to one call does not end the wait for another whose answer was lost.
        """
        with self._fence.writing(**{_SINCE[call].name: earlier}):
            pass


def validation_under_way(transaction: Transaction, job: Job, account: str) -> bool:
    """May a validateUpload of a cancelled job, or of an earlier run, make the model READY yet?

    A model that is deleted, or about to be, takes it with it.
    """
    others = and_(jobs.c.status == Status.CANCELLED, *others_for_its_model(job, account))
    earlier = and_(jobs.c.id == job.id, jobs.c.replace_first.is_(False))
    its = and_(or_(others, earlier), jobs.c.model_exists)
    return _is_under_way(transaction, Call.VALIDATE, VALIDATE_S, its)


def deletion_under_way(transaction: Transaction, job: Job, account: str) -> bool:
    """May a DELETE of an earlier model of that name delete the one that ``job`` needs?

    Not if ``job`` itself is about to send another one.
    """
    is_next = and_(jobs.c.replace_first, jobs.c.created_remotely)
    its = or_(and_(*others_for_its_model(job, account)), and_(jobs.c.id == job.id, not_(is_next)))
    return _is_under_way(transaction, Call.DELETE, DELETE_S, its)


def _is_under_way(
    transaction: Transaction, call: Call, longest_s: float, its: ColumnElement[bool]
) -> bool:
    """Has one begun less than its longest time ago, and nobody has heard its answer?"""
    longest = timedelta(seconds=longest_s)
    # A row of the future was written before the clock was set back.
    lately = _SINCE[call].between(transaction.now - longest, transaction.now + longest)
    return bool(transaction.connection.execute(select(exists().where(its, lately))).scalar_one())
