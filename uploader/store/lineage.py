"""Has the job table only gone on since somebody looked, or was an older copy put back?"""

from __future__ import annotations

from sqlalchemy import Connection, Text, cast, select

from uploader.store.database import dialect
from uploader.store.journal import Journal
from uploader.store.tables import events
from uploader.store.unreadable import scalar

#: A number of this many digits may be more than SQLite counts to.
_MAX_DIGITS = 19


class Lineage:
    """Where a table stands: the number of its last event, and when that was."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def follows(self, before: str) -> tuple[bool, str]:
        """Whether the table was once at ``before``, and where it stands; "" is the beginning.

        An event that was removed counts as the one that was there. Raises StoreError.
        """
        number, _, at = before.partition(" ")
        then = int(number) if number.isdecimal() and len(number) < _MAX_DIGITS else 0
        with self._journal.reading() as connection:
            last = dialect.last_number(connection, events)
            came_by = last >= then and _at(connection, then) in (at, "")
            return came_by, f"{last} {_at(connection, last)}"


def _at(connection: Connection, seq: int) -> str:
    query = select(cast(events.c.at, Text)).where(events.c.seq == seq)
    return " ".join((scalar(connection, query) or "").split())
