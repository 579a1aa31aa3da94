"""Which jobs a query is about."""

from __future__ import annotations

import re
from collections.abc import Collection

from sqlalchemy import ColumnElement, and_, select, true, union_all

from uploader.core.job import UNKNOWN_ACCOUNT, Job, Status
from uploader.store.tables import ENDED, OPEN, jobs

#: As `Job.model` has it (docs/fireworks.md).
_RESOURCE_NAME = re.compile(r"accounts/([^/]+)/models/([^/]+)")


def any_of(statuses: Collection[Status]) -> ColumnElement[bool]:
    """Those with one of ``statuses``, or all if there are none."""
    return jobs.c.status.in_(statuses) if statuses else true()


def shown_of(ended: int | None, statuses: Collection[Status]) -> ColumnElement[bool]:
    """Every open job and the ``ended`` newest ones that have ended, or all; as in `any_of`."""
    wanted = any_of(statuses)
    if ended is None:
        return wanted
    newest = (
        select(jobs.c.id)
        .where(ENDED, wanted)
        .order_by(jobs.c.updated_at.desc(), jobs.c.id.desc())
        .limit(ended)
        .subquery()
    )
    still_open = select(jobs.c.id).where(OPEN, wanted)
    return jobs.c.id.in_(union_all(still_open, select(newest.c.id)))


def model_is(ref: str) -> ColumnElement[bool]:
    """Those of the model with that id or resource name."""
    named = _RESOURCE_NAME.fullmatch(ref)
    if named is None:
        return jobs.c.model_id == ref
    if named[1] == UNKNOWN_ACCOUNT:  # as it was printed before the job had its account
        return jobs.c.model_id == named[2]
    return and_(jobs.c.account == named[1], jobs.c.model_id == named[2])


def others_for_its_model(job: Job, account: str) -> tuple[ColumnElement[bool], ...]:
    """Every other job that is for the model of ``job`` in that account."""
    return (
        jobs.c.id != job.id,
        jobs.c.base_url == job.base_url,
        jobs.c.account == account,
        jobs.c.model_id == job.model_id,
    )
