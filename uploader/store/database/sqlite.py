"""Everything specific to SQLite: opening, transactions, what its errors mean.

WAL with synchronous=FULL, so that a committed row survives a power cut; writes begin with BEGIN
IMMEDIATE, so that no transaction fails half-way because it cannot get the write lock
(docs/architecture.md §8).
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.pool import ConnectionPoolEntry

from uploader.core.errors import StoreError, UsageError
from uploader.core.store_reasons import StoreCode
from uploader.files import identity, locked, opened, unlocked
from uploader.forks import keep_from_children
from uploader.store.database import causes
from uploader.store.database.state_folder import our_file, private_folder

#: The execution option that sets how a connection's transactions begin.
BEGIN = "uploader_begin"

#: The first version with RETURNING.
_OLDEST = (3, 35, 0)

#: The first bytes of a journal, and its last ones if it names another.
_MAGIC = bytes.fromhex("d9d505f920a163d7")

#: Pages that become free can be given back to the disk, some at a time.
_SHRINKABLE = "PRAGMA auto_vacuum = INCREMENTAL"
_INCREMENTAL = 2

#: By SQLite's primary result code.
_CAUSES = {
    sqlite3.SQLITE_PERM: causes.READ_ONLY,
    sqlite3.SQLITE_BUSY: causes.LOCKED,
    sqlite3.SQLITE_LOCKED: causes.LOCKED,
    sqlite3.SQLITE_READONLY: causes.READ_ONLY,
    sqlite3.SQLITE_IOERR: causes.IO,
    sqlite3.SQLITE_CORRUPT: causes.CORRUPT,
    sqlite3.SQLITE_FULL: causes.FULL,
    sqlite3.SQLITE_CANTOPEN: causes.GONE,
    sqlite3.SQLITE_PROTOCOL: causes.LOCKED,
    sqlite3.SQLITE_AUTH: causes.READ_ONLY,
    sqlite3.SQLITE_NOTADB: causes.CORRUPT,
    sqlite3.SQLITE_CONSTRAINT: causes.REFUSED,
    sqlite3.SQLITE_MISMATCH: causes.REFUSED,
    sqlite3.SQLITE_TOOBIG: causes.REFUSED,
}
#: What SQLite says of a sum that is beyond its numbers, under the code of a wrong statement.
_OVERFLOW = "integer overflow"


def cause(error: BaseException | None) -> causes.Cause | None:
    """What an error of SQLite means; None for a wrong statement, which is a bug."""
    if isinstance(error, sqlite3.DataError) or str(error) == _OVERFLOW:
        return causes.REFUSED
    return _CAUSES.get(_primary_code(error))


def rule(error: BaseException | None) -> str:
    """The name of what refuses a row, if it has one: SQLite quotes no value."""
    kinds = sqlite3.IntegrityError
    return str(error).rpartition(": ")[2] if isinstance(error, kinds) else ""


def _primary_code(error: BaseException | None) -> int:
    """SQLite's primary result code: the low byte of what it reports."""
    if is_no_text(error) or (
        isinstance(error, sqlite3.OperationalError) and str(error) == "unsupported file format"
    ):
        return sqlite3.SQLITE_CORRUPT
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF


def is_no_text(error: BaseException | None) -> bool:
    """Whether it is about a text that is not UTF-8: an error of Python's own has no number."""
    own = not hasattr(error, "sqlite_errorcode")
    return isinstance(error, sqlite3.OperationalError) and own


def open_file(path: Path, busy_timeout_s: float) -> Engine:
    """The store at ``path``; a missing file is created, 0600 in a 0700 folder.

    Raises UsageError for a file system that breaks a database and for a folder or file that others
    can use, StoreError if SQLite is too old, and OSError.
    """
    refuse_old(sqlite3.sqlite_version_info)
    private_folder(path.parent)
    our_file(path)
    # Of a link, SQLite opens what it leads to, and takes the log that lies next to that.
    real = Path(os.path.realpath(path))
    private_folder(real.parent)
    for end in ("-wal", "-shm", "-journal"):
        _refuse_odd(real.with_name(f"{real.name}{end}"))
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "a folder", str(path))
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        creator=lambda: _connect(path, busy_timeout_s),
        # A row may hold a session URI; no exception may print it (docs/invariants.md §8).
        hide_parameters=True,
    )
    _watch_identity(engine, path)
    return engine


def _refuse_odd(beside: Path) -> None:
    """SQLite reads what lies beside a table before anybody can look at what is in the table.

    It deletes what the end of a journal names. It writes such an end if one transaction changes
    several files, which none of ours does; nor are there ever links.
    """
    if beside.is_symlink():
        message = f"{beside} is a link, which uploader never makes there"
        raise UsageError(message, hint="stop the workers, and remove the link")
    if not beside.exists():
        return
    with contextlib.suppress(FileNotFoundError):  # its last user has just removed it
        our_file(beside, new=False)
    if beside.name.endswith("-journal") and _ends_with_a_name(beside):
        message = f"{beside} names another file, which SQLite would delete"
        raise UsageError(message, hint="stop the workers, and remove it: uploader did not write it")


def _ends_with_a_name(journal: Path) -> bool:
    with contextlib.suppress(FileNotFoundError), opened(journal) as file:
        file.seek(-min(len(_MAGIC), file.seek(0, os.SEEK_END)), os.SEEK_END)
        return file.read(len(_MAGIC)) == _MAGIC
    return False  # whoever wrote it has ended


def refuse_old(version: tuple[int, ...]) -> None:
    """Raises StoreError if SQLite is too old for the store's statements."""
    if version < _OLDEST:
        found, needed = (".".join(map(str, numbers)) for numbers in (version, _OLDEST))
        raise StoreError(
            f"this Python has SQLite {found}, the state store needs {needed} or newer",
            code=StoreCode.SQLITE_TOO_OLD,
        )


#: The files that were open in the process that forked this one, when it did.
_INHERITED: set[tuple[int, int]] = set()


class _OurConnection(sqlite3.Connection):
    """A connection that a child must not use, nor any other to the same file.

    SQLite keeps in memory which locks its process has. A child has none of them, and its SQLite
    knows nothing of that: it would read what is being overwritten, and write that back
    (docs/architecture.md §9).
    """

    file: tuple[int, int] | None = None
    #: What `files` knows as locked by it.
    locked: tuple[tuple[tuple[int, int], Path], ...] = ()

    def close(self) -> None:
        super().close()
        self.file = None
        unlocked(self.locked)
        self.locked = ()

    def let_go(self) -> None:
        """As `Unshared.let_go`: it stays open, since closing it is use, too."""
        if self.file is not None:
            _INHERITED.add(self.file)


def _connect(path: Path, busy_timeout_s: float) -> sqlite3.Connection:
    if (file := identity(path)) in _INHERITED:
        raise UsageError(
            "this process was forked from one that was using the job table, and SQLite cannot"
            " lock it here",
            hint="call uploader in the parent, or start this process with `spawn`",
        )
    table = ((file, path),)
    locked(table)  # before SQLite opens it, and so takes a lock that another thread could lose
    try:
        # mode=rw: a deleted store is an error and not silently replaced by an empty one.
        connection = sqlite3.connect(
            f"{path.as_uri()}?mode=rw",
            uri=True,
            timeout=busy_timeout_s,
            isolation_level=None,
            check_same_thread=False,
            factory=_OurConnection,
        )
    except BaseException:
        unlocked(table)
        raise
    connection.file, connection.locked = file, table
    keep_from_children(connection)
    try:
        _prepare(connection)
        connection.execute("PRAGMA schema_version").fetchone()  # from now on its log is there
        real = Path(os.path.realpath(path))  # as SQLite has it, of a link
        shared = real.with_name(f"{real.name}-shm")
        log = ((identity(shared), shared),)
        locked(log)
        connection.locked = table + log
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection) -> None:
    if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
        # Only an empty file can learn to shrink; an older one learns it when it is migrated.
        if connection.execute("PRAGMA page_count").fetchone() == (0,):
            connection.execute(_SHRINKABLE)
        # Two processes that open a new store may collide here; either one's success is enough.
        with contextlib.suppress(sqlite3.OperationalError):
            connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    # Without it macOS leaves a "synced" page in the drive's cache; elsewhere it has no effect.
    connection.execute("PRAGMA fullfsync = ON")
    connection.execute("PRAGMA foreign_keys = ON")
    # The file's content may come from elsewhere: no function in its schema is run, and a malformed
    # page is an error.
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")


def _watch_identity(engine: Engine, path: Path) -> None:
    """Begin transactions our way, and only on the file that was opened.

    SQLite in WAL mode silently keeps writing to a deleted file.
    """

    @event.listens_for(engine, "connect")
    def remember(connection: Any, entry: ConnectionPoolEntry) -> None:
        del connection
        entry.info["identity"] = identity(path)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        if connection.info["identity"] != identity(path):
            raise causes.GONE.error()
        connection.exec_driver_sql(connection.get_execution_options().get(BEGIN, "BEGIN"))


def writing(engine: Engine) -> Engine:
    """The same pool, its transactions taking the write lock at once."""
    return engine.execution_options(**{BEGIN: "BEGIN IMMEDIATE"})


class Changes:
    """A number that another connection's commit changes: one PRAGMA on one connection."""

    def __init__(self, engine: Engine, worker: str) -> None:
        del worker  # a file lock marks it as alive
        self._connection = engine.raw_connection()

    def look(self) -> int:
        """The current number. Raises what the driver raises."""
        # This runs outside any transaction: inside one the number would not change.
        with contextlib.closing(self._connection.cursor()) as cursor:
            cursor.execute("PRAGMA data_version")
            version: int = cursor.fetchall()[0][0]
            return version

    def close(self) -> None:
        """Give the connection back to the pool."""
        self._connection.close()


@contextlib.contextmanager
def unchecked_keys(connection: Connection) -> Iterator[None]:
    """SQLite alters a table by copying and dropping it, which foreign keys would refuse."""
    raw = _raw(connection)
    raw.execute("PRAGMA foreign_keys = OFF")
    try:
        yield
    finally:
        connection.rollback()
        raw.execute("PRAGMA foreign_keys = ON")


def library_version() -> str:
    """The version of the SQLite that this Python uses."""
    return sqlite3.sqlite_version


def check(engine: Engine, *, whole: bool = True) -> None:
    """Read the file for damage; raises StoreError.

    If it is not to be read as a ``whole``, the tables and indexes by which jobs are found.
    """
    some = "SELECT name FROM sqlite_master WHERE name IN ('jobs', 'files', 'leftovers')"
    with engine.connect() as connection:
        tables = ["1"] if whole else connection.exec_driver_sql(some).scalars().all()
        for one in tables:
            if connection.exec_driver_sql(f"PRAGMA integrity_check({one})").scalar() != "ok":
                raise causes.CORRUPT.error()


def shrink(engine: Engine, most_pages: int | None = None) -> None:
    """Give at most ``most_pages`` free pages back to the disk, or all of them now.

    Others go on meanwhile; what somebody still reads is given back by a later checkpoint.
    """
    with engine.connect() as connection:
        # A script, for it steps through a statement that frees one page at each step.
        script = f"PRAGMA incremental_vacuum({most_pages or 0});"
        checkpoint = "" if most_pages else "PRAGMA wal_checkpoint(PASSIVE);"
        _raw(connection).executescript(script + checkpoint)


def make_shrinkable(engine: Engine) -> None:
    """Write an older file anew, so that it can shrink from now on.

    It needs as much free space as the file is large. Raises what the driver raises; then the file
    is as it was.
    """
    with engine.connect() as connection:
        raw = _raw(connection)
        if raw.execute("PRAGMA auto_vacuum").fetchone() != (_INCREMENTAL,):
            raw.execute(_SHRINKABLE)
            raw.execute("VACUUM")


#: A row of the schema as SQLite itself writes it for a table that has pages, or for an index. It
#: reads the statement alone, so one that is called a table could still make a trigger.
_PLAIN = """
type IN ('table', 'index') AND rootpage > 0 AND (
  sql IS NULL
  OR sql GLOB 'CREATE TABLE *' OR sql GLOB 'CREATE INDEX *' OR sql GLOB 'CREATE UNIQUE INDEX *')
"""


def strangers(connection: Connection) -> list[str]:
    """Views, triggers and virtual tables: none is ours, and each could act on our writes."""
    query = f"SELECT name FROM sqlite_master WHERE ({_PLAIN}) IS NOT TRUE"  # noqa: S608 - our own
    return [str(name) for (name,) in connection.exec_driver_sql(query)]


def last_number(connection: Connection, table: str) -> int:
    """The highest number that a row of ``table`` ever had."""
    query = "SELECT max(seq) FROM sqlite_sequence WHERE name = ?"
    number = connection.exec_driver_sql(query, (table,)).scalar()
    return number if type(number) is int else 0


def _raw(connection: Connection) -> sqlite3.Connection:
    raw = connection.connection.driver_connection
    if not isinstance(raw, sqlite3.Connection):
        raise TypeError("not a SQLite connection")
    return raw


def copy(engine: Engine, target: Path) -> None:
    """A consistent copy into the empty file ``target``, while others go on writing."""
    with engine.connect() as connection, contextlib.closing(sqlite3.connect(target)) as found:
        _raw(connection).backup(found)
        # The copy is one file that can be moved, without a log next to it.
        found.execute("PRAGMA journal_mode = DELETE")
