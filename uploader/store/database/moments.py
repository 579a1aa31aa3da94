"""The times that a store may hold: those of Python, less a day at either end for every zone.

A database has earlier and later ones, PostgreSQL even infinite ones. No row may stop a worker, so
such a time is read as the first or the last.
"""

from __future__ import annotations

from datetime import UTC, datetime

FIRST, LAST = datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)


def within(moment: datetime) -> datetime:
    """``moment``, an aware time, or the nearest one that is used."""
    return min(max(moment, FIRST), LAST)
