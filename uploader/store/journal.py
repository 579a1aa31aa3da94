"""Transactions, and the events that they report once they are committed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, CursorResult, Engine, insert
from sqlalchemy.sql.dml import UpdateBase

from uploader.core.errors import StoreError
from uploader.core.events import EventKind
from uploader.core.job import Event, Reason
from uploader.core.redact import before_the_cut, redact
from uploader.core.seal import NO_SEAL, Seal
from uploader.core.store_reasons import StoreCode
from uploader.core.utf8 import whole
from uploader.store.database import dialect
from uploader.store.tables import events, metadata

#: A server may answer with a whole page; a row keeps only the beginning.
_MAX_MESSAGE_CHARS = 1000
_MAX_READ_CHARS = 8 * _MAX_MESSAGE_CHARS
_ADD_EVENTS = insert(events).returning(events.c.seq, sort_by_parameter_order=True)


def no_listener(event: Event) -> None:
    """Does nothing: nobody listens to the events of this store."""


def storable(text: str) -> str:
    """``text`` from anywhere as one line that can be kept: no secret, lone surrogate or NUL."""
    kept = text[:_MAX_READ_CHARS]
    if len(text) > _MAX_READ_CHARS:
        kept = before_the_cut(kept)
    line = " ".join(redact(kept).replace("\0", " ").split())
    return whole(line[:_MAX_MESSAGE_CHARS])


def reason_columns(reason: Reason | None) -> dict[str, str | None]:
    """The three columns of a job's reason; None clears them."""
    if reason is None:
        return {"reason_code": None, "reason_message": None, "reason_hint": None}
    return {
        "reason_code": reason.code,
        "reason_message": storable(reason.message),
        "reason_hint": storable(reason.hint),
    }


@dataclass(slots=True)
class Transaction:
    """One write transaction at ``now``; its events are part of it."""

    connection: Connection
    now: datetime
    seal: Seal
    events: list[Event] = field(default_factory=list)
    #: Whether it has changed a row: one that found nothing to do wakes nobody.
    wrote: bool = False

    def run(self, statement: UpdateBase) -> CursorResult[Any]:
        """Execute a statement that writes, as a part of this transaction."""
        result = self.connection.execute(statement)
        self.wrote = self.wrote or result.rowcount != 0
        return result

    def add_event(
        self, job_id: int, kind: EventKind, message: str, path: str | None = None
    ) -> None:
        """Append one event to the job's history; ``message`` is one plain sentence."""
        self.add_events(job_id, kind, [(message, path)])

    def add_events(
        self, job_id: int, kind: EventKind, news: Sequence[tuple[str, str | None]]
    ) -> None:
        """Append one event for each message and path, in their order."""
        lines = {message: storable(message) for message, _ in news}
        self._append(kind, [(job_id, lines[message], path) for message, path in news])

    def add_event_of_each(self, job_ids: Sequence[int], kind: EventKind, message: str) -> None:
        """Append one event to the history of each of those jobs."""
        line = storable(message)
        self._append(kind, [(job_id, line, None) for job_id in job_ids])

    def _append(self, kind: EventKind, lines: Sequence[tuple[int, str, str | None]]) -> None:
        """For the order's sake SQLite is given one statement for each, PostgreSQL one for all."""
        if not lines:
            return
        rows: list[dict[str, Any]] = [
            {"job_id": job_id, "at": self.now, "kind": kind, "message": message, "path": path}
            for job_id, message, path in lines
        ]
        seqs = self.connection.execute(_ADD_EVENTS, rows).scalars()
        self.events.extend(Event(seq, **row) for seq, row in zip(seqs, rows, strict=True))


class Journal:
    """The two ways to use the tables: a read, and a write that calls ``on_event`` after commit."""

    def __init__(
        self, engine: Engine, on_event: Callable[[Event], None], seal: Seal = NO_SEAL
    ) -> None:
        """``seal`` makes the seals of what is written."""
        self.seal = seal
        self._engine = engine
        self._writing = dialect.writing(engine)
        self._on_event = on_event

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A consistent view; raises StoreError."""
        with (
            dialect.store_errors(),
            dialect.corrupt_rows_as_store_error(),
            self._engine.begin() as connection,
        ):
            yield connection

    @contextlib.contextmanager
    def writing(self, now: datetime) -> Iterator[Transaction]:
        """All or nothing, with its events; raises StoreError."""
        try:
            with dialect.store_errors(), self._writing.begin() as connection:
                transaction = Transaction(connection, now, self.seal)
                yield transaction
                if transaction.wrote:
                    dialect.announce(connection)
        except StoreError as error:
            if error.code is StoreCode.ROW_REFUSED:
                self._skip_taken_numbers()
            raise
        for event in transaction.events:
            self._on_event(event)

    def _skip_taken_numbers(self) -> None:
        """The next try gets numbers that nobody has used, if that was the reason."""
        for table in metadata.sorted_tables:
            if (column := table.autoincrement_column) is not None:
                dialect.skip_taken(self._writing, column)
