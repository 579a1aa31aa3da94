"""Everything specific to PostgreSQL: connecting, transactions, what its errors mean.

Every writing transaction first takes one advisory lock, so that there is one writer at a time, and
the same rules hold as with SQLite: one open job per model, events in the order of their commits.
The driver is only imported if such a store is used.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from sqlalchemy import (
    URL,
    Column,
    Connection,
    DateTime,
    Engine,
    create_engine,
    event,
    func,
    select,
    text,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry

from uploader.core.distribution import install
from uploader.core.errors import UsageError
from uploader.core.store_reasons import StoreCode
from uploader.forks import OurDescriptor
from uploader.store.database import answers
from uploader.store.database.causes import REFUSED, Cause
from uploader.store.database.encryption import one_address
from uploader.store.database.moments import read_every_time
from uploader.store.database.neighbours import Searched
from uploader.store.database.writers import end_slow_writer

DRIVER = "postgresql+psycopg"
#: The spellings that people use.
NAMES = ("postgresql", "postgres", DRIVER)
#: Seconds to wait beyond a lease's end before it is taken (docs/architecture.md §9).
TAKER_WAITS_S = 10.0
#: The clock that decides leases; unlike now() it goes on during a transaction.
CLOCK = func.clock_timestamp(type_=DateTime(timezone=True))

_WRITING = "uploader_writing"
#: Advisory locks are two numbers: ours begin with "uplo", then which one.
_OURS = 0x75706C6F
_WRITER, _MIGRATION, _WORKERS = 1, 2, 3
#: Or which job table, of several in one database.
_TABLE = (
    "CAST(mod(CAST(CAST(to_regclass('alembic_version') AS oid) AS bigint), 2147483647) AS integer)"
)
#: Seconds for which a process that stops in a transaction (SIGSTOP, a suspended laptop) can hold up
#: others.
_IDLE_S = 10.0
#: Defaults that the URL may override. A network that drops packets is noticed in 30 s.
_CONNECTING: dict[str, Any] = {
    "application_name": "uploader",
    "client_encoding": "utf8",
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 30_000,
    # A plan that was prepared before a migration would fail after it.
    "prepare_threshold": None,
}

_UNREACHABLE = Cause(
    StoreCode.UNREACHABLE,
    "cannot be reached: PostgreSQL does not answer",
)
_REFUSED = Cause(
    StoreCode.LOGIN_REFUSED,
    "cannot be opened: PostgreSQL refuses this user, password or database",
    "check user, password and database in database_url, and the server's pg_hba.conf",
)
_SETTINGS = Cause(
    StoreCode.LOGIN_REFUSED,
    "cannot be opened: the database URL has a setting that PostgreSQL does not know",
    "check the part of database_url after the ?",
)
_READ_ONLY = Cause(
    StoreCode.READ_ONLY,
    "cannot be written: PostgreSQL allows this user, or this server, only to read",
    "grant the user its database; a standby cannot be written to",
)
_LOCKED = Cause(
    StoreCode.LOCKED,
    "was locked by another session for too long",
    "try again; pg_stat_activity shows which session has the lock",
)
_FULL = Cause(
    StoreCode.DISK_FULL,
    "has no space left on its disk",
    "free some space on PostgreSQL's disk, then try again",
)
_CROWDED = Cause(
    StoreCode.CROWDED,
    "cannot be used: PostgreSQL is out of connections or memory",
)
_DAMAGED = Cause(
    StoreCode.IO, "cannot be read or written: PostgreSQL reports damage", "see the server's log"
)
_ENDED = Cause(
    StoreCode.UNREACHABLE,
    "was lost: PostgreSQL has ended the connection",
    "try again; it was stopped, or others had to wait for this process for too long, as over a slow"
    " network: then use a machine that is nearer to it",
)
_MIGRATED = Cause(
    StoreCode.NEWER, "was migrated while this worker had no connection to it", "restart the service"
)

#: By SQLSTATE, else by its class, the first two characters.
_CAUSES = {
    "08": _UNREACHABLE,
    "25006": _READ_ONLY,
    "25P03": _LOCKED,
    "28": _REFUSED,
    "3D": _REFUSED,
    "40": _LOCKED,
    "42501": _READ_ONLY,
    "53": _CROWDED,
    "53100": _FULL,
    "55P03": _LOCKED,
    "57": _UNREACHABLE,
    "57014": _LOCKED,
    "57P01": _ENDED,
    "58": _DAMAGED,
    "XX": _DAMAGED,
}
#: Classes of wrong statements. Whatever is in none of these tables is about values.
_WRONG = frozenset({"0A", "26", "34", "42"})
#: The server's words when it refuses a connection: libpq does not pass on an SQLSTATE.
_REFUSALS = (
    "authentication",
    "password",
    "pg_hba.conf",
    "does not exist",
    "permission denied",
    "not permitted to log in",
)
_TOO_MANY = ("too many", "connection slots")


def cause(error: BaseException) -> Cause | None:
    """What an error of psycopg means; None for a wrong statement, which is a bug."""
    state = getattr(error, "sqlstate", None)
    if state is None:
        return _unanswered(error)
    if state[:2] in _WRONG and state not in _CAUSES:
        return None
    return _CAUSES.get(state) or _CAUSES.get(state[:2]) or REFUSED


def rule(error: BaseException | None) -> str:
    """The name of what refuses a row, if it has one; PostgreSQL's own words quote values."""
    return getattr(getattr(error, "diag", None), "constraint_name", None) or ""


def _unanswered(error: BaseException) -> Cause | None:
    import psycopg  # noqa: PLC0415 - loaded already: it raised this

    words = str(error)
    if isinstance(error, psycopg.ProgrammingError) and "connect" in words:
        return _SETTINGS
    if isinstance(error, psycopg.DataError):
        return REFUSED
    if not isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return None
    if any(crowd in words for crowd in _TOO_MANY):
        return _CROWDED
    return _REFUSED if any(refusal in words for refusal in _REFUSALS) else _UNREACHABLE


def open_database(url: URL, lock_timeout_s: float) -> Engine:
    """The store at ``url``, of this `DRIVER`; it does not connect yet. Raises UsageError."""
    try:
        engine = create_engine(
            url,
            connect_args={k: v for k, v in _CONNECTING.items() if k not in url.query}
            | one_address(url),
            # One consistent view; `writing` sets its own level.
            isolation_level="REPEATABLE READ",
            pool_pre_ping=True,
            # A row may hold a session URI; no exception may print it (docs/invariants.md §8).
            hide_parameters=True,
            use_native_hstore=False,
        )
    except ImportError:
        message = "a store in PostgreSQL needs its driver"
        raise UsageError(message, hint=install("postgresql")) from None
    answers.bound(engine)
    _prepare(engine, lock_timeout_s)
    return engine


def _prepare(engine: Engine, lock_timeout_s: float) -> None:
    settings = (
        f"SET lock_timeout = {lock_timeout_s * 1000:.0f};"
        f"SET idle_in_transaction_session_timeout = {_IDLE_S * 1000:.0f};"
        "SET TIME ZONE 'UTC'; SET datestyle = 'ISO';"
        # Without these a machine that lost power would count as a worker for two hours more.
        "SET tcp_keepalives_idle = 10;"
        "SET tcp_keepalives_interval = 5;"
        "SET tcp_keepalives_count = 4;"
        # And for a quarter of an hour if there was something to tell it. Not before PostgreSQL 12.
        "SELECT set_config('tcp_user_timeout', '30s', false)"
        " WHERE current_setting('tcp_user_timeout', true) IS NOT NULL;"
        # A committed row survives a power cut, whatever the server's default.
        "SELECT set_config('synchronous_commit', 'on', false)"
        " WHERE current_setting('synchronous_commit') IN ('off', 'local')"
    )

    searched = Searched()

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, record: ConnectionPoolEntry) -> None:
        record.info["ours"] = OurDescriptor(connection.pgconn.socket)  # as long as it is open
        if connection.info.parameter_status("server_encoding") != "UTF8":
            hint = "create it with ENCODING 'UTF8'"
            raise UsageError("the PostgreSQL database does not keep text as UTF-8", hint=hint)
        searched.only(connection)
        connection.execute(settings)
        connection.commit()
        read_every_time(connection)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        if not connection.get_execution_options().get(_WRITING):
            return
        try:
            connection.exec_driver_sql(_lock("advisory_xact_lock", _WRITER))
        except DBAPIError as error:
            if cause(error.orig or error) is _LOCKED:
                with contextlib.closing(_alone(engine)) as outside:
                    end_slow_writer(outside, _OURS, _WRITER, lock_timeout_s)
            raise


def _lock(function: str, which: int | str) -> str:
    return f"SELECT pg_{function}({_OURS}, {which})"


def writing(engine: Engine) -> Engine:
    """The same pool, its transactions taking the write lock at once."""
    # Each statement sees what was committed before it: the first one waits for the lock.
    return engine.execution_options(isolation_level="READ COMMITTED", **{_WRITING: True})


def _alone(engine: Engine) -> Connection:
    """A connection outside the pool and outside transactions, for locks of a session."""
    connection = engine.execution_options(isolation_level="AUTOCOMMIT").connect()
    connection.detach()
    return connection


#: What a writer says at its commit, and watchers listen to.
_CHANNEL = "uploader"
#: After this many looks the server is asked: a connection can be lost without a word.
_LOOKS_TO_ASK = 20


def announce(connection: Connection) -> None:
    """Wake every watcher once this transaction is committed."""
    connection.exec_driver_sql(f"NOTIFY {_CHANNEL}")


class Changes:
    """What is told to its connection, which also marks this worker as alive, at others' commits.

    The shared lock ends with the connection; a migration checks for it
    (docs/architecture.md §10).
    """

    def __init__(self, engine: Engine, worker: str) -> None:
        """``worker``: its owner, and what it takes."""
        self._engine = engine
        self._worker = worker
        self._heard = 0
        self._looks = 0
        self._version: str | None = None
        self._connection = self._connected()

    def look(self) -> int:
        """How much was heard so far; a new connection counts, too. Raises what the driver raises.

        Most looks only empty the socket: the server has nothing to do while nobody writes.
        """
        import psycopg  # noqa: PLC0415 - loaded already: it made the connection

        if not self._connection.closed:
            with contextlib.suppress(DBAPIError, psycopg.Error):
                self._listen()
                return self._heard
            self._connection.invalidate()  # a polite end would need the server
            self.close()
        self._connection = self._connected()
        return self._heard

    def close(self) -> None:
        """Close the connection, and with it release the lock that marks this worker as alive."""
        self._connection.close()

    def _listen(self) -> None:
        self._looks += 1
        if self._looks % _LOOKS_TO_ASK == 0:
            self._check_version(self._connection)
        raw: Any = self._connection.connection.dbapi_connection
        raw.pgconn.consume_input()
        while raw.pgconn.notifies():
            self._heard += 1

    def _connected(self) -> Connection:
        connection = _alone(self._engine)
        try:
            connection.execute(_NAMED, {"name": _NAME + self._worker})
            connection.exec_driver_sql(_lock("advisory_lock_shared", _WORKERS))
            connection.exec_driver_sql(_lock("advisory_lock_shared", _TABLE))
            raw: Any = connection.connection.dbapi_connection
            raw.add_notify_handler(self._hear)  # for what arrives with the answer to a question
            connection.exec_driver_sql(f"LISTEN {_CHANNEL}")
            self._check_version(connection)
        except BaseException:
            connection.close()
            raise
        self._heard += 1
        return connection

    def _hear(self, _: object) -> None:
        self._heard += 1

    def _check_version(self, connection: Connection) -> None:
        found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
        self._version = self._version or found
        if found != self._version:
            raise _MIGRATED.error()


#: The application name of a worker's connection, followed by its owner and what it takes.
_NAME = "uploader worker "
_NAMED = text("SELECT set_config('application_name', :name, false)")
_CONNECTED = text(
    f"""
SELECT application_name FROM pg_locks JOIN pg_database ON pg_database.oid = database
JOIN pg_stat_activity USING (pid)
WHERE pg_database.datname = current_database() AND locktype = 'advisory' AND granted
AND classid = :ours AND objid = {_TABLE} AND mode = 'ShareLock'
AND EXISTS (
    SELECT 1 FROM pg_roles WHERE pg_has_role(usesysid, pg_roles.oid, 'MEMBER')
    AND has_any_column_privilege(pg_roles.oid, to_regclass('jobs'), 'UPDATE')
)
"""  # noqa: S608 - of our own words
)


def connected_workers(engine: Engine) -> dict[str, str]:
    """The owners of this table's workers, on any machine, that are connected; and what they take.

    A schema of the same database may hold another job table. Whoever may not write this one is no
    worker of it, whatever locks it holds.
    """
    with engine.begin() as connection:
        names = connection.scalars(_CONNECTED, {"ours": _OURS})
        found = (name.removeprefix(_NAME).partition(" ") for name in names)
        return {owner: takes for owner, _, takes in found}


#: How far ahead numbers that are taken are looked for.
_AHEAD = 10**9


def skip_taken(engine: Engine, column: Column[Any]) -> None:
    """Go on beyond the numbers of ``column`` that somebody has used without asking for them."""
    sequence = func.pg_get_serial_sequence(column.table.name, column.name)
    with engine.begin() as connection:
        here = connection.execute(select(func.nextval(sequence))).scalar_one()
        taken = column.between(here, here + _AHEAD)
        highest = connection.execute(select(func.max(column)).where(taken)).scalar_one()
        if highest is not None:
            connection.execute(select(func.setval(sequence, highest)))


@contextlib.contextmanager
def migrating(engine: Engine) -> Iterator[Connection]:
    """Prevents other migrations, on any machine, meanwhile."""
    with contextlib.closing(_alone(engine)) as connection:
        connection.exec_driver_sql(_lock("advisory_lock", _MIGRATION))
        yield connection


def keep_workers_out(connection: Connection) -> bool:
    """True if no worker is alive; then none can start while ``connection`` is open."""
    statement = _lock("try_advisory_lock", _WORKERS)
    out: bool = connection.exec_driver_sql(statement).scalar_one()
    return out
