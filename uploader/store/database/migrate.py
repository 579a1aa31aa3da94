"""The schema's version: read by plain SQL, raised by Alembic (docs/architecture.md §10).

Alembic is only imported when a migration runs: `uploader status` must start fast.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

from uploader.core.errors import NotFound, StoreError, UsageError
from uploader.core.store_reasons import StoreCode
from uploader.core.text import flaw_of_path, shown
from uploader.store.database import dialect, postgresql, schema, sqlite
from uploader.store.database import workers as locks
from uploader.store.database.state_folder import (
    folder_not_linked,
    new_private_file,
    refuse_hostile_way,
)

#: Every revision, oldest first; a test compares them with the scripts.
VERSIONS = (
    *("0001", "0002", "0003", "0004", "0005", "0006"),
    *("0007", "0008", "0009", "0010", "0011", "0012"),
    *("0013", "0014", "0015", "0016", "0017", "0018"),
    "0019",
)
HEAD = VERSIONS[-1]

_SHORTER = "choose a shorter name"
_PACKAGE = Path(__file__).resolve().parents[2]
_log = logging.getLogger(__name__)


def migrations_dir() -> Path:
    """Inside the installed package, or next to it in a source checkout."""
    installed = _PACKAGE / "migrations"
    return installed if installed.is_dir() else _PACKAGE.parent / "migrations"


def current_version(engine: Engine) -> str | None:
    """The store's revision, None for an empty one.

    Raises StoreError, also for a database that belongs to another program.
    """
    with dialect.store_errors(), engine.begin() as connection:
        tables = inspect(connection).get_table_names()
        version = _stamp(connection) if "alembic_version" in tables else None
        flaw = _flaw(connection, version) if dialect.is_file(engine) else None
    if flaw:
        raise StoreError(f"the state store contains {flaw}", code=StoreCode.FOREIGN)
    if version is None and set(tables) - {"alembic_version"}:
        raise StoreError(
            "the state store contains another program's tables",
            code=StoreCode.FOREIGN,
        )
    return version


def _flaw(connection: Connection, version: str | None) -> str | None:
    if strangers := sqlite.strangers(connection):
        return f"a view or a trigger ({strangers[0]!r})"
    if connection.exec_driver_sql("PRAGMA encoding").scalar() != "UTF-8":
        return "text in UTF-16"
    return schema.flaw(connection, _made) if version == HEAD else None


def _made() -> frozenset[str]:
    """The tables of a new store, as the libraries here make them."""
    with tempfile.TemporaryDirectory() as folder:
        engine = dialect.open_engine(f"sqlite:///{folder}/new.db")
        try:
            upgrade(engine)
            with engine.connect() as connection:
                return schema.statements(connection)
        finally:
            engine.dispose()


def _stamp(connection: Connection) -> str | None:
    found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return found


def require_head(engine: Engine) -> None:
    """Raises StoreError unless this program and the store have the same schema."""
    version = current_version(engine)
    if version == HEAD:
        return
    if version is None:
        raise StoreError("the state store is empty", code=StoreCode.EMPTY)
    _refuse_newer(version)
    raise StoreError(
        f"the state store has version {version}, this program needs {HEAD}",
        hint="restart the service, or run `uploader db upgrade` while it is stopped",
        code=StoreCode.OLDER,
    )


def ensure(engine: Engine, locks_dir: Path) -> None:
    """Bring the store to HEAD: create an empty one, migrate an older one.

    A file is backed up first; PostgreSQL has its own tools for that. Raises StoreError for a newer
    store, and for an older one while a worker is alive.
    """
    version = current_version(engine)
    if version == HEAD:
        return
    _refuse_newer(version)
    with dialect.store_errors():
        folder_not_linked(locks_dir)
        with _alone(engine, locks_dir) as any_worker:
            _migrate(engine, any_worker)


@contextlib.contextmanager
def _alone(engine: Engine, locks_dir: Path) -> Iterator[Callable[[], bool]]:
    """Prevents other migrations meanwhile; yields a call that tells whether any worker is alive."""
    with locks.exclusive(locks_dir / locks.MIGRATION_LOCK):
        if dialect.is_file(engine):
            yield partial(locks.any_worker, locks_dir)
            return
        with postgresql.migrating(engine) as connection:
            yield lambda: not postgresql.keep_workers_out(connection)


def _migrate(engine: Engine, any_worker: Callable[[], bool]) -> None:
    # Check again: the process that had the lock before us may have done it.
    version = current_version(engine)
    _refuse_newer(version)
    if version is not None and version != HEAD:
        _refuse_while_worked_on(version, any_worker)
        if dialect.is_file(engine):
            backup(engine, Path(f"{engine.url.database}.backup-{version}"))
        else:
            _log.warning("migrating from version %s without a backup: pg_dump makes those", version)
    if version != HEAD:
        upgrade(engine)
        current_version(engine)  # what somebody else made before is still in it
        _make_shrinkable(engine)


def _make_shrinkable(engine: Engine) -> None:
    if not dialect.is_file(engine):
        return
    try:
        with dialect.store_errors():
            sqlite.make_shrinkable(engine)
    except StoreError as error:  # it works all the same, and its free pages are used again
        _log.warning("the state store cannot shrink: %s", error.message)


def _refuse_newer(version: str | None) -> None:
    if version is not None and version not in VERSIONS:
        raise StoreError(
            f"the state store has version {version}, newer than this program's {HEAD}",
            hint="install the newer uploader again, or restore a backup",
            code=StoreCode.NEWER,
        )


def _refuse_while_worked_on(version: str, any_worker: Callable[[], bool]) -> None:
    if any_worker():
        raise StoreError(
            f"the state store has version {version} and a worker of that version runs",
            hint="restart the service: it migrates the store as it starts",
            code=StoreCode.OLDER,
        )


def upgrade(engine: Engine) -> None:
    """Run every outstanding migration, each in its own transaction; raises StoreError."""
    from alembic import command  # noqa: PLC0415 - only if a migration runs
    from alembic.config import Config  # noqa: PLC0415

    logging.getLogger("alembic").setLevel(logging.WARNING)
    config = Config()
    # ConfigParser reads a lone % as the start of a variable.
    config.set_main_option("script_location", str(migrations_dir()).replace("%", "%%"))
    with dialect.store_errors(), dialect.writing(engine).connect() as connection:
        config.attributes["connection"] = connection
        unchecked = sqlite.unchecked_keys if dialect.is_file(engine) else contextlib.nullcontext
        with unchecked(connection):
            command.upgrade(config, "head")


def save(engine: Engine, locks_dir: Path, path: Path | None) -> Path:
    """Make a copy at ``path``, which must not exist yet; returns the copy's path.

    Without ``path`` the copy is made next to the store and replaces the last one made there. Raises
    UsageError, also for PostgreSQL, NotFound and StoreError.
    """
    if not dialect.is_file(engine):
        raise UsageError("the state store is in PostgreSQL", hint="back it up with pg_dump")
    target = path or Path(f"{engine.url.database}.backup")
    with dialect.store_errors():
        folder_not_linked(locks_dir)
        # One backup at a time, and never of a store that is half migrated.
        with locks.exclusive(locks_dir / locks.MIGRATION_LOCK):
            if path is not None:
                _refuse_target(path)
            backup(engine, target)
    return target


def _refuse_target(path: Path) -> None:
    if flaw := flaw_of_path(f"{path}{'x' * 60}"):  # it is written under a longer name
        raise UsageError(f"{shown(str(path))} cannot be written: it {flaw}", hint=_SHORTER)
    if os.path.lexists(path):
        raise UsageError(
            f"{path} already exists, and a backup replaces no file",
            hint="choose another name, or give none: that replaces the last backup made so",
        )
    refuse_hostile_way("backup", path)
    if not path.parent.is_dir():
        raise NotFound(f"there is no folder {path.parent}", hint="create it first")


def backup(engine: Engine, path: Path) -> None:
    """A consistent copy of the store at ``path`` (0600), while others go on writing.

    An earlier copy is only replaced once the new one is complete. It is made in a folder of its
    own: in one that others may write, SQLite would take their log for that of the copy. Raises
    StoreError.
    """
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    with dialect.store_errors():
        part.mkdir(mode=0o700)
        copy = part / "copy"
        try:
            new_private_file(copy)
            sqlite.copy(engine, copy)
            os.replace(copy, path)  # noqa: PTH105 - Path.replace says "rename"
        finally:
            shutil.rmtree(part, ignore_errors=True)
