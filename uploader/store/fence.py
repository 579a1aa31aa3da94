"""The fence: a worker's write carries its lease, and one that matches no row is the last.

Progress and release are guarded by the token, transitions by token and status (design §3).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, update

from uploader.core.errors import LeaseLost
from uploader.core.job import Event, Lease, Status
from uploader.store.journal import Journal, Transaction, no_listener
from uploader.store.tables import files, jobs


class Fenced:
    """What every writing worker shares: transactions that begin at the fence."""

    def __init__(self, engine: Engine, on_event: Callable[[Event], None] = no_listener) -> None:
        """``on_event`` is called with each event after its commit."""
        self._journal = Journal(engine, on_event)

    @contextlib.contextmanager
    def _fenced(
        self, lease: Lease, now: datetime, *statuses: Status, **columns: Any
    ) -> Iterator[Transaction]:
        """A transaction that has just written ``columns`` to the leased job.

        Raises LeaseLost where the token is not the job's any more or, with ``statuses``
        given, the job has none of them.
        """
        statement = update(jobs).where(jobs.c.id == lease.job_id, jobs.c.lease_token == lease.token)
        if statuses:
            statement = statement.where(jobs.c.status.in_(statuses))
        with self._journal.writing(now) as transaction:
            if transaction.run(statement.values(updated_at=now, **columns)).rowcount != 1:
                raise lease_lost(lease)
            yield transaction


def write_file(transaction: Transaction, lease: Lease, path: str, **columns: Any) -> None:
    """Write to one file of the fenced job; raises LeaseLost where it has no such file."""
    statement = update(files).where(files.c.job_id == lease.job_id, files.c.path == path)
    if transaction.run(statement.values(**columns)).rowcount != 1:
        raise lease_lost(lease)


def lease_lost(lease: Lease) -> LeaseLost:
    return LeaseLost(f"job {lease.job_id} is no longer this worker's to write")
