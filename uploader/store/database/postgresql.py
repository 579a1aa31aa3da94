"""Everything that is PostgreSQL's: how it is opened, how it begins, what its errors mean.

Every writing transaction takes one advisory lock first, so that there is one writer at a time as
with SQLite, and whatever holds there holds here: one open job per model, events in the order of
their commits. The driver is imported only if such a store is used.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from sqlalchemy import URL, Connection, DateTime, Engine, create_engine, event, func, text
from sqlalchemy.exc import DBAPIError

from uploader.core.errors import UsageError
from uploader.core.reasons import Code
from uploader.store.database.causes import Cause

DRIVER = "postgresql+psycopg"
#: How people write it.
NAMES = ("postgresql", "postgres", DRIVER)
#: The taker of an expired lease waits so much longer, in seconds (docs/architecture.md §9).
TAKER_WAITS_S = 10.0
#: The clock that decides leases; unlike now() it does not stand still in a transaction.
CLOCK = func.clock_timestamp(type_=DateTime(timezone=True))

_WRITING = "uploader_writing"
#: Advisory locks are two numbers: ours begin with "uplo", then which one.
_OURS = 0x75706C6F
_WRITER, _MIGRATION, _WORKERS = 1, 2, 3
#: Who stops inside a transaction (SIGSTOP, a suspended laptop) holds the others up so long.
_IDLE_S = 10.0
#: What the URL does not say otherwise. A network that swallows packets is noticed in 30 s.
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
    Code.UNREACHABLE,
    "cannot be reached: PostgreSQL does not answer",
)
_REFUSED = Cause(
    Code.LOGIN_REFUSED,
    "cannot be entered: PostgreSQL refuses this user, password or database",
    "check user, password and database in database_url, and the server's pg_hba.conf",
)
_SETTINGS = Cause(
    Code.LOGIN_REFUSED,
    "cannot be entered: the database URL has a setting that PostgreSQL does not know",
    "check what follows the ? in database_url",
)
_READ_ONLY = Cause(
    Code.READ_ONLY,
    "cannot be written: PostgreSQL allows this user, or this server, only to read",
    "grant the user its database; a standby cannot be written to",
)
_LOCKED = Cause(
    Code.LOCKED,
    "was held up by another session for too long",
    "try again; pg_stat_activity shows who holds it",
)
_FULL = Cause(
    Code.DISK_FULL, "has no room to grow", "free space on PostgreSQL's disk, then try again"
)
_CROWDED = Cause(
    Code.CROWDED,
    "cannot be used: PostgreSQL is out of connections or memory",
)
_DAMAGED = Cause(
    Code.IO, "cannot be read or written: PostgreSQL reports damage", "see the server's own log"
)
_MIGRATED = Cause(
    Code.NEWER, "was migrated while this worker was cut off from it", "restart the service"
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
    "58": _DAMAGED,
    "XX": _DAMAGED,
}
#: The server's words if a connection is refused: libpq hands no SQLSTATE on.
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
    if state is not None:
        return _CAUSES.get(state) or _CAUSES.get(state[:2])
    return _unanswered(error)


def _unanswered(error: BaseException) -> Cause | None:
    import psycopg  # noqa: PLC0415 - loaded already: it raised this

    words = str(error)
    if isinstance(error, psycopg.ProgrammingError) and "connect" in words:
        return _SETTINGS
    if not isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return None
    if any(crowd in words for crowd in _TOO_MANY):
        return _CROWDED
    return _REFUSED if any(refusal in words for refusal in _REFUSALS) else _UNREACHABLE


def open_database(url: URL, lock_timeout_s: float) -> Engine:
    """The store behind ``url``; nothing is connected yet. Raises UsageError without a driver."""
    try:
        engine = create_engine(
            url.set(drivername=DRIVER),
            connect_args={k: v for k, v in _CONNECTING.items() if k not in url.query},
            # One consistent view; `writing` has its own.
            isolation_level="REPEATABLE READ",
            pool_pre_ping=True,
            # A row may hold a session URI; no exception may print it (docs/invariants.md §8).
            hide_parameters=True,
            use_native_hstore=False,
        )
    except ImportError:
        hint = "pip install 'uploader[postgresql]'"
        raise UsageError("a store in PostgreSQL needs its driver", hint=hint) from None
    _prepare(engine, lock_timeout_s)
    return engine


def _prepare(engine: Engine, lock_timeout_s: float) -> None:
    settings = (
        f"SET lock_timeout = {lock_timeout_s * 1000:.0f};"
        f"SET idle_in_transaction_session_timeout = {_IDLE_S * 1000:.0f};"
        "SET TIME ZONE 'UTC';"
        # A machine that lost its power is no worker for two hours more, the systems' default.
        "SET tcp_keepalives_idle = 10;"
        "SET tcp_keepalives_interval = 5;"
        "SET tcp_keepalives_count = 4;"
        # A committed row survives a pulled plug, whatever the server's default.
        "SELECT set_config('synchronous_commit', 'on', false)"
        " WHERE current_setting('synchronous_commit') IN ('off', 'local')"
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: object) -> None:
        if connection.info.parameter_status("server_encoding") != "UTF8":
            hint = "create it with ENCODING 'UTF8'"
            raise UsageError("the PostgreSQL database does not keep text as UTF-8", hint=hint)
        connection.execute(settings)
        connection.commit()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        if connection.get_execution_options().get(_WRITING):
            connection.exec_driver_sql(_lock("advisory_xact_lock", _WRITER))


def _lock(function: str, which: int) -> str:
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


class Changes:
    """What another process's commit moves, on a connection that shows that this worker lives.

    The lock it shares goes with the connection: who migrates asks for it
    (docs/architecture.md §10).
    """

    def __init__(self, engine: Engine, owner: str) -> None:
        self._engine = engine
        self._owner = owner
        self._lives = 0
        self._version: str | None = None
        self._connection = self._connected()

    def look(self) -> tuple[int, int]:
        """Another connection than before counts as a change."""
        if not self._connection.closed:
            with contextlib.suppress(DBAPIError):
                return self._asked()
            self.close()
        self._connection = self._connected()
        return self._asked()

    def close(self) -> None:
        """Give the connection up, and with it the lock that shows that this worker lives."""
        self._connection.close()

    def _connected(self) -> Connection:
        connection = _alone(self._engine)
        try:
            connection.execute(_NAMED, {"name": _NAME + self._owner})
            connection.exec_driver_sql(_lock("advisory_lock_shared", _WORKERS))
        except BaseException:
            connection.close()
            raise
        self._lives += 1
        return connection

    def _asked(self) -> tuple[int, int]:
        row = self._connection.exec_driver_sql(
            "SELECT coalesce(max(seq), 0), (SELECT version_num FROM alembic_version) FROM events"
        ).one()
        self._version = self._version or row[1]
        if row[1] != self._version:
            raise _MIGRATED.error()
        return self._lives, row[0]


#: What the connection of a worker is called, for everybody to see, its owner after it.
_NAME = "uploader worker "
_NAMED = text("SELECT set_config('application_name', :name, false)")
_CONNECTED = text(
    "SELECT application_name FROM pg_locks JOIN pg_database ON pg_database.oid = database"
    " JOIN pg_stat_activity USING (pid)"
    " WHERE pg_database.datname = current_database() AND locktype = 'advisory' AND granted"
    " AND classid = :ours AND objid = :workers AND mode = 'ShareLock'"
)


def connected_workers(engine: Engine) -> frozenset[str]:
    """The owners of this database's workers, on whatever machine, that are connected to it."""
    with engine.begin() as connection:
        ids = {"ours": _OURS, "workers": _WORKERS}
        names = connection.scalars(_CONNECTED, ids)
        return frozenset(name.removeprefix(_NAME) for name in names)


@contextlib.contextmanager
def migrating(engine: Engine) -> Iterator[Connection]:
    """Nobody else, on whatever machine, migrates meanwhile."""
    with contextlib.closing(_alone(engine)) as connection:
        connection.exec_driver_sql(_lock("advisory_lock", _MIGRATION))
        yield connection


def keep_workers_out(connection: Connection) -> bool:
    """True if none lives; then none begins while ``connection`` lasts."""
    statement = _lock("try_advisory_lock", _WORKERS)
    out: bool = connection.exec_driver_sql(statement).scalar_one()
    return out
