"""Rows that cannot be read: they hide no other row (docs/invariants.md §10).

Rows are input: somebody else may have written them. A job is shown as one that failed, an event as
one that cannot be read. A command for such a job alone ends in `unreadable_row`, unless it is
`remove`. Whether a large body can be read is only seen by who needs it: a worker fails the job.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, TypeVar

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Row,
    Select,
    Text,
    cast,
    select,
)

from uploader.core.errors import UnreadableRow, VerbRefused
from uploader.core.events import EventKind
from uploader.core.job import (
    ACCOUNT_ID,
    ENDED_STATUSES,
    MODEL_ID,
    UNKNOWN_ACCOUNT,
    Event,
    Job,
    Kind,
    Reason,
    Stage,
    Status,
)
from uploader.store.rows import event_of, listed_jobs_of, listed_of, reading_job
from uploader.store.tables import events, jobs

_log = logging.getLogger(__name__)

_T = TypeVar("_T")
#: How many lines are known to have been logged; one that is forgotten is logged again.
_MAX_LINES = 1000
#: As text every value can be read, whatever its column is for.
_AS_TEXT = select(
    *(
        cast(jobs.c[name], Text).label(name)
        for name in (
            *("base_url", "account", "model_id", "path", "kind", "stage", "status"),
            *("created_at", "updated_at"),
        )
    )
)
#: A statement may name this many rows.
_PORTION = 500
_UNKNOWN_TIME = datetime.fromtimestamp(0, UTC)


def readable(connection: Connection, ids: Select[Any]) -> list[Job]:
    """Those of the jobs with these ids that can be read, by id."""
    return _read(connection, ids, lambda _error, _job_id: None)


def shown(connection: Connection, ids: Select[Any]) -> list[Job]:
    """The jobs with these ids, by id; of one that cannot be read, what can be said of it."""
    return _read(connection, ids, lambda error, job_id: _stand_in(connection, job_id, error))


def _read(
    connection: Connection,
    ids: Select[Any],
    otherwise: Callable[[UnreadableRow, int], Job | None],
) -> list[Job]:
    """All at once, and one by one only if one of them cannot be read."""
    try:
        with reading_job(0):
            rows = connection.execute(listed_jobs_of(lambda job_id: job_id.in_(ids)))
            return [listed_of(row) for row in rows]
    except UnreadableRow:
        known = sorted(connection.execute(ids).scalars())
    found = (_one(connection, job_id, otherwise) for job_id in known)
    return [job for job in found if job is not None]


def _one(
    connection: Connection, job_id: int, otherwise: Callable[[UnreadableRow, int], Job | None]
) -> Job | None:
    try:
        with reading_job(job_id):
            row = connection.execute(listed_jobs_of(lambda id_: id_ == job_id)).one_or_none()
            return None if row is None else listed_of(row)  # it may have been removed meanwhile
    except UnreadableRow as error:
        return otherwise(error, job_id)


def _stand_in(connection: Connection, job_id: int, error: UnreadableRow) -> Job:
    """What can be said of that job. It needs a human, so an open one counts as failed."""
    said: dict[str, str | None] = {}
    with suppress(UnreadableRow), reading_job(job_id):
        said = dict(connection.execute(_AS_TEXT.where(jobs.c.id == job_id)).mappings().one())

    def say(name: str, reader: Callable[[str], _T], otherwise: _T) -> _T:
        try:
            return reader(said.get(name) or "")
        except ValueError:
            return otherwise

    status = say("status", Status, Status.FAILED)
    return Job(
        id=job_id,
        base_url=say("base_url", str, ""),
        account=say("account", _named(ACCOUNT_ID.fullmatch), UNKNOWN_ACCOUNT),
        model_id=say("model_id", _named(MODEL_ID.fullmatch), UNKNOWN_ACCOUNT),
        path=say("path", str, ""),
        kind=say("kind", Kind, Kind.BASE),
        stage=say("stage", Stage, Stage.CREATE),
        status=status if status in ENDED_STATUSES else Status.FAILED,
        created_at=say("created_at", _time, _UNKNOWN_TIME),
        updated_at=say("updated_at", _time, _UNKNOWN_TIME),
        reason=Reason(error.code, error.message, error.hint),
    )


def _named(fits: Callable[[str], object]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if not fits(text):
            raise ValueError
        return text

    return read


def _time(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def each(
    connection: Connection,
    query: Select[Any],
    key: ColumnElement[Any],
    read: Callable[[Row[Any]], _T],
    instead: Callable[[Any, str], _T | None],
) -> list[_T]:
    """What ``read`` makes of each row of ``query``; it raises ValueError for one it cannot read.

    In place of such a row: what ``instead`` makes of its ``key`` and the reason, unless that is
    None. All rows are read at once; if one of them cannot be read, they are read in halves.
    """
    try:
        with reading_job(0):
            return [read(row) for row in connection.execute(query)]
    except UnreadableRow as error:
        keys = connection.scalars(query.with_only_columns(key)).all()
        if len({*keys}) == 1:  # of more than one row, if somebody else wrote them
            found = instead(keys[0], error.why)
            return [] if found is None else [found]
    step = min(_PORTION, (len(keys) + 1) // 2)
    parts = (query.where(key.in_(keys[at : at + step])) for at in range(0, len(keys), step or 1))
    return [one for part in parts for one in each(connection, part, key, read, instead)]


def earliest(
    connection: Connection, query: Select[Any], at: Column[datetime], key: ColumnElement[Any]
) -> datetime | None:
    """The earliest time that ``query`` finds, of those that can be read."""

    def instead(key: Any, why: str) -> None:
        warn_once(f"the {at.name} of row {key} of {at.table.name} cannot be read: {why}")

    def read(row: Row[Any]) -> datetime:
        if row[0] is None:
            raise ValueError("it is not a time")
        moment: datetime = row[0]
        return moment

    first = each(connection, query.order_by(at).limit(1), key, read, instead)
    return min(first or each(connection, query, key, read, instead), default=None)


def scalar(connection: Connection, query: Select[Any]) -> Any:
    """The one value that ``query`` finds; None if it cannot be read."""
    with suppress(UnreadableRow), reading_job(0):
        return connection.scalar(query)


@lru_cache(_MAX_LINES)
def warn_once(line: str) -> None:
    """For a row that stays, and is read again and again."""
    _log.warning("%s", line)


def events_of(
    connection: Connection, query: Select[Any], warn: Callable[[Event], None] = lambda _: None
) -> list[Event]:
    """The events of that query; in place of one that cannot be read, one that says so.

    ``warn`` is called with each of these.
    """

    def instead(seq: int, why: str) -> Event:
        columns = (cast(events.c.job_id, BigInteger), events.c.at)
        this = (select(column).where(events.c.seq == seq) for column in columns)
        job_id, at = (scalar(connection, query) for query in this)
        message = f"this event cannot be read: {why}"
        found = Event(seq, job_id or 0, at or _UNKNOWN_TIME, EventKind.UNREADABLE, message)
        warn(found)
        return found

    return each(connection, query, events.c.seq, event_of, instead)


def check_unheld(connection: Connection, job_id: int) -> None:
    """Raises VerbRefused if a worker has the job that cannot be read: it will let go of it."""
    held = select(jobs.c.lease_token.is_not(None)).where(jobs.c.id == job_id)
    if connection.execute(held).scalar():
        raise VerbRefused(f"a worker still has job {job_id}", hint="try again in a moment")
