"""The state store of a command. Slow imports are inside functions."""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import stat
from typing import TYPE_CHECKING, Self

from uploader import files
from uploader.core.database_url import is_shared
from uploader.core.errors import NotFound, StoreError, UsageError
from uploader.core.text import some
from uploader.runtime import Clock, SystemClock, importing

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from datetime import datetime
    from pathlib import Path

    from sqlalchemy import Engine

    from uploader.core.job import Scope
    from uploader.core.seal import Seal
    from uploader.settings.schema import Settings
    from uploader.store.history import Rows
    from uploader.store.jobs import Jobs
    from uploader.store.outbox import Outbox

_log = logging.getLogger(__name__)

#: What to do about a job that has a seal if there is no secret here.
SEALED_HINT = (
    "set database_secret_file to a copy of it; without one for good,"
    " `uploader retry ID --rescan` starts a job over (docs/operations.md §3)"
)
#: Of so many jobs a warning gives the numbers.
_MOST_NAMED = 5
_MIN_SECRET_BYTES, _MAX_SECRET_BYTES = 32, 4096
#: A mounted secret may be of a group that this user is in.
_EXPOSED = stat.S_IWGRP | stat.S_IRWXO


class Store:
    """The state store of one command: opened once at most, when it is first needed, and closed.

    Every method raises StoreError, and UsageError for an address that cannot be a store.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._engine: Engine | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._engine is not None:
            self._engine.dispose()
        for one in error:
            if isinstance(one, StoreError):
                locate(one, self._settings)

    def find(self) -> Jobs | None:
        """The job table; None if there is none yet. Creates nothing, never imports Alembic."""
        with importing("sqlalchemy"):
            from uploader.store.jobs import Jobs

        if not self._is_there():
            return None
        return Jobs(self._opened(), living=self.living, seal=seal(self._settings))

    def need(self) -> Jobs:
        """The job table. Raises NotFound if there is none yet."""
        jobs = self.find()
        if jobs is None:
            raise NotFound("there are no jobs yet", hint="`uploader enqueue PATH` makes one")
        return jobs

    def glimpse(self) -> Jobs | None:
        """The job table, for optional information: also None if it cannot be used as it is.

        Without its file not even SQLAlchemy is loaded.
        """
        file = self._settings.store_file
        with contextlib.suppress(OSError, StoreError, UsageError):
            return self.find() if file is None or file.exists() else None
        return None

    def known(self) -> Jobs | None:
        """The job table, for what depends on it: migrated first; None if there is none yet."""
        return None if self.version() is None else self.create()

    def create(self) -> Jobs:
        """The job table, created or migrated first (docs/architecture.md)."""
        from uploader.store.jobs import Jobs

        self.upgrade()
        return Jobs(self._opened(), living=self.living, seal=seal(self._settings))

    def outbox(self) -> Outbox | None:
        """The outbox of the hooks; None if there is no store yet."""
        from uploader.store.outbox import Outbox

        return Outbox(self._opened()) if self._is_there() else None

    def check(self) -> None:
        """Read a store in a file for damage; raises StoreError."""
        from uploader.store.database import dialect, sqlite

        engine = self._opened()
        if dialect.is_file(engine):
            with dialect.store_errors():
                sqlite.check(engine)

    def worker_alive(self) -> bool:
        """Is any worker of this store alive? With PostgreSQL it may be on another machine."""
        return bool(self.living())

    def prune(self, before: datetime, now: datetime, *, dry_run: bool) -> Rows:
        """Forget the jobs that ended before that time; or only count them."""
        from uploader.store.history import History, Rows

        if self.find() is None:
            return Rows()
        history = History(self._opened())
        told = hooks_of(self._settings)
        return history.count(before, told) if dry_run else history.prune_all(before, now, told)

    def sweep(self) -> None:
        """Remove the snapshots that no job needs any more; raises nothing."""
        if self._engine is not None:
            sweeper(self._settings, self._engine, SystemClock())()

    def living(self) -> dict[str, Scope]:
        """The workers of this store that live, by the owners of their leases, with their scopes.

        PostgreSQL knows them by itself. In the state folder there may be those of another table.
        """
        return living(self._settings, self._opened)

    def version(self) -> str | None:
        """The version of its schema; None if it is empty or not there at all."""
        from uploader.store.database import migrate
        from uploader.store.database.dialect import exists

        if self._engine is None and not exists(self._settings.database_url):
            return None
        return migrate.current_version(self._opened())

    def upgrade(self) -> str:
        """Bring the store up to date; returns its version."""
        from uploader.store.database import migrate

        migrate.ensure(self._opened(), self._settings.locks_dir)
        return migrate.HEAD

    def backup(self, path: Path | None) -> Path | None:
        """Make a copy at ``path``, or in place of the last copy; None if there is no store."""
        from uploader.store.database import migrate
        from uploader.store.database.dialect import exists

        if not exists(self._settings.database_url):
            return None
        return migrate.save(self._opened(), self._settings.locks_dir, path)

    def _is_there(self) -> bool:
        """Whether there is a store yet; raises StoreError if it is of another version."""
        from uploader.store.database import migrate

        if self.version() is None:
            return False
        migrate.require_head(self._opened())
        return True

    def _opened(self) -> Engine:
        from uploader.store.database.dialect import open_engine

        if self._engine is None:
            self._engine = open_engine(self._settings.database_url)
        return self._engine


def living(settings: Settings, opened: Callable[[], Engine]) -> dict[str, Scope]:
    """`Store.living` of a store that ``opened`` opens."""
    from uploader.store.database import workers
    from uploader.store.database.dialect import connected_workers

    here = workers.living(settings.locks_dir)
    if not is_shared(settings.database_url):
        return here
    connected = connected_workers(opened())
    return {owner: here.get(owner, workers.scope_of(owner, at)) for owner, at in connected.items()}


def others(settings: Settings, engine: Engine, owner: str) -> Callable[[], bool]:
    """Do workers live, beside ``owner``, that take every job? What it returns raises StoreError."""
    url, sealed = settings.fireworks.base_url, settings.database_secret_file is not None

    def are_there() -> bool:
        found = living(settings, lambda: engine)
        found.pop(owner, None)
        return any(scope.takes_all(url, sealed=sealed) for scope in found.values())

    return are_there


def seal(settings: Settings) -> Seal:
    """What seals the rows of the job table; raises UsageError for a secret that cannot be used."""
    from uploader.core.seal import NO_SEAL, Seal

    file = settings.database_secret_file
    return NO_SEAL if file is None else Seal(_secret(file))


def left_alone(settings: Settings, jobs: Jobs) -> str:
    """A warning about the jobs that no worker without the secret takes; empty if there are none."""
    found = [str(job.id) for job in jobs.needing_secret(settings.fireworks.base_url)]
    if not found:
        return ""
    which, them = f"jobs {some(found, _MOST_NAMED)} have seals", "them"
    if len(found) == 1:
        which, them = f"job {found[0]} has a seal", "it"
    return f"{which}, and no worker without the secret takes {them}"


def refuse_sealed(settings: Settings, jobs: Jobs, ids: Collection[int]) -> None:
    """Raises UsageError if of those jobs only some with a seal wait for a worker.

    One that started without the secret would end at once, again and again.
    """
    from uploader.core.job import Status

    sealed = {job.id for job in jobs.needing_secret(settings.fireworks.base_url)}.intersection(ids)
    active = [job for job in jobs.these(ids) if job.status is Status.ACTIVE] if sealed else []
    waiting = {job.id for job in active if job.unattended}
    if waiting and waiting <= sealed:
        words = f"job {min(waiting)} has a seal, and no worker without the secret takes it"
        raise UsageError(words, hint=SEALED_HINT)


def doubts(settings: Settings) -> str:
    """A warning about the way to the job table; empty if there is none, as to a file.

    Raises UsageError for an address that cannot be read.
    """
    if not is_shared(settings.database_url):
        return ""
    with importing("sqlalchemy"):
        from uploader.store.database import dialect
    return dialect.doubts(settings.database_url)


def _secret(file: Path) -> bytes:
    try:
        text, facts = files.read(file, _MAX_SECRET_BYTES + 1, pipe=True)
    except FileNotFoundError:
        hint = "copy it from a machine that has it; only for a table without jobs make a new one:"
        raise _refused(file, "is not there", f"{hint} {_made(file)}") from None
    except OSError as problem:
        hint = "let the user that runs uploader read it"
        raise _refused(file, f"cannot be read: {problem.strerror}", hint) from None
    if facts.st_uid not in (0, os.geteuid()):
        hint = f"`chown` it to the user that runs uploader, or to root: uid {os.geteuid()} or 0"
        raise _refused(file, f"belongs to uid {facts.st_uid}, who may replace it", hint)
    if facts.st_mode & _EXPOSED:
        hint = f"`chmod g-w,o= {shlex.quote(str(file))}`"
        raise _refused(file, "may be read or replaced by others", hint)
    secret = text.strip()
    if not _MIN_SECRET_BYTES <= len(secret) <= _MAX_SECRET_BYTES:
        why = f"must have {_MIN_SECRET_BYTES} to {_MAX_SECRET_BYTES} characters"
        raise _refused(file, why, f"for a table without jobs make a new one: {_made(file)}")
    return secret


def _made(file: Path) -> str:
    return f"`(umask 077; openssl rand -hex 32 > {shlex.quote(str(file))})`"


def _refused(file: Path, why: str, hint: str) -> UsageError:
    return UsageError(f"database_secret_file {file} {why}", hint=hint)


def locate(error: StoreError, settings: Settings) -> None:
    """Let ``error`` say where the store is, and which setting says so."""
    from uploader.store.database.dialect import place

    key = "database_url" if "database_url" in settings.given else "state_dir"
    given = settings.given.get(key)
    origin = given.origin if given else "its default; UPLOADER_STATE_DIR changes it"
    with contextlib.suppress(UsageError):
        error.locate(place(settings.database_url), f"{key} ({origin})")


def hooks_of(settings: Settings) -> list[str]:
    """The names of the hooks."""
    return [hook.name for hook in settings.hooks]


def sweeper(settings: Settings, engine: Engine, clock: Clock) -> Callable[[], None]:
    """Removes the snapshots that no job needs any more; raises nothing."""
    from uploader.sources.snapshot import Snapshots, Sweeper
    from uploader.store.jobs import Jobs

    if settings.snapshots is None:
        return lambda: None
    jobs, snapshots = Jobs(engine), Snapshots(settings.snapshots)
    return Sweeper(snapshots, jobs.snapshots, jobs.lineage.follows, clock).sweep
