"""The token of a lease says when it was taken: a row has no other place for that."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, case

from uploader.store.tables import jobs

#: What ends a worker later is not blamed on its job: machines are switched off, people restart it.
_LONG = timedelta(minutes=5)
_DIGITS = 12
_NEVER = datetime(9000, 1, 1, tzinfo=UTC)


def new_token(now: datetime) -> str:
    """The token of a lease that is taken now; no other lease has it."""
    return f"{int(now.timestamp() * 1000):0{_DIGITS}x}{uuid.uuid4().hex[_DIGITS:]}"


def lived_long_at(token: str | bytes) -> datetime:
    """When the run under that lease begins to count as a long one; for a strange token, never."""
    try:
        return datetime.fromtimestamp(int(token[:_DIGITS], 16) / 1000, UTC) + _LONG
    except (ValueError, OverflowError, OSError):
        return _NEVER


def fewer_rescues() -> ColumnElement[int]:
    """The count of the workers that died with the job, after a run that was a long one."""
    return case((jobs.c.rescues > 0, jobs.c.rescues - 1), else_=0)
