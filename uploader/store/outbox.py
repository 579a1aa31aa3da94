"""The outbox of the hooks: what has happened is written next to how far each hook was told.

`fill` turns events into deliveries and moves the cursor in one transaction, `take` lends the next
delivery to one worker, `settle` removes it or puts it off: after a crash at any point it is there
still, so each is delivered at least once. Of one job, a hook is told in order.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import Connection, Engine, Row, delete, func, insert, or_, select, update

from uploader.core.documents import job_document
from uploader.core.errors import NotFound, UnreadableRow
from uploader.core.events import EventKind
from uploader.core.hooks import MAX_WAITING, HookState
from uploader.core.job import Event
from uploader.core.utf8 import check_json
from uploader.store.journal import Journal, Transaction, no_listener, storable
from uploader.store.outbox_tables import deliveries, hooks
from uploader.store.rows import event_of, file_of, read_job, reading_job
from uploader.store.tables import events, files, jobs

_log = logging.getLogger(__name__)

#: Events that are looked at in one transaction.
_PAGE = 500
#: And no more of them once their documents have so many characters together.
_MOST_CHARS = 4_000_000
#: What the same hook is to be told of the same job before a delivery.
_BEFORE = deliveries.alias()
_EARLIER = select(_BEFORE.c.id).where(
    _BEFORE.c.hook == deliveries.c.hook,
    _BEFORE.c.job_id == deliveries.c.job_id,
    _BEFORE.c.id < deliveries.c.id,
)
#: No correct wait is longer, between two tries or lent to a worker: a longer one was written under
#: a clock that has been set back since.
_LONGEST_WAIT = timedelta(hours=2)
#: Beyond that nothing was counted.
_MOST_FAILURES = 10**9


@dataclass(frozen=True, slots=True)
class Delivery:
    """What one hook is to be told about one event. ``message_id`` is the same at every try."""

    id: int
    hook: str
    job_id: int
    kind: str
    message_id: str
    document: Mapping[str, Any]
    at: datetime
    failures: int


class Outbox:
    """Every method raises StoreError."""

    def __init__(self, engine: Engine, on_event: Callable[[Event], None] = no_listener) -> None:
        self._journal = Journal(engine, on_event)

    def fill(self, wanted: Mapping[str, Collection[EventKind]], now: datetime) -> int:
        """Write what each hook of ``wanted`` is to be told since its cursor; how many that are.

        A hook that is new here is told nothing of what was before it.
        """
        with self._journal.reading() as connection:
            newest = connection.execute(select(func.max(events.c.seq))).scalar() or 0
            cursors = {row.name: row.cursor for row in connection.execute(select(hooks))}
        if all(cursors.get(name) == newest for name in wanted):
            return 0
        return sum(self._fill(name, kinds, now) for name, kinds in wanted.items())

    def _fill(self, name: str, kinds: Collection[EventKind], now: datetime) -> int:
        """What is told is read before the write begins: a job may have many files."""
        with self._journal.reading() as connection:
            state = connection.execute(select(hooks).where(hooks.c.name == name)).one_or_none()
            page = None if state is None else _page_of(connection, state, kinds, now)
        with self._journal.writing(now) as transaction:
            if state is None or page is None:
                _begin(transaction, name)
                return 0
            seen = (hooks.c.name == name, hooks.c.cursor == state.cursor, hooks.c.off == state.off)
            moved = update(hooks).where(*seen).values(cursor=page.reached)
            if not transaction.run(moved).rowcount:  # another worker was faster
                return 0
            for told in page.told:
                transaction.run(insert(deliveries).values(hook=name, **told))
            _drop_the_oldest(transaction, name)
        return len(page.told)

    def take(self, names: Collection[str], now: datetime, lend_s: float) -> Delivery | None:
        """The next delivery that is due, lent to the caller for ``lend_s`` seconds."""
        at = deliveries.c.not_before
        due = or_(at.is_(None), at <= now, at > now + _LONGEST_WAIT)
        awake = select(hooks.c.name).where(~hooks.c.off, hooks.c.name.in_(names))
        query = (
            select(deliveries)
            .where(deliveries.c.hook.in_(awake), due, ~_EARLIER.exists())
            .order_by(deliveries.c.id)
            .limit(1)
        )
        with self._journal.reading() as connection:
            if connection.execute(query).one_or_none() is None:
                return None
        with self._journal.writing(now) as transaction:
            row = transaction.connection.execute(query).one_or_none()
            if row is None:
                return None
            until = now + timedelta(seconds=lend_s)
            transaction.run(
                update(deliveries).where(deliveries.c.id == row.id).values(not_before=until)
            )
            try:
                return _delivery(row)
            except ValueError:  # this program never wrote it
                transaction.run(delete(deliveries).where(deliveries.c.id == row.id))
                return None

    def mark_delivered(self, delivery: Delivery, now: datetime) -> None:
        """It was taken."""
        with self._journal.writing(now) as transaction:
            transaction.run(delete(deliveries).where(deliveries.c.id == delivery.id))
            self._note(transaction, delivery.hook, None)

    def put_off(self, delivery: Delivery, why: str, until: datetime, now: datetime) -> None:
        """It was not taken; it is tried again at ``until``."""
        with self._journal.writing(now) as transaction:
            transaction.run(
                update(deliveries)
                .where(deliveries.c.id == delivery.id)
                .values(
                    failures=deliveries.c.failures + 1, not_before=until, last_error=storable(why)
                )
            )
            self._note(transaction, delivery.hook, why)

    def give_up(self, delivery: Delivery, why: str, now: datetime) -> None:
        """It is not tried again."""
        with self._journal.writing(now) as transaction:
            transaction.run(delete(deliveries).where(deliveries.c.id == delivery.id))
            self._note(transaction, delivery.hook, why)

    def switch_off(self, name: str, why: str, now: datetime) -> None:
        """The receiver wants nothing more; what waits for it is dropped."""
        with self._journal.writing(now) as transaction:
            transaction.run(delete(deliveries).where(deliveries.c.hook == name))
            transaction.run(update(hooks).where(hooks.c.name == name).values(off=True))
            self._note(transaction, name, why)

    def tell(self, delivery: Delivery, message: str, now: datetime) -> None:
        """Write into the job's history that its hook fails, if the job is still there."""
        with self._journal.writing(now) as transaction:
            known = select(jobs.c.id).where(jobs.c.id == delivery.job_id)
            if transaction.connection.execute(known).one_or_none() is not None:
                transaction.add_event(delivery.job_id, EventKind.HOOK_FAILED, message)

    def retry(self, names: Collection[str], now: datetime) -> int:
        """Switch these hooks on again and make what waits for them due; how many that are."""
        with self._journal.writing(now) as transaction:
            transaction.run(update(hooks).where(hooks.c.name.in_(names)).values(off=False))
            waiting = update(deliveries).where(deliveries.c.hook.in_(names))
            return transaction.run(waiting.values(not_before=None)).rowcount

    def states(self, names: Collection[str]) -> list[HookState]:
        """How each hook stands, in the order of ``names``."""
        counts = select(deliveries.c.hook, func.count().label("waiting")).group_by(
            deliveries.c.hook
        )
        with self._journal.reading() as connection:
            waiting = {row.hook: row.waiting for row in connection.execute(counts)}
            known = {row.name: row for row in connection.execute(select(hooks))}
        return [_state(name, known.get(name), waiting.get(name, 0)) for name in names]

    def behind(self, names: Collection[str]) -> bool:
        """Is there anything that one of these hooks was not told, and did not refuse to be told?

        What comes after something that it has refused is not told before that.
        """
        newest = select(func.max(events.c.seq)).scalar_subquery()
        late = select(hooks.c.name).where(hooks.c.name.in_(names), hooks.c.cursor < newest)
        untried = select(deliveries.c.id).where(
            deliveries.c.hook.in_(names),
            deliveries.c.failures == 0,
            ~_EARLIER.where(_BEFORE.c.failures > 0).exists(),
        )
        with self._journal.reading() as connection:
            return bool(connection.execute(select(or_(late.exists(), untried.exists()))).scalar())

    def undelivered(self, job_id: int) -> list[tuple[str, str, int]]:
        """(hook, why, failures) of what this job's hooks have not taken yet."""
        query = select(deliveries).where(
            deliveries.c.job_id == job_id, deliveries.c.last_error.is_not(None)
        )
        with self._journal.reading() as connection:
            rows = connection.execute(query.order_by(deliveries.c.id))
            return [(row.hook, row.last_error, row.failures) for row in rows]

    @staticmethod
    def _note(transaction: Transaction, name: str, why: str | None) -> None:
        values = {"last_error": None if why is None else storable(why), "last_at": transaction.now}
        transaction.run(update(hooks).where(hooks.c.name == name).values(values))


@dataclass(frozen=True, slots=True)
class _Page:
    """The columns of deliveries, and the event up to which there are no others."""

    told: list[dict[str, Any]]
    reached: int


def _begin(transaction: Transaction, name: str) -> None:
    """The hook is new: what was before is not told."""
    if transaction.connection.execute(select(hooks).where(hooks.c.name == name)).first() is None:
        newest = transaction.connection.execute(select(func.max(events.c.seq))).scalar() or 0
        transaction.run(insert(hooks).values(name=name, cursor=newest))


def _page_of(
    connection: Connection, state: Row[Any], kinds: Collection[EventKind], now: datetime
) -> _Page:
    """The next events after the hook's cursor, as far as their documents are not too large."""
    newest = connection.execute(select(func.max(events.c.seq))).scalar() or 0
    query = select(events).where(events.c.seq > state.cursor).order_by(events.c.seq)
    rows = connection.execute(query.limit(_PAGE)).all()
    page, chars = _Page([], rows[-1].seq if len(rows) == _PAGE else newest), 0
    document = cache(lambda job_id: _document(connection, job_id, now))
    for row in rows:
        if row.kind in kinds and not state.off:
            try:
                page.told.append(_told(row, document(row.job_id)))
            except (NotFound, UnreadableRow) as error:  # it keeps no other job from being told
                said = "hook %s is not told of job %s: %s"
                _log.warning(said, state.name, row.job_id, error.message)
                continue
            chars += len(page.told[-1]["document"])
            if chars > _MOST_CHARS:
                return _Page(page.told, row.seq)
    return page


def _document(connection: Connection, job_id: int, now: datetime) -> str:
    """Raises NotFound, UnreadableRow."""
    job = read_job(connection, job_id)
    with reading_job(job_id):
        rows = connection.execute(select(files).where(files.c.job_id == job_id))
        listed = sorted(map(file_of, rows), key=lambda file: file.path)
        return json.dumps(job_document(job, listed, now), allow_nan=False)


def _told(row: Row[Any], document: str) -> dict[str, Any]:
    """The columns of a delivery of that event. Raises UnreadableRow."""
    with reading_job(row.job_id):
        event = event_of(row)
    return {
        "job_id": event.job_id,
        "seq": event.seq,
        "kind": event.kind,
        "message_id": f"msg_{uuid.uuid4().hex}",
        "document": document,
        "at": event.at,
    }


def _drop_the_oldest(transaction: Transaction, name: str) -> None:
    mine = select(deliveries.c.id).where(deliveries.c.hook == name)
    kept = mine.order_by(deliveries.c.id.desc()).limit(MAX_WAITING)
    oldest = transaction.connection.execute(select(func.min(kept.subquery().c.id))).scalar()
    if oldest is not None:
        transaction.run(
            delete(deliveries).where(deliveries.c.hook == name, deliveries.c.id < oldest)
        )


def _delivery(row: Row[Any]) -> Delivery:
    """Raises ValueError for what this program never writes."""
    try:
        document = json.loads(row.document)
        check_json(document)
    except RecursionError:
        raise ValueError from None
    if not isinstance(document, dict):
        raise ValueError("a delivery has no document")  # noqa: TRY004 - a value, not a type
    if not 0 <= row.failures <= _MOST_FAILURES:
        raise ValueError("a delivery has failed more often than there was time for")
    return Delivery(
        id=row.id,
        hook=row.hook,
        job_id=row.job_id,
        kind=row.kind,
        message_id=row.message_id,
        document=document,
        at=row.at,
        failures=row.failures,
    )


def _state(name: str, row: Row[Any] | None, waiting: int) -> HookState:
    if row is None:
        return HookState(name, waiting, off=False, last_error=None, last_at=None)
    return HookState(name, waiting, row.off, row.last_error, row.last_at)
