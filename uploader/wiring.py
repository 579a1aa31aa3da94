"""The composition root: settings in, working parts out. Heavy imports wait inside functions."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from uploader.runtime import Clock, StopToken, SystemClock, spawn

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sqlalchemy import Engine

    from uploader.core.job import Event
    from uploader.engine.tools import Limits, Tools
    from uploader.engine.worker import Worker
    from uploader.remote.credentials import ApiKeySource
    from uploader.remote.fireworks import Fireworks
    from uploader.settings.schema import Settings
    from uploader.store.database.workers import WorkerLock
    from uploader.store.jobs import Jobs


def clock() -> Clock:
    return SystemClock()


# -- the store -------------------------------------------------------------------------------


def open_jobs(settings: Settings) -> Jobs:
    """The job table, created or migrated as design §4 says. Raises StoreError, UsageError."""
    from uploader.store.jobs import Jobs

    return Jobs(_migrated(settings))


def read_jobs(settings: Settings) -> Jobs | None:
    """The job table for looking only; None where there is none yet. Never imports Alembic."""
    from uploader.store.database import migrate
    from uploader.store.jobs import Jobs

    engine = _existing(settings)
    if engine is None or migrate.current_version(engine) is None:
        return None
    migrate.require_head(engine)
    return Jobs(engine)


def db_current(settings: Settings) -> str | None:
    """The store's schema version; None for an empty one, or none at all."""
    from uploader.store.database import migrate

    engine = _existing(settings)
    return None if engine is None else migrate.current_version(engine)


def _existing(settings: Settings) -> Engine | None:
    from uploader.store.database.dialect import exists, open_engine

    return open_engine(settings.database_url) if exists(settings.database_url) else None


def db_upgrade(settings: Settings) -> str:
    """Bring the store up to date; the version it has then."""
    from uploader.store.database import migrate

    _migrated(settings)
    return migrate.HEAD


def db_backup(settings: Settings, path: Path | None) -> Path | None:
    """A copy of the store, at ``path`` or where the last one went; None where there is no store."""
    from uploader.store.database import migrate

    engine = _existing(settings)
    return None if engine is None else migrate.save(engine, settings.state_dir, path)


def worker_alive(settings: Settings) -> bool:
    """Does any worker of this store live? With PostgreSQL it may be another machine's."""
    from uploader.store.database.dialect import worker_connected
    from uploader.store.database.workers import any_worker

    return any_worker(settings.state_dir) or worker_connected(settings.database_url)


def _migrated(settings: Settings) -> Engine:
    from uploader.store.database import migrate
    from uploader.store.database.dialect import open_engine

    engine = open_engine(settings.database_url)
    migrate.ensure(engine, settings.state_dir)
    return engine


# -- the worker ------------------------------------------------------------------------------


@contextlib.contextmanager
def worker(settings: Settings, on_event: Callable[[Event], None]) -> Iterator[Worker]:
    """A worker that lives, to all others, as long as the context lasts.

    Creates or migrates the store first. Raises StoreError, UsageError.
    """
    from uploader.engine.worker import Worker
    from uploader.store.database import migrate
    from uploader.store.database.dialect import ChangeWatch
    from uploader.store.database.workers import WorkerLock

    engine = _migrated(settings)
    with WorkerLock(settings.state_dir) as lock:
        watch = ChangeWatch(engine)
        try:
            migrate.require_head(engine)  # from here on nobody else migrates it
            yield Worker(_tools(settings, engine, lock, watch.changed, on_event))
        finally:
            watch.close()
            engine.dispose()


def _tools(
    settings: Settings,
    engine: Engine,
    lock: WorkerLock,
    changed: Callable[[], bool],
    on_event: Callable[[Event], None],
) -> Tools:
    from uploader.engine.throttle import Slots, Throttle
    from uploader.engine.tools import Tools
    from uploader.remote.fireworks import Fireworks
    from uploader.remote.gate import Gate
    from uploader.remote.sockets import SocketAdapter
    from uploader.remote.storage import Storage
    from uploader.store.claims import Claims
    from uploader.store.jobs import Jobs

    time, limits, own = clock(), _limits(settings), settings.fireworks
    gate, key = Gate(time, limits.backoff), _key(settings)

    def control(stop: StopToken) -> Fireworks:
        return Fireworks(own.base_url, key.read, time, gate, SocketAdapter(stop))

    def storage(stop: StopToken) -> Storage:
        return Storage(time, SocketAdapter(stop))

    return Tools(
        owner=lock.owner,
        base_url=own.base_url,
        account=own.account_id,
        jobs=Jobs(engine),
        claims=Claims(engine, on_event),
        clock=time,
        spawn=spawn,
        limits=limits,
        slots=Slots(settings.transfer.max_files),
        throttle=Throttle(time, settings.transfer.bandwidth_limit_bps),
        alive=lock.alive,
        changed=changed,
        key_fingerprint=key.fingerprint,
        control=control,
        storage=storage,
    )


def _key(settings: Settings) -> ApiKeySource:
    from uploader.remote.credentials import ApiKeySource

    own = settings.fireworks
    given = own.api_key.reveal() if own.api_key else None
    return ApiKeySource(given, own.api_key_file, own.api_key_command, settings.auth_ini)


def service(settings: Settings) -> Fireworks:
    """Fireworks, for a command that asks it once. Raises UsageError."""
    from uploader.remote.fireworks import Fireworks
    from uploader.remote.gate import Gate
    from uploader.remote.sockets import SocketAdapter

    time = clock()
    gate = Gate(time, _limits(settings).backoff)
    adapter = SocketAdapter(StopToken())
    return Fireworks(settings.fireworks.base_url, _key(settings).read, time, gate, adapter)


def _limits(settings: Settings) -> Limits:
    from uploader.core.retry import Backoff
    from uploader.engine.tools import Limits

    return Limits(
        max_jobs=settings.transfer.max_jobs,
        max_put_bytes=settings.transfer.chunk_size_bytes,
        poll_interval_s=settings.validation.poll_interval_s,
        deadline_s=settings.validation.deadline_s,
        lease_s=settings.lease.duration_s,
        backoff=Backoff(settings.retry.initial_delay_s, settings.retry.max_delay_s),
    )
