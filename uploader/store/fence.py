"""The fence: every write of a worker checks its lease; one that matches no row is the last.

Facts and release are guarded by the token, transitions by token and status (docs/life.md).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select, update

from uploader.core.errors import LeaseLost
from uploader.core.events import EventKind
from uploader.core.job import Lease, Reason, Status
from uploader.core.repeats import Repeats, words_of
from uploader.store.journal import Journal, Transaction, reason_columns
from uploader.store.tables import jobs


@dataclass(frozen=True, slots=True)
class Fence:
    """One lease, with the journal and the wall clock that its writes use.

    ``repeats``: what was reported of the job by now, under earlier leases, too.
    """

    lease: Lease
    journal: Journal
    now: Callable[[], datetime]
    repeats: Repeats

    @contextlib.contextmanager
    def writing(self, *statuses: Status, **columns: Any) -> Iterator[Transaction]:
        """A transaction that has just written ``columns`` to the leased job.

        Raises LeaseLost if the token is not the job's any more or, with ``statuses`` given,
        the job has none of them.
        """
        lease, now = self.lease, self.now()
        statement = update(jobs).where(jobs.c.id == lease.job_id, jobs.c.lease_token == lease.token)
        if statuses:
            statement = statement.where(jobs.c.status.in_(statuses))
        with self.journal.writing(now) as transaction:
            if transaction.run(statement.values(updated_at=now, **columns)).rowcount != 1:
                raise self.lost()
            yield transaction

    def tell(
        self,
        transaction: Transaction,
        kind: EventKind,
        message: str,
        path: str | None,
        like: str = "",
    ) -> None:
        """Append an event that may come again and again: of those ``like`` it, only some."""
        told = self.repeats.told(kind, like, message, path, transaction.now)
        if told is not None:
            transaction.add_event(self.lease.job_id, kind, told, path)

    def tell_news(self, transaction: Transaction, kind: EventKind, reason: Reason) -> None:
        """Write why the job waits; append an event of it, unless it waited for the same before."""
        this, columns = jobs.c.id == self.lease.job_id, reason_columns(reason)
        query = select(jobs.c.reason_code, jobs.c.reason_message).where(this)
        code, message = transaction.connection.execute(query).one()
        transaction.run(update(jobs).where(this).values(**columns))
        if (code, words_of(message)) != (reason.code, words_of(columns["reason_message"])):
            self.tell(transaction, kind, reason.message, None, reason.code)

    def tell_last(self, transaction: Transaction, *, seldom: bool = False) -> None:
        """Append the last of those that were left out, before what ends them.

        ``seldom``: before what may come again and again itself.
        """
        for kind, message, path in self.repeats.last(transaction.now, seldom=seldom):
            transaction.add_event(self.lease.job_id, kind, message, path)

    def lost(self) -> LeaseLost:
        """The error to raise if the job now belongs to somebody else."""
        return LeaseLost(f"job {self.lease.job_id} is no longer this worker's to write")
