"""The only access to the database: SQLite in a file, or PostgreSQL.

What differs between the two is in `sqlite.py` and `postgresql.py`; every statement on jobs is
the same for both.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import sys
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Column, ColumnElement, Connection, Engine, Table, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnection

from uploader import files
from uploader.core.database_url import server, sqlite_file
from uploader.core.errors import StoreError, UsageError
from uploader.store.database import causes, encryption, postgresql, sqlite
from uploader.store.database.causes import Cause

#: How long a statement waits for another process's write, in seconds.
BUSY_TIMEOUT_S = 30.0

_OS_CAUSES = {
    errno.EACCES: causes.READ_ONLY,
    errno.EPERM: causes.READ_ONLY,
    errno.EROFS: causes.READ_ONLY,
    errno.ENOSPC: causes.FULL,
    errno.EDQUOT: causes.FULL,
    errno.EISDIR: causes.GONE,
    errno.ENOENT: causes.GONE,
    errno.ENOTDIR: causes.GONE,
    errno.EEXIST: causes.GONE,
}


#: The threads that are within `store_errors`.
_asking: set[int] = set()
os.register_at_fork(after_in_child=_asking.clear)  # a child has none of these threads


def asks(thread: int) -> bool:
    """Does the thread of that number use the store at this moment? It may be waiting for it."""
    return thread in _asking


def is_asked() -> bool:
    """Does any thread use the store at this moment?"""
    return bool(_asking)


# -- errors ----------------------------------------------------------------------------------


@contextlib.contextmanager
def store_errors() -> Iterator[None]:
    """The one place where errors of a database and of the disk become StoreError (exit 11).

    A wrong statement passes through: it is a bug. What PostgreSQL says of a row that it refuses
    holds the whole row, including the session URI, so it is not passed on (docs/invariants.md §8).
    Whoever uses the store is within this, so others can see whether a thread `asks`. Ctrl-C comes
    out as itself, even if a driver that was interrupted fails to clean up.
    """
    thread = threading.get_ident()
    outermost = thread not in _asking
    _asking.add(thread)
    try:
        with _interruption_first():
            yield
    except DBAPIError as error:
        found = _translated(error.orig) or error
        refused = isinstance(found, StoreError) and found.is_about_rows
        raise found from (None if refused else error.orig)
    except (sqlite3.Error, OSError) as error:
        raise _translated(error) or error from error
    except NoConnection as error:  # every connection of the pool is in use
        raise causes.LOCKED.error() from error
    except (
        UnicodeDecodeError
    ) as error:  # if the schema is damaged, even the error message may not be text
        raise causes.CORRUPT.error() from error
    finally:
        if outermost:
            _asking.discard(thread)


@contextlib.contextmanager
def _interruption_first() -> Iterator[None]:
    handled = sys.exc_info()[1]  # what came before is its handler's
    try:
        yield
    except Exception as error:
        before: BaseException | None = error
        while before is not None and before is not handled:
            if isinstance(before, KeyboardInterrupt | SystemExit):
                raise before from None
            before = before.__context__
        raise


def is_about_a_row(error: DBAPIError) -> bool:
    """Whether a value cannot be read or reckoned with: one row is damaged, not the store."""
    return sqlite.is_no_text(error.orig) or _cause(error.orig) is causes.REFUSED


@contextlib.contextmanager
def corrupt_rows_as_store_error() -> Iterator[None]:
    """Wraps the reading of rows: a value that this program never writes means damage, not a bug."""
    try:
        yield
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise causes.CORRUPT.error() from error


def _translated(error: BaseException | None) -> StoreError | None:
    cause = _cause(error)
    if cause is causes.REFUSED:
        return cause.error(postgresql.rule(error) or sqlite.rule(error))
    return None if cause is None else cause.error()


def _cause(error: BaseException | None) -> Cause | None:
    if isinstance(error, OSError):
        return _OS_CAUSES.get(error.errno or 0, causes.IO)
    if error is not None and hasattr(error, "sqlstate"):
        return postgresql.cause(error)
    return sqlite.cause(error)


# -- opening ---------------------------------------------------------------------------------

_URL_HINT = "write it as sqlite:////absolute/path/to/uploader.db or postgresql://USER@HOST/DATABASE"


def exists(database_url: str) -> bool:
    """Is there a database to read? Whether PostgreSQL has one shows when it is asked.

    Raises UsageError, and StoreError if the folder cannot be entered.
    """
    url = _parsed(database_url)
    with store_errors():
        return url.drivername in postgresql.NAMES or _path(database_url).exists()


def place(database_url: str) -> str:
    """Where that store is, for people: a path, or host and database; no user, no password."""
    if _parsed(database_url).drivername in postgresql.NAMES:
        return server(database_url)
    return str(_path(database_url))


def doubts(database_url: str) -> str:
    """A warning about the way to that store; empty if there is none. Raises UsageError."""
    url = _parsed(database_url)
    if url.drivername not in postgresql.NAMES:
        return ""
    with _readable():
        return encryption.doubts(url.set(drivername=postgresql.DRIVER))


def _parsed(database_url: str) -> URL:
    with _readable():
        return make_url(database_url)


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except (ArgumentError, ValueError):
        # The text may hold a password: it is not repeated.
        raise UsageError("the database URL cannot be read", hint=_URL_HINT) from None


def _path(database_url: str) -> Path:
    try:
        name = sqlite_file(database_url)
    except ValueError as flaw:
        raise UsageError(str(flaw), hint=_URL_HINT) from None
    if name is None:
        raise UsageError("the state can only be kept in SQLite or PostgreSQL", hint=_URL_HINT)
    return files.absolute(name)


def open_engine(database_url: str, *, busy_timeout_s: float = BUSY_TIMEOUT_S) -> Engine:
    """The store that ``database_url`` names; a missing file is created, 0600 in a 0700 folder.

    Raises UsageError for another kind of database, a missing driver, or a network file system;
    StoreError if the file cannot be opened. The schema is left to `migrate.ensure`.
    """
    url = _parsed(database_url)
    if url.drivername in postgresql.NAMES:
        with _readable():
            named = url.set(drivername=postgresql.DRIVER)
            return postgresql.open_database(named, busy_timeout_s)
    with store_errors():
        return sqlite.open_file(_path(database_url), busy_timeout_s)


def is_file(engine: Engine) -> bool:
    """Whether it is SQLite: a file of this machine, with all that follows from that."""
    return engine.dialect.name == "sqlite"


# -- using -----------------------------------------------------------------------------------


def writing(engine: Engine) -> Engine:
    """The same pool, with transactions that take the write lock at once."""
    return sqlite.writing(engine) if is_file(engine) else postgresql.writing(engine)


def announce(connection: Connection) -> None:
    """Wake every `ChangeWatch` at the commit of this transaction; in a file it sees that itself."""
    if connection.dialect.name != "sqlite":
        postgresql.announce(connection)


def skip_taken(engine: Engine, column: Column[Any]) -> None:
    """Whoever writes rows by hand may take numbers that are still to be given out.

    SQLite always goes on from the highest. Raises nothing: the next write finds out.
    """
    if not is_file(engine):
        with contextlib.suppress(DBAPIError):
            postgresql.skip_taken(engine, column)


def last_number(connection: Connection, table: Table) -> int:
    """The highest number that a row of ``table`` ever had; 0 in PostgreSQL, where nobody asks."""
    return sqlite.last_number(connection, table.name) if is_file(connection.engine) else 0


def shrink(engine: Engine, most_pages: int | None = None) -> None:
    """Give free pages of a file back to its disk; PostgreSQL reuses them by itself."""
    if is_file(engine):
        with store_errors():
            sqlite.shrink(engine, most_pages)


class ChangeWatch:
    """Tells whether another connection, of any process, has committed. It is only a hint."""

    def __init__(self, engine: Engine, owner: str = "", takes: str = "") -> None:
        """Raises StoreError. With PostgreSQL the worker ``owner`` counts as alive from here on.

        ``takes``: which jobs, as `workers.word_of` says it.
        """
        with store_errors():
            changes = sqlite.Changes if is_file(engine) else postgresql.Changes
            self._changes = changes(engine, f"{owner} {takes}")
            self._seen = self._changes.look()

    def changed(self) -> bool:
        """True once per change seen since the last call; raises StoreError."""
        before = self._seen
        with store_errors():
            self._seen = self._changes.look()
        return before != self._seen

    def close(self) -> None:
        """Close the connection. With PostgreSQL this worker counts as gone from here on."""
        self._changes.close()


def connected_workers(engine: Engine) -> dict[str, str]:
    """The workers that PostgreSQL sees, on any machine, with the words for what they take.

    None of an earlier version is among them. With SQLite only `workers.py` knows. Raises
    StoreError.
    """
    if is_file(engine):
        return {}
    with store_errors():
        return postgresql.connected_workers(engine)


# -- leases ----------------------------------------------------------------------------------


def lease_end(engine: Engine, now: datetime, lease_s: float) -> datetime | ColumnElement[datetime]:
    """When a lease written now ends: by the database's clock if that decides it."""
    start = now if is_file(engine) else postgresql.CLOCK
    return start + timedelta(seconds=lease_s)


def overdue() -> ColumnElement[datetime]:
    """Leases that ended before this time may be taken from their owner (PostgreSQL only)."""
    return postgresql.CLOCK - timedelta(seconds=postgresql.TAKER_WAITS_S)
