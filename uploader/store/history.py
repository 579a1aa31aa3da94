"""The end of history: jobs that ended long ago go, with their files and their events.

Ids of jobs and numbers of events are never used again, and no other row refers to what was deleted.
A job that left something open remotely stays, however old it is, and so does one that a hook has
yet to hear about.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Select,
    and_,
    delete,
    func,
    not_,
    select,
)

from uploader.core.errors import StoreError
from uploader.core.job import Status
from uploader.store.aside import Aside, check_is_about_rows
from uploader.store.database import dialect
from uploader.store.journal import Journal, no_listener
from uploader.store.leftovers import has_sessions
from uploader.store.outbox_tables import deliveries, hooks
from uploader.store.tables import ENDED, events, files, jobs

#: The most that one step deletes: others wait for it no longer than for any other write.
_STEP_JOBS = 100
_STEP_EVENTS = 2000
#: Once a step has this many files, it takes no more jobs; the files of one job go together.
_STEP_FILES = 2000
#: Pages of a file that one step gives back to its disk.
_STEP_PAGES = 500


@dataclass(frozen=True, slots=True)
class Rows:
    """How many rows of each table."""

    jobs: int = 0
    files: int = 0
    events: int = 0

    def __add__(self, other: Rows) -> Rows:
        return Rows(self.jobs + other.jobs, self.files + other.files, self.events + other.events)


class History:
    """What a store remembers of jobs that have ended. Every method raises StoreError."""

    def __init__(self, engine: Engine) -> None:
        self._aside = Aside()
        self._engine = engine
        self._journal = Journal(engine, no_listener)

    def count(self, before: datetime, told: Collection[str] = ()) -> Rows:
        """What there is of jobs that were done or cancelled before that time.

        ``told``: the hooks of the configuration, by name. A job stays until they have heard of it.
        """
        old = select(jobs.c.id).where(_expired(before, told)).subquery()
        with self._journal.reading() as connection:
            found, listed, noted = (
                connection.scalar(
                    select(func.count()).select_from(table).where(column.in_(select(old)))
                )
                for table, column in (
                    (jobs, jobs.c.id),
                    (files, files.c.job_id),
                    (events, events.c.job_id),
                )
            )
        return Rows(found or 0, listed or 0, noted or 0)

    def prune(self, before: datetime, now: datetime, told: Collection[str] = ()) -> Rows:
        """Delete some of it, the oldest first, in one short transaction; nothing if none is left.

        A job's events go first, in several steps if need be; then the job itself and its files, all
        at once.
        """
        left = jobs.c.id.not_in(self._aside.ids(now))
        oldest = select(jobs.c.id).where(_expired(before, told), left).order_by(jobs.c.updated_at)
        with self._journal.reading() as connection:
            ids = list(connection.scalars(oldest.limit(_STEP_JOBS)))
            ids = _few(connection, ids)
        if not ids:
            return Rows()
        try:
            gone = self._forget(oldest, ids, now)
        except StoreError as error:
            check_is_about_rows(error)
            gone = self._forget_each(oldest, ids, now)
        dialect.shrink(self._engine, _STEP_PAGES)
        return gone

    def _forget_each(self, which: Select[Any], ids: Collection[int], now: datetime) -> Rows:
        """One by one: only those that the database refuses to delete stay."""
        total = Rows()
        for job_id in ids:
            try:
                total += self._forget(which, [job_id], now)
            except StoreError as error:
                check_is_about_rows(error)
                self._aside.add(job_id, error, now)
        return total

    def _forget(self, which: Select[Any], ids: Collection[int], now: datetime) -> Rows:
        """Delete those of the jobs with these ids that ``which`` still selects."""
        with self._journal.writing(now) as transaction:
            ids = list(transaction.connection.scalars(which.where(jobs.c.id.in_(ids))))
            some = select(events.c.seq).where(events.c.job_id.in_(ids)).limit(_STEP_EVENTS)
            noted = transaction.run(delete(events).where(events.c.seq.in_(some))).rowcount
            if noted == _STEP_EVENTS:  # there may be more of them
                return Rows(events=noted)
            listed = transaction.run(delete(files).where(files.c.job_id.in_(ids))).rowcount
            transaction.run(delete(jobs).where(jobs.c.id.in_(ids)))
            return Rows(len(ids), listed, noted)

    def prune_all(self, before: datetime, now: datetime, told: Collection[str] = ()) -> Rows:
        """As many steps as it takes, and then the file is as small as it can be."""
        total = Rows()
        while (gone := self.prune(before, now, told)) != Rows():
            total += gone
        dialect.shrink(self._engine)
        return total


def _few(connection: Connection, ids: Sequence[int]) -> list[int]:
    """The first of the jobs with these ids, until they have `_STEP_FILES` files together."""
    query = select(files.c.job_id, func.count()).where(files.c.job_id.in_(ids))
    counts = {row[0]: row[1] for row in connection.execute(query.group_by(files.c.job_id))}
    before = accumulate((counts.get(job_id, 0) for job_id in ids), initial=0)
    return [job_id for job_id, count in zip(ids, before, strict=False) if count < _STEP_FILES]


def _expired(before: datetime, told: Collection[str]) -> ColumnElement[bool]:
    to_clean_up = and_(jobs.c.status == Status.CANCELLED, has_sessions())
    return and_(
        ENDED,
        jobs.c.updated_at < before,
        jobs.c.lease_token.is_(None),
        jobs.c.delete_on_cancel.is_(False),
        not_(to_clean_up),
        *_all_told(told),
    )


def _all_told(names: Collection[str]) -> list[ColumnElement[bool]]:
    """Every enabled hook in ``names`` has heard of the job and seen its events."""
    if not names:
        return []
    on = and_(hooks.c.name.in_(names), hooks.c.off.is_(False))
    seen = select(func.min(hooks.c.cursor)).where(on).scalar_subquery()
    # NOT IN is never true of a list that has a NULL.
    unseen = select(events.c.job_id).where(events.c.seq > seen, events.c.job_id.is_not(None))
    waiting = select(deliveries.c.job_id).join(hooks).where(on, deliveries.c.job_id.is_not(None))
    return [jobs.c.id.not_in(unseen), jobs.c.id.not_in(waiting)]
