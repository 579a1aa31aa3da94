"""The times that a store may hold: those of Python, less a day at either end for every zone.

A database has earlier and later ones, PostgreSQL even infinite ones. No row may stop a worker, so
such a time is read as the first or the last.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

FIRST, LAST = datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)


def within(moment: datetime) -> datetime:
    """``moment``, an aware time, or the nearest one that is used."""
    return min(max(moment, FIRST), LAST)


def read_every_time(connection: Any) -> None:
    """Let a time beyond those of Python be the first or the last."""
    from psycopg import DataError, adapters, pq  # noqa: PLC0415 - loaded: it made the connection
    from psycopg.adapt import Loader  # noqa: PLC0415

    oid = adapters.types["timestamptz"].oid
    usual = connection.adapters.get_loader(oid, pq.Format.TEXT)

    class Times(Loader):
        def __init__(self, oid: int, context: Any = None) -> None:
            super().__init__(oid, context)
            self._usual = usual(oid, context)

        def load(self, data: Any) -> Any:
            try:
                return self._usual.load(data)
            except DataError:
                written = bytes(data)
                early = written.startswith(b"-") or written.endswith(b"BC")
                return FIRST if early else LAST

    connection.adapters.register_loader(oid, Times)
