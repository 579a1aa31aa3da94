"""The indexes of the tables: what a worker or a command asks is answered without a scan.

Only migrations and their tests import this: statements do not need the objects, and each word about
PostgreSQL in them would load that dialect, which is slow, into every command.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Index, TextClause

from uploader.core.job import POOLS
from uploader.store import outbox_tables, tables
from uploader.store.tables import events, files, jobs, leftovers, metadata

__all__ = ["metadata", "outbox_tables"]


def _partial(name: str, condition: TextClause, *columns: Any, unique: bool = False) -> None:
    Index(name, *columns, unique=unique, sqlite_where=condition, postgresql_where=condition)


_partial(
    "jobs_one_open_per_model",
    tables.OPEN,
    jobs.c.base_url,
    jobs.c.account,
    jobs.c.model_id,
    unique=True,
)
#: In the order of claims (`claims.py`).
_CLAIMED = (jobs.c.base_url, jobs.c.priority, jobs.c.not_before, jobs.c.id)
for _name, _pool in zip(("jobs_to_send", "jobs_to_validate"), POOLS, strict=True):
    _partial(_name, tables.active_in(_pool), *_CLAIMED)
_partial("jobs_waiting", tables.WAITING, jobs.c.base_url, jobs.c.not_before)
_partial("jobs_blocked", tables.BLOCKED, jobs.c.base_url)
_partial("jobs_held", tables.HELD, jobs.c.lease_owner)
_partial("jobs_to_delete", tables.TO_DELETE, jobs.c.base_url)
_partial("jobs_ended", tables.ENDED, jobs.c.updated_at, jobs.c.id)
_partial("files_with_session", tables.HAS_SESSION, files.c.job_id)
Index("jobs_by_model", jobs.c.model_id)
Index("events_by_job", events.c.job_id, events.c.seq)
Index("leftovers_by_job", leftovers.c.job_id)
Index("leftovers_by_model", leftovers.c.model_id)
Index("leftovers_by_age", leftovers.c.session_at)
