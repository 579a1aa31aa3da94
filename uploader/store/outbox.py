"""The outbox of the hooks: what has happened is written next to how far each hook has got.

`fill` turns events into deliveries and moves the cursor in one transaction, `take` lends the next
delivery to one worker, `settle` removes it or puts it off: after a crash at any point it is there
still, so each is delivered at least once. A hook hears of one job's events in order.
"""

from __future__ import annotations

import json
import logging
import re
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from itertools import accumulate, chain, islice, takewhile
from typing import Any

from sqlalchemy import Connection, Engine, Row, delete, func, insert, or_, select, update

from uploader.core.documents import job_document
from uploader.core.errors import NotFound, UnreadableRow
from uploader.core.events import EventKind
from uploader.core.hooks import MAX_WAITING, MAX_WAITING_BYTES, HookState
from uploader.core.job import Event
from uploader.core.utf8 import check_json
from uploader.store.journal import Journal, Transaction, no_listener, storable
from uploader.store.outbox_tables import deliveries, hooks
from uploader.store.rows import check, file_of, read_job, reading_job, types_of
from uploader.store.tables import events, files, jobs
from uploader.store.unreadable import each, events_of

_log = logging.getLogger(__name__)

#: Events that are looked at in one transaction.
_PAGE = 500
#: And no more of them once their documents have this many characters together.
_MOST_CHARS = 4_000_000
#: What the same hook must hear of the same job before a delivery.
_BEFORE = deliveries.alias()
_EARLIER = select(_BEFORE.c.id).where(
    _BEFORE.c.hook == deliveries.c.hook,
    _BEFORE.c.job_id == deliveries.c.job_id,
    _BEFORE.c.id < deliveries.c.id,
)
#: No correct wait is longer, between two tries or lent to a worker: a longer one was written under
#: a clock that has been set back since.
_LONGEST_WAIT = timedelta(hours=2)
_MESSAGE_ID, _KIND = re.compile(r"msg_[0-9a-f]{32}"), re.compile(r"[a-z_]{1,64}")
_HOOK, _DELIVERY = types_of(hooks.columns), types_of(deliveries.columns)


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
    last_error: str = ""


class Outbox:
    """Every method raises StoreError."""

    def __init__(self, engine: Engine, on_event: Callable[[Event], None] = no_listener) -> None:
        self._journal = Journal(engine, on_event)

    def fill(self, wanted: Mapping[str, Collection[EventKind]], now: datetime) -> int:
        """Write what each hook of ``wanted`` is to be told since its cursor; how many that are.

        A hook that is new here hears nothing of what was before it.
        """
        with self._journal.reading() as connection:
            newest = connection.execute(select(func.max(events.c.seq))).scalar() or 0
            known = _hooks_of(connection, wanted)
        if all(name in known and known[name].cursor == newest for name in wanted):
            return 0
        return sum(self._fill(name, kinds, now) for name, kinds in wanted.items())

    def _fill(self, name: str, kinds: Collection[EventKind], now: datetime) -> int:
        """What is to be delivered is read before the write begins: a job may have many files."""
        with self._journal.reading() as connection:
            state = _hooks_of(connection, [name]).get(name)
            page = None if state is None else _page_of(connection, state, kinds, now)
            most = _fitting(connection, name, page.told) if page else 0
        with self._journal.writing(now) as transaction:
            if state is None or page is None:
                _begin(transaction, name)
                return 0
            seen = (hooks.c.name == name, hooks.c.cursor == state.cursor, hooks.c.off == state.off)
            moved = update(hooks).where(*seen).values(cursor=page.reached)
            if not transaction.run(moved).rowcount:  # another worker was faster
                return 0
            if page.told:
                rows = [{"hook": name, **told} for told in page.told]
                transaction.connection.execute(insert(deliveries), rows)
                _drop_the_oldest(transaction, name, most)
        return len(page.told)

    def take(self, names: Collection[str], now: datetime, lend_s: float) -> Delivery | None:
        """The next delivery that is due, lent to the caller for ``lend_s`` seconds."""
        at = deliveries.c.not_before
        due = or_(at.is_(None), at <= now, at > now + _LONGEST_WAIT)
        awake = select(hooks.c.name).where(~hooks.c.off, hooks.c.name.in_(names))
        query = (
            select(deliveries.c.id)
            .where(deliveries.c.hook.in_(awake), due, ~_EARLIER.exists())
            .order_by(deliveries.c.id)
            .limit(1)
        )
        while True:
            with self._journal.reading() as connection:
                if connection.scalar(query) is None:
                    return None
            with self._journal.writing(now) as transaction:
                if (found := transaction.connection.scalar(query)) is None:
                    return None
                until = now + timedelta(seconds=lend_s)
                this = deliveries.c.id == found
                transaction.run(update(deliveries).where(this).values(not_before=until))
                if delivery := _delivery_at(transaction.connection, found):
                    return delivery
                transaction.run(delete(deliveries).where(this))

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
        counts = (
            select(deliveries.c.hook, func.count().label("waiting"))
            .where(deliveries.c.hook.in_(names))
            .group_by(deliveries.c.hook)
        )
        with self._journal.reading() as connection:
            waiting = {row.hook: row.waiting for row in connection.execute(counts)}
            known = _hooks_of(connection, names)
        return [_state(name, known.get(name), waiting.get(name, 0)) for name in names]

    def behind(self, names: Collection[str]) -> bool:
        """Is there anything that one of these hooks was not told, and did not refuse to be told?

        What comes after something that it has refused is not delivered before that.
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
        query = query.order_by(deliveries.c.id)
        with self._journal.reading() as connection:
            found = each(connection, query, deliveries.c.id, _delivery, _told_when_taken)
        return [(one.hook, one.last_error, one.failures) for one in found]

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
    """The hook is new, or its row cannot be read: it does not hear of what was before."""
    connection = transaction.connection
    if name in _hooks_of(connection, [name]):  # another worker was faster
        return
    newest = connection.scalar(select(func.max(events.c.seq))) or 0
    anew = {"cursor": newest, "off": False, "last_at": transaction.now}
    why = "its row could not be read: it was not told of what was before"
    known = update(hooks).where(hooks.c.name == name)
    if transaction.run(known.values(**anew, last_error=why)).rowcount:
        _log.warning("hook %s: %s", name, why)
    else:
        transaction.run(insert(hooks).values(name=name, cursor=newest))


def _hooks_of(connection: Connection, names: Collection[str]) -> dict[str, Row[Any]]:
    """Those of these hooks whose rows can be read."""
    # A value that is neither true nor false is read as one of the two.
    on_or_off = or_(hooks.c.off, ~hooks.c.off).label("on_or_off")
    query = select(hooks, on_or_off).where(hooks.c.name.in_(names))
    return {row.name: row for row in each(connection, query, hooks.c.name, _hook, _no_hook)}


def _hook(row: Row[Any]) -> Row[Any]:
    check(row, _HOOK)
    if not row.on_or_off:
        raise ValueError("a hook is neither on nor off")
    return row


def _no_hook(name: str, why: str) -> None:
    """`_begin` warns of it."""
    del name, why


def _page_of(
    connection: Connection, state: Row[Any], kinds: Collection[EventKind], now: datetime
) -> _Page:
    """The next events after the hook's cursor, as far as their documents are not too large."""
    newest = connection.execute(select(func.max(events.c.seq))).scalar() or 0
    query = select(events).where(events.c.seq > state.cursor).order_by(events.c.seq)

    def warn(event: Event) -> None:
        _log.warning("hook %s is not told of event %d: %s", state.name, event.seq, event.message)

    found = events_of(connection, query.limit(_PAGE), warn)
    page, chars = _Page([], found[-1].seq if len(found) == _PAGE else newest), 0
    document = cache(lambda job_id: _document(connection, job_id, now))
    for event in found:
        if event.kind in kinds and not state.off:
            try:
                page.told.append(_told(event, document(event.job_id)))
            except (NotFound, UnreadableRow) as error:  # it keeps no other job from being told
                said = "hook %s is not told of job %s: %s"
                _log.warning(said, state.name, event.job_id, error.message)
                continue
            chars += len(page.told[-1]["document"])
            if chars > _MOST_CHARS:
                return _Page(page.told, event.seq)
    return page


def _document(connection: Connection, job_id: int, now: datetime) -> str:
    """Raises NotFound, UnreadableRow."""
    job = read_job(connection, job_id)
    with reading_job(job_id):
        rows = connection.execute(select(files).where(files.c.job_id == job_id))
        listed = sorted(map(file_of, rows), key=lambda file: file.path)
        return json.dumps(job_document(job, listed, now), allow_nan=False)


def _told(event: Event, document: str) -> dict[str, Any]:
    """The columns of a delivery of that event."""
    return {
        "job_id": event.job_id,
        "seq": event.seq,
        "kind": event.kind,
        "message_id": f"msg_{uuid.uuid4().hex}",
        "document": document,
        "at": event.at,
    }


def _fitting(connection: Connection, name: str, told: Sequence[Mapping[str, Any]]) -> int:
    """How many of the hook's newest deliveries, with ``told``, may wait; one in any case.

    Counted before the write begins. A document is ASCII: it has as many bytes as characters.
    """
    mine = select(func.length(deliveries.c.document)).where(deliveries.c.hook == name)
    waiting = connection.scalars(mine.order_by(deliveries.c.id.desc()))
    lengths = chain((len(one["document"]) for one in reversed(told)), (n or 0 for n in waiting))
    sums = accumulate(islice(lengths, MAX_WAITING))
    return max(1, sum(1 for _ in takewhile(lambda total: total <= MAX_WAITING_BYTES, sums)))


def _drop_the_oldest(transaction: Transaction, name: str, most: int) -> None:
    mine = select(deliveries.c.id).where(deliveries.c.hook == name)
    kept = mine.order_by(deliveries.c.id.desc()).limit(most)
    oldest = transaction.connection.execute(select(func.min(kept.subquery().c.id))).scalar()
    if oldest is not None:
        transaction.run(
            delete(deliveries).where(deliveries.c.hook == name, deliveries.c.id < oldest)
        )


def _delivery_at(connection: Connection, delivery_id: int) -> Delivery | None:
    """None if it cannot be read."""

    def instead(delivery_id: int, why: str) -> None:
        _log.warning("delivery %d of a hook cannot be read and is dropped: %s", delivery_id, why)

    query = select(deliveries).where(deliveries.c.id == delivery_id)
    return next(iter(each(connection, query, deliveries.c.id, _delivery, instead)), None)


def _told_when_taken(delivery_id: int, why: str) -> None:
    """Whoever takes it says that it cannot be read."""
    del delivery_id, why


def _delivery(row: Row[Any]) -> Delivery:
    """Raises ValueError for what this program never writes."""
    check(row, _DELIVERY)
    document = json.loads(row.document)
    check_json(document)
    if not isinstance(document, dict):
        raise ValueError("a delivery has no document")  # noqa: TRY004 - a value, not a type
    if type(document.get("id", 0)) is not int:  # a command may be given it as an argument
        raise ValueError("a delivery has a job's id that is no number")
    if not (_KIND.fullmatch(row.kind) and _MESSAGE_ID.fullmatch(row.message_id)):
        raise ValueError("a delivery has a kind or an id that is never written")
    return Delivery(
        id=row.id,
        hook=row.hook,
        job_id=row.job_id,
        kind=row.kind,
        message_id=row.message_id,
        document=document,
        at=row.at,
        failures=row.failures,
        last_error=row.last_error or "",
    )


def _state(name: str, row: Row[Any] | None, waiting: int) -> HookState:
    if row is None:  # it is new, or its row cannot be read: then it begins anew
        return HookState(name, waiting, off=False, last_error=None, last_at=None)
    return HookState(name, waiting, row.off, row.last_error, row.last_at)
