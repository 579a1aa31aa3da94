"""Who keeps the one write lock of PostgreSQL for too long loses it: others have to go on.

Over a slow network the rows of a large folder may take minutes, and no time-out of the server ends
a transaction in which something arrives now and then. So whoever has waited in vain has the server
end it; all of it is undone there.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

if TYPE_CHECKING:
    from sqlalchemy import Connection

#: A transaction may itself have waited for the lock before it got it.
_END = text(
    "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_stat_activity USING (pid)"
    " WHERE locktype = 'advisory' AND granted AND classid = :ours AND objid = :writer"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    " AND xact_start < clock_timestamp() - make_interval(secs => :waited_s * 1.5)"
)


def end_slow_writer(outside: Connection, ours: int, writer: int, waited_s: float) -> None:
    """End the transaction that has the lock (``ours``, ``writer``) for longer than ``waited_s``.

    It may be another user's: then it stays. ``outside`` is in no transaction. Raises nothing.
    """
    with contextlib.suppress(DBAPIError):
        outside.execute(_END, {"ours": ours, "writer": writer, "waited_s": waited_s})
