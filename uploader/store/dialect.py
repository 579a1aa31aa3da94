"""Everything that is SQLite's: how it is opened, how it begins, what its errors mean.

WAL with synchronous=FULL, so that a committed row survives a pulled plug; writes begin with
BEGIN IMMEDIATE, so that no transaction fails half-way for want of the write lock (design §4).
"""

from __future__ import annotations

import contextlib
import errno
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError
from sqlalchemy.pool import ConnectionPoolEntry

from uploader.core.errors import StoreError, UsageError
from uploader.store.folder import private_file, private_folder

#: How long a statement waits for another process's write, in seconds.
BUSY_TIMEOUT_S = 30.0

_BEGIN = "uploader_begin"

_LOCKED = ("locked", "is locked by another process", "try again; see who has it open")
_READ_ONLY = ("read_only", "cannot be written", "check its owner, mode and mount")
_CORRUPT = ("corrupt", "is damaged or not a database", "restore a backup, or move it away")
_FULL = ("disk_full", "has no room to grow", "free space on its disk, then try again")
_GONE = ("gone", "is gone or cannot be opened", "check the state folder, restart the service")
_IO = ("io", "cannot be read or written", "check its disk: it is full, or answers with errors")

#: By SQLite's primary result code.
_SQLITE_CAUSES = {
    sqlite3.SQLITE_PERM: _READ_ONLY,
    sqlite3.SQLITE_BUSY: _LOCKED,
    sqlite3.SQLITE_LOCKED: _LOCKED,
    sqlite3.SQLITE_READONLY: _READ_ONLY,
    sqlite3.SQLITE_IOERR: _IO,
    sqlite3.SQLITE_CORRUPT: _CORRUPT,
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_CANTOPEN: _GONE,
    sqlite3.SQLITE_PROTOCOL: _LOCKED,
    sqlite3.SQLITE_AUTH: _READ_ONLY,
    sqlite3.SQLITE_NOTADB: _CORRUPT,
}
_OS_CAUSES = {
    errno.EACCES: _READ_ONLY,
    errno.EPERM: _READ_ONLY,
    errno.EROFS: _READ_ONLY,
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EISDIR: _GONE,
    errno.ENOENT: _GONE,
    errno.ENOTDIR: _GONE,
    errno.EEXIST: _GONE,
}


@contextlib.contextmanager
def store_errors() -> Iterator[None]:
    """The one place where errors of SQLite and of the disk become StoreError (exit 11).

    A broken constraint and a wrong statement pass through: they are ours to handle, or bugs.
    """
    try:
        yield
    except IntegrityError:
        raise
    except DBAPIError as error:
        raise _translated(error.orig) or error from error.orig
    except (sqlite3.Error, OSError) as error:
        raise _translated(error) or error from error
    except UnicodeDecodeError as error:  # even a damaged schema's error message may be no text
        raise _store_error(*_CORRUPT) from error


@contextlib.contextmanager
def legible() -> Iterator[None]:
    """Around reading rows: a value none of ours ever wrote means damage, not a bug."""
    try:
        yield
    except ValueError as error:
        raise _store_error(*_CORRUPT) from error


def _translated(error: BaseException | None) -> StoreError | None:
    if isinstance(error, OSError):
        cause = _OS_CAUSES.get(error.errno or 0, _IO)
    else:
        code = _primary_code(error)
        if code not in _SQLITE_CAUSES:
            return None
        cause = _SQLITE_CAUSES[code]
    return _store_error(*cause)


def _primary_code(error: BaseException | None) -> int:
    """SQLite's; the low byte is the cause, the rest says more than a user can use."""
    if isinstance(error, sqlite3.OperationalError) and (
        # Without a number it is Python's own complaint, about text that is not UTF-8.
        not hasattr(error, "sqlite_errorcode") or str(error) == "unsupported file format"
    ):
        return sqlite3.SQLITE_CORRUPT
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF


def _store_error(code: str, what: str, hint: str) -> StoreError:
    return StoreError(f"the state store {what}", hint=hint, code=code)


def sqlite_url(path: Path) -> str:
    """The database URL of a SQLite file, whatever characters its path has."""
    return URL.create("sqlite", database=str(path)).render_as_string()


def database_path(database_url: str) -> Path:
    """The file behind ``database_url``, whether or not it exists.

    Raises UsageError for anything but a SQLite database in a file.
    """
    return _path(_parsed(database_url))


def _parsed(database_url: str) -> URL:
    try:
        return make_url(database_url)
    except ArgumentError:
        # The text may hold a password: it is not repeated.
        raise UsageError("the database URL cannot be read", hint=_URL_HINT) from None


_URL_HINT = "write it as sqlite:////absolute/path/to/uploader.db"


def _path(url: URL) -> Path:
    if url.drivername not in ("sqlite", "sqlite+pysqlite"):
        raise UsageError(
            f"this version keeps its state in SQLite, not {url.get_backend_name()}", hint=_URL_HINT
        )
    name = url.database or ""
    if not name or name == ":memory:" or name.startswith("file:"):
        raise UsageError("the state store must be a file", hint=_URL_HINT)
    return Path(name).absolute()


def open_engine(database_url: str, *, busy_timeout_s: float = BUSY_TIMEOUT_S) -> Engine:
    """The store behind ``database_url``; a missing file is created, 0600 in a 0700 folder.

    Raises UsageError for another kind of database or a network file system, StoreError where
    the file cannot be had. The schema is `migrate.ensure`'s business.
    """
    path = database_path(database_url)
    with store_errors():
        private_folder(path.parent)
        if not path.exists():
            private_file(path)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "a folder", str(path))
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        creator=lambda: _connect(path, busy_timeout_s),
        # A row may hold a session URI; no exception may print it (invariant 8).
        hide_parameters=True,
    )
    _watch_identity(engine, path)
    return engine


def _connect(path: Path, busy_timeout_s: float) -> sqlite3.Connection:
    # mode=rw: a deleted store is an error, never silently an empty new one.
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode=rw",
        uri=True,
        timeout=busy_timeout_s,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        _prepare(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection) -> None:
    if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
        # Two first openers may collide here; one of them wins for both.
        with contextlib.suppress(sqlite3.OperationalError):
            connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    # Without it macOS leaves a "synced" page in the drive's cache; elsewhere it does nothing.
    connection.execute("PRAGMA fullfsync = ON")
    connection.execute("PRAGMA foreign_keys = ON")


def _watch_identity(engine: Engine, path: Path) -> None:
    """Begin transactions our way, and only on the file that was opened.

    SQLite in WAL mode goes on writing to a deleted file without a word.
    """

    @event.listens_for(engine, "connect")
    def remember(connection: Any, entry: ConnectionPoolEntry) -> None:
        del connection
        entry.info["identity"] = _identity(path)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        if connection.info["identity"] != _identity(path):
            raise _store_error(*_GONE)
        connection.exec_driver_sql(connection.get_execution_options().get(_BEGIN, "BEGIN"))


def _identity(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return (0, 0)
    return (status.st_dev, status.st_ino)


def writing(engine: Engine) -> Engine:
    """The same pool, its transactions taking the write lock at once."""
    return engine.execution_options(**{_BEGIN: "BEGIN IMMEDIATE"})


class ChangeWatch:
    """Tells whether another connection, of any process, has committed. A hint only."""

    def __init__(self, engine: Engine) -> None:
        with store_errors():
            self._connection = engine.raw_connection()
        self._seen = self._version()

    def changed(self) -> bool:
        """True once per change seen since the last call; raises StoreError."""
        before, self._seen = self._seen, self._version()
        return before != self._seen

    def close(self) -> None:
        self._connection.close()

    def _version(self) -> int:
        # Outside any transaction: inside one the number would stand still.
        with store_errors(), contextlib.closing(self._connection.cursor()) as cursor:
            cursor.execute("PRAGMA data_version")
            version: int = cursor.fetchall()[0][0]
            return version
