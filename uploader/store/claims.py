"""What a worker does with many jobs: take, keep and free them (docs/architecture.md §9)."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from functools import cache
from typing import Any, TypeVar

from sqlalchemy import (
    ColumnElement,
    Engine,
    Select,
    TextClause,
    and_,
    case,
    exists,
    or_,
    select,
    true,
    update,
)

from uploader.core.errors import StoreError
from uploader.core.events import EventKind
from uploader.core.job import POOLS, UNKNOWN_ACCOUNT, Event, Lease, Stage, Status
from uploader.core.lifecycle import Verb, advance
from uploader.core.reasons import Code
from uploader.core.repeats import repeats_of_jobs
from uploader.core.seal import NO_SEAL, Seal
from uploader.store.aside import Aside, Write, check_is_about_rows
from uploader.store.believed import Looked, believed, look_at_files
from uploader.store.blank import NO_LEASE
from uploader.store.database import dialect
from uploader.store.due import (
    CANCELLED,
    HERE,
    LONGEST_WAIT,
    NOT_ASIDE,
    next_of,
    next_to_clean_up,
    times,
    to_clean_up,
)
from uploader.store.fence import Fence
from uploader.store.held import Held
from uploader.store.journal import Journal, Transaction, no_listener, reason_columns
from uploader.store.outbox_tables import deliveries
from uploader.store.rescue import as_bytes, next_alone, rescue
from uploader.store.tables import (
    BLOCKED,
    HELD,
    WAITING,
    active_in,
    files,
    jobs,
)
from uploader.store.tokens import new_token
from uploader.store.waits import clear_waits, is_waiting, written_ahead

#: How soon to look again for a job whose due time cannot be read.
_LOOK_AGAIN = timedelta(minutes=1)
#: One claim gives up after this many jobs that the database refuses to lease.
_MOST_REFUSED = 100
_T = TypeVar("_T")
#: The order of the indexes for claims. Without an ORDER BY, PostgreSQL would scan past all ended
#: jobs to find an active one; ordered, it uses the index.
_CLAIM_ORDER = (jobs.c.priority, jobs.c.not_before, jobs.c.id)


class Claims:
    """The job table as a worker sees it. Every method raises StoreError.

    Everything about one job is a method of the `Held` that `claim` returns.
    """

    def __init__(
        self,
        engine: Engine,
        now: Callable[[], datetime],
        on_event: Callable[[Event], None] = no_listener,
        only: Collection[int] | None = None,
        seal: Seal = NO_SEAL,
    ) -> None:
        """``now`` is the wall clock; ``on_event`` is called with each event after its commit.

        ``only``: the ids of the jobs that this worker is for; it changes no others. None: all.
        A job without its ``seal``, or with rows that cannot be read, is failed and not claimed.
        Without a secret, one that has a seal is left alone: what this worker writes of it would
        have none, and whoever has the secret would fail it.
        """
        #: The ids of jobs that were failed instead of being claimed, for whoever sums up a run.
        self.set_aside: set[int] = set()
        #: The ids of jobs that `claim` leaves to other workers.
        self.left: Collection[int] = ()
        self._aside = Aside()
        self._repeats = repeats_of_jobs()
        self._engine = engine
        self._named = true() if only is None else jobs.c.id.in_(only)
        self._ours = (
            and_(self._named, jobs.c.seal.is_(None)) if seal.secret is None else self._named
        )
        self._now = now
        self._journal = Journal(engine, on_event, seal)
        #: Does a lease end by itself? With SQLite a file lock alone decides
        #: (docs/architecture.md §9).
        self.leases_end = not dialect.is_file(engine)
        self._token = as_bytes(jobs.c.lease_token, engine.dialect).label("token")
        # Made once: making such a statement takes ten times as long as carrying it out.
        here = and_(self._ours, HERE)
        self._next_in = cache(lambda stages: next_of(and_(here, active_in(stages))))
        self._next_alone = cache(lambda stages: next_alone(here, stages).where(NOT_ASIDE))
        self._next_to_clean_up = next_to_clean_up(self._ours)

    def claim(
        self, owner: str, base_url: str, stages: Collection[Stage], lease_s: float
    ) -> Held | None:
        """The next job that may run now, leased to ``owner`` for ``lease_s`` seconds.

        The order is: by priority, then jobs that were never delayed, then by age. One that waits
        because its workers died need not wait if there are no others.
        """
        pool = frozenset(stages)
        held = self._claim(self._next_in(pool), active_in(pool), owner, base_url, lease_s)
        if held is None:
            held = self._claim(self._next_alone(pool), active_in(pool), owner, base_url, lease_s)
        return held

    def claim_cancelled(self, owner: str, base_url: str, lease_s: float) -> Held | None:
        """The next cancelled job that left something open remotely."""
        return self._claim(self._next_to_clean_up, CANCELLED, owner, base_url, lease_s)

    def _claim(
        self,
        next_id: Select[Any],
        still: ColumnElement[bool] | TextClause,
        owner: str,
        base_url: str,
        lease_s: float,
    ) -> Held | None:
        """A claim that finds nothing takes no lock; one that loses a race looks again."""
        refused = 0
        while refused < _MOST_REFUSED and (job_id := self._find(next_id, base_url)) is not None:
            try:
                held = self._take(job_id, still, owner, lease_s)
            except StoreError as error:
                check_is_about_rows(error)
                self.put_aside(job_id, error)
                refused += 1
            else:
                if held is not None:
                    return held
        return None

    def put_aside(self, job_id: int, error: Exception) -> None:
        """Leave the job alone for a while: its rows cannot be written. Safe from any thread."""
        self.set_aside.add(job_id)
        self._aside.add(job_id, error, self._now())

    def _write(self, which: ColumnElement[bool], write: Write[_T]) -> list[_T]:
        return self._aside.write(self._journal, self._now(), which, write)

    def _find(self, next_id: Select[Any], base_url: str) -> int | None:
        now = self._now()
        terms = {"base": base_url, "aside": [*self._aside.ids(now), *self.left], **times(now)}
        with self._journal.reading() as connection:
            found: int | None = connection.scalar(next_id, terms)
            return found

    def _take(
        self,
        job_id: int,
        still: ColumnElement[bool] | TextClause,
        owner: str,
        lease_s: float,
    ) -> Held | None:
        now, looked = self._now(), self._look(job_id)
        token, waits = new_token(now), jobs.c.not_before > now
        statement = (
            update(jobs)
            .where(jobs.c.id == job_id, still, jobs.c.lease_token.is_(None))
            .values(
                lease_owner=owner,
                lease_token=token,
                not_before=case((waits, None), else_=jobs.c.not_before),
                lease_expires_at=dialect.lease_end(self._engine, now, lease_s),
                updated_at=now,
            )
        )
        with self._journal.writing(now) as transaction:
            if not transaction.run(statement).rowcount:
                return None
            late = files.c.not_before > now + LONGEST_WAIT
            transaction.run(
                update(files).where(files.c.job_id == job_id, late).values(not_before=None)
            )
            waited = files.c.awaiting_since.is_not(None)  # the last holder was, when it was killed
            transaction.run(
                update(files).where(files.c.job_id == job_id, waited).values(awaiting_since=None)
            )
            job = believed(transaction, job_id, looked)
        if job is None:
            self.set_aside.add(job_id)
            return None
        lease, repeats = Lease(job_id, owner, token), self._repeats(job_id)
        return Held(job, Fence(lease, self._journal, self._now, repeats))

    def _look(self, job_id: int) -> Looked:
        """The job's files, to be judged before it is claimed; read only if there is a secret."""
        if self._journal.seal.secret is None:
            return Looked()
        with self._journal.reading() as connection:
            return look_at_files(connection, self._journal.seal, job_id)

    def renew(self, owner: str, lease_s: float) -> set[Lease]:
        """Renew every lease that ``owner`` still has for ``lease_s`` seconds; returns them."""

        def write(transaction: Transaction, some: ColumnElement[bool]) -> list[Lease]:
            end = dialect.lease_end(self._engine, transaction.now, lease_s)
            statement = update(jobs).where(some).values(lease_expires_at=end)
            rows = transaction.run(statement.returning(jobs.c.id, self._token))
            return [Lease(row.id, owner, _word(row.token)) for row in rows]

        return set(self._write(jobs.c.lease_owner == owner, write))

    def leases_of(self, owner: str) -> dict[Lease, Status]:
        """The leases of ``owner``, with the status that users gave those jobs, or ACTIVE."""
        # Of a status that no user gives, nobody asks here whether it can be read.
        by_users = jobs.c.status.in_((Status.PAUSED, Status.CANCELLED))
        status = case((by_users, jobs.c.status), else_=Status.ACTIVE).label("status")
        query = select(jobs.c.id, self._token, status).where(jobs.c.lease_owner == owner)
        with self._journal.reading() as connection:
            return {
                Lease(row.id, owner, _word(row.token)): Status(row.status)
                for row in connection.execute(query)
            }

    def release(self, leases: Collection[Lease]) -> None:
        """Release those jobs; one whose lease has already ended is left alone."""

        def write(transaction: Transaction, some: ColumnElement[bool]) -> list[int]:
            values = {"updated_at": transaction.now, **NO_LEASE}
            freed = update(jobs).where(some).values(values)
            return [*transaction.run(freed.returning(jobs.c.id)).scalars()]

        tokens = [lease.token for lease in leases]
        self._write(and_(HELD, jobs.c.lease_token.in_(tokens)), write)

    def reap(self, alive: Callable[[str], bool]) -> list[int]:
        """End the leases that are no longer valid; returns the ids of their jobs.

        These are the leases of owners that are not ``alive`` and, if leases end by themselves, the
        overdue ones of any owner (docs/architecture.md §9).
        """
        orphaned = self._overdue() if self.leases_end else self._dead(alive)
        if orphaned is None:
            return []
        # A job of ours may have to wait for a cancelled job that is not ours. A job with a seal
        # loses nothing by it, and a command can start it over only if nobody holds it.
        return sorted(self._write(and_(or_(self._named, CANCELLED), orphaned), rescue))

    def _dead(self, alive: Callable[[str], bool]) -> ColumnElement[bool] | None:
        owner = as_bytes(jobs.c.lease_owner, self._engine.dialect)
        with self._journal.reading() as connection:
            found = connection.scalars(select(owner).where(HELD).distinct()).all()
        # Asked outside the transaction; an owner that died never comes back.
        dead = [one for one in found if not alive(_word(one))]
        return owner.in_(dead) if dead else None

    def _overdue(self) -> ColumnElement[bool] | None:
        overdue = and_(HELD, jobs.c.lease_expires_at < dialect.overdue())
        with self._journal.reading() as connection:
            found = connection.execute(select(exists().where(overdue))).scalar_one()
        return overdue if found else None

    def heal(
        self,
        base_url: str,
        codes: Collection[Code] = (),
        *,
        account: str | None = None,
        free: bool = False,
    ) -> None:
        """Try every blocked job of ``base_url`` once more; with ``codes``, those so blocked.

        ``account``: those of that account, or without one yet; ``free``: those that nobody holds.
        """

        def write(transaction: Transaction, some: ColumnElement[bool]) -> list[int]:
            values: dict[str, Any] = {
                "status": advance(Status.BLOCKED, Verb.HEAL),
                "not_before": None,
                "updated_at": transaction.now,
                **reason_columns(None),
            }
            statement = update(jobs).where(some).values(**values).returning(jobs.c.id)
            healed = sorted(transaction.run(statement).scalars())
            transaction.add_event_of_each(healed, EventKind.HEALED, "the account is tried again")
            return healed

        self._write(and_(self._ours, _so_blocked(base_url, codes, account, free=free)), write)

    def any_blocked(self, base_url: str, codes: Collection[Code], account: str | None) -> bool:
        """Is there a job that `heal` of these would try, if it is to be free?"""
        found = exists().where(self._ours, _so_blocked(base_url, codes, account, free=True))
        with self._journal.reading() as connection:
            return bool(connection.execute(select(found)).scalar_one())

    def clear_future_waits(self) -> None:
        """Try everything that waits for a later time at once: the clock was set back."""
        now = self._now()
        self._aside.clear()
        with self._journal.writing(now) as transaction:
            clear_waits(transaction, self._ours)
            late = update(deliveries).where(deliveries.c.not_before > now)
            transaction.run(late.values(not_before=None))

    def clear_false_waits(self) -> bool:
        """Try at once what was written while a clock was ahead, as it was set back in between.

        True if there was any. A job that is held is left alone.
        """

        def write(transaction: Transaction, some: ColumnElement[bool]) -> list[None]:
            clear_waits(transaction, some)
            return []

        now, free = self._now(), jobs.c.lease_token.is_(None)
        false = and_(self._ours, free, written_ahead(now), is_waiting(now))
        with self._journal.reading() as connection:
            found: bool = connection.execute(select(exists().where(false))).scalar_one()
        if found:
            self._write(false, write)
        return found

    def any_open(self, base_url: str) -> bool:
        """Whether a worker still has work; one that has none is idle (docs/cli.md §4).

        If a session or model that a cancelled job left open could not be ended, it is not a reason
        to stay before it is due again: it may need a network or another key first.
        """
        here = (self._ours, jobs.c.base_url == base_url)
        ours = and_(*here, jobs.c.id.not_in(self._aside.given_up()))
        left_open = exists(select(to_clean_up(ours).c.id))
        active = (
            select(jobs.c.id).where(ours, active_in(pool)).order_by(*_CLAIM_ORDER).limit(1)
            for pool in POOLS
        )
        query = select(
            or_(
                *(first.scalar_subquery().is_not(None) for first in active),
                left_open,
            )
        )
        with self._journal.reading() as connection:
            return bool(connection.execute(query, times(self._now())).scalar_one())

    def next_due(self, base_url: str) -> datetime | None:
        """The next time at which a job that waits may be claimed; None if none waits.

        A wait that is too long (`DUE`) does not count; one that cannot be read may end at any time.
        """
        now = self._now()
        query = (
            select(jobs.c.not_before)
            .where(
                self._ours,
                WAITING,
                jobs.c.base_url == base_url,
                jobs.c.not_before > now,
                jobs.c.not_before <= now + LONGEST_WAIT,
                jobs.c.lease_token.is_(None),
            )
            .order_by(jobs.c.not_before)
            .limit(1)
        )
        with self._journal.reading() as connection:
            try:
                return connection.execute(query).scalar_one_or_none()
            except ValueError:  # this program never wrote it
                return now + _LOOK_AGAIN


def _so_blocked(
    base_url: str, codes: Collection[Code], account: str | None, *, free: bool
) -> ColumnElement[bool]:
    return and_(
        jobs.c.base_url == base_url,
        BLOCKED,
        jobs.c.reason_code.in_(codes) if codes else true(),
        jobs.c.account.in_((account, UNKNOWN_ACCOUNT)) if account else true(),
        jobs.c.lease_token.is_(None) if free else true(),
    )


def _word(found: object) -> str:
    return found.decode("utf-8", "replace") if isinstance(found, bytes) else str(found)
