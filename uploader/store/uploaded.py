"""What earlier uploads took: of many jobs only that is read, and nothing that lists show."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, select

from uploader.core.job import Stage
from uploader.store.conditions import shown_of
from uploader.store.rows import check, types_of
from uploader.store.tables import files, jobs
from uploader.store.unreadable import each

_STORED = (Stage.VALIDATE, Stage.READY)
_COLUMNS = (jobs.c.id, jobs.c.updated_at, jobs.c.upload_started_at, jobs.c.uploaded_at)
_TYPES = types_of(_COLUMNS)
_BYTES = select(func.sum(files.c.size_bytes)).where(files.c.job_id == jobs.c.id)


@dataclass(frozen=True, slots=True)
class Uploaded:
    """The upload of a job whose files are all stored.

    ``took_s``: how many seconds this run's stage `upload` took, pauses included; 0 if unknown.
    """

    job_id: int
    updated_at: datetime
    size_bytes: int
    took_s: float


def uploads(connection: Connection, ended: int) -> list[Uploaded]:
    """Those among the open jobs and the ``ended`` newest ones that have ended; no empty ones."""
    ids = select(jobs.c.id).where(shown_of(ended, ()), jobs.c.stage.in_(_STORED))
    query = select(*_COLUMNS, _BYTES.scalar_subquery().label("size")).where(jobs.c.id.in_(ids))
    found = each(connection, query, jobs.c.id, _uploaded, _left_out)
    return [one for one in found if one.size_bytes > 0]


def _uploaded(row: Row[Any]) -> Uploaded:
    check(row, _TYPES)
    began, ended = row.upload_started_at, row.uploaded_at
    took_s = max(0.0, (ended - began).total_seconds()) if began and ended else 0.0
    return Uploaded(row.id, row.updated_at, int(row.size or 0), took_s)


def _left_out(job_id: int, why: str) -> None:
    """A damaged history is not a reason to fail here."""
    del job_id, why
