"""Which job a worker takes next, and which are due (docs/architecture.md §9)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import CTE, ColumnElement, ScalarSelect, Select, bindparam, func, or_, select, union

from uploader.core.job import Status
from uploader.store.leftovers import WITH_SESSIONS
from uploader.store.tables import TO_DELETE, jobs

#: No correct wait is longer: a day of backoff on top of an hour of Retry-After. A longer one was
#: written under a clock that has been set back since.
LONGEST_WAIT = timedelta(days=2)
CANCELLED = jobs.c.status == Status.CANCELLED
#: The terms of a search for the next job.
HERE = jobs.c.base_url == bindparam("base")
NOT_ASIDE = jobs.c.id.not_in(bindparam("aside", expanding=True))
DUE = (
    jobs.c.not_before.is_(None),
    jobs.c.not_before <= bindparam("now"),
    jobs.c.not_before > bindparam("late"),
)


def times(now: datetime) -> dict[str, datetime]:
    """The values for `DUE`."""
    return {"now": now, "late": now + LONGEST_WAIT}


def next_of(ready: ColumnElement[bool]) -> Select[Any]:
    """Each part is one probe of an index, however many jobs there are and whatever they wait for.

    So it goes from one priority in use to the next, and at each of them asks for the first job that
    was never delayed, then for the one that was due first.
    """
    levels = select(func.max(jobs.c.priority).label("priority")).where(ready).cte(recursive=True)
    below = select(func.max(jobs.c.priority)).where(ready, jobs.c.priority < levels.c.priority)
    levels = levels.union_all(
        select(below.correlate(levels).scalar_subquery()).where(levels.c.priority.is_not(None))
    )
    found = select(
        levels.c.priority,
        func.coalesce(*(_first(levels, ready, due) for due in DUE)).label("id"),
    ).subquery()
    return (
        select(found.c.id).where(found.c.id.is_not(None)).order_by(found.c.priority.desc()).limit(1)
    )


def _first(levels: CTE, ready: ColumnElement[bool], due: ColumnElement[bool]) -> ScalarSelect[int]:
    at_level = (
        ready,
        jobs.c.priority == levels.c.priority,
        jobs.c.lease_token.is_(None),
        NOT_ASIDE,
        due,
    )
    query = select(jobs.c.id).where(*at_level).order_by(jobs.c.not_before, jobs.c.id).limit(1)
    return query.correlate(levels).scalar_subquery()


def next_to_clean_up(ours: ColumnElement[bool]) -> Select[Any]:
    """The first cancelled job that left something open and is due."""
    found = to_clean_up(ours, HERE, jobs.c.lease_token.is_(None), NOT_ASIDE)
    order = found.c.priority.desc(), found.c.not_before.nulls_first(), found.c.id
    return select(found.c.id).order_by(*order).limit(1)


def to_clean_up(*which: ColumnElement[bool]) -> CTE:
    """Those of the cancelled jobs that left something open and are due.

    PostgreSQL finds them all before it asks for one: else it believes that the first is found soon,
    and compares each cancelled job with each that has sessions.
    """
    left_open = union(select(jobs.c.id).where(TO_DELETE), *WITH_SESSIONS)
    columns = jobs.c.id, jobs.c.priority, jobs.c.not_before
    found = select(*columns).where(*which, CANCELLED, jobs.c.id.in_(left_open), or_(*DUE))
    return found.cte().prefix_with("MATERIALIZED", dialect="postgresql")
