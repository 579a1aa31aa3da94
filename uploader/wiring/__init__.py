"""The composition root: settings in, working parts out. Slow imports are inside functions."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from uploader.core.addresses import is_plain
from uploader.core.errors import StoreError, UsageError
from uploader.runtime import (
    Clock,
    StopToken,
    SystemClock,
    open_files,
    processors,
    share_memory,
)
from uploader.threads import spawn
from uploader.wiring.stores import SEALED_HINT as SEALED_HINT
from uploader.wiring.stores import Store as Store
from uploader.wiring.stores import doubts as doubts
from uploader.wiring.stores import hooks_of, others, refuse_sealed, sweeper
from uploader.wiring.stores import left_alone as left_alone
from uploader.wiring.stores import locate as locate
from uploader.wiring.stores import seal as seal

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from datetime import datetime
    from ssl import SSLContext

    from sqlalchemy import Engine

    from uploader.core.job import Event, Job
    from uploader.core.limits import InForce, Move
    from uploader.engine.context import Limits, WorkerContext
    from uploader.engine.hashing import Digests
    from uploader.engine.worker import Worker
    from uploader.remote.credentials import ApiKeySource
    from uploader.remote.fireworks import Fireworks
    from uploader.remote.gate import Gate
    from uploader.remote.storage import Storage
    from uploader.settings.schema import Settings
    from uploader.store.claims import Claims
    from uploader.store.database.workers import WorkerLock
    from uploader.store.jobs import Jobs
    from uploader.store.marks import Marks

_log = logging.getLogger(__name__)

#: Some hundred small files in flight, each with a source and a socket that is held twice.
OPEN_FILES = 2048

#: With this many processors, one can hash while another one sends.
_SPARE = 2


def clock() -> Clock:
    """The machine's clock."""
    return SystemClock()


# -- the worker ------------------------------------------------------------------------------


@contextlib.contextmanager
def worker(
    settings: Settings,
    on_event: Callable[[Event], None],
    only: Collection[int] | None = None,
    by_now: Callable[[], Settings] | None = None,
) -> Iterator[tuple[Worker, Jobs]]:
    """A worker that counts as alive as long as the context lasts, and its job table.

    ``only``: the ids of the jobs that it is for; it changes no others. None: all jobs.
    ``by_now``: the settings that limits and hooks are taken from, if those may change meanwhile.

    Creates or migrates the store first. Raises StoreError, UsageError.
    """
    from uploader.core.job import Scope
    from uploader.engine.worker import Worker
    from uploader.store.claims import Claims
    from uploader.store.database import migrate
    from uploader.store.database.dialect import ChangeWatch, open_engine
    from uploader.store.database.workers import WorkerLock, word_of
    from uploader.store.jobs import Jobs

    ids, secret = None if only is None else frozenset(only), settings.database_secret_file
    scope = Scope(settings.fireworks.base_url, ids, secret is not None)
    engine: Engine | None = None
    try:
        engine = open_engine(settings.database_url)
        migrate.ensure(engine, settings.locks_dir)
        # Before it counts as a worker: a disk that does not answer may hold it up here.
        for concern in concerns(settings, engine):
            _log.warning("%s", concern)
        with (
            WorkerLock(settings.locks_dir, scope) as lock,
            contextlib.closing(ChangeWatch(engine, lock.owner, word_of(scope))) as watch,
        ):
            jobs = Jobs(engine, seal=(sealing := seal(settings)))
            migrate.require_head(engine)  # from here on nobody else migrates it
            if only is None and (sealed := left_alone(settings, jobs)):
                _log.warning("%s (%s)", sealed, SEALED_HINT)
            claims = Claims(engine, clock().now, on_event, scope.only, sealing)
            given = by_now or (lambda: settings)
            share_memory()
            context = _context(settings, engine, lock, watch.changed, claims, given)
            if only is None:
                context = replace(context, prune=_pruning(given, engine))
            yield Worker(context), jobs
    except StoreError as error:
        locate(error, settings)
        raise
    finally:
        if engine is not None:
            engine.dispose()


def work_on(
    settings: Settings,
    jobs: Jobs,
    ids: Sequence[int],
    show: Callable[[Sequence[Job]], None],
    *,
    timeout_s: float | None = None,
    on_event: Callable[[Event], None] = lambda _: None,
) -> list[Job]:
    """Bring just those jobs to their ends, and return them as they ended: the one-shot upload.

    ``jobs`` is the job table of an open `Store`, ``show`` is called with the jobs about once a
    second. Where a worker runs already that takes them, nothing is sent from here: it is followed,
    and its work is taken over if it dies. See `uploader.engine.oneshot`, whose promises these are;
    ``on_event`` is called, in other threads, with what a worker of this process writes.

    Raises WaitTimedOut, NotFound, StoreError, UsageError.
    """
    from uploader.engine.oneshot import work_on

    @contextlib.contextmanager
    def opened() -> Iterator[Worker]:
        refuse_sealed(settings, jobs, ids)
        with worker(settings, on_event, ids) as (made, _):
            yield made

    return work_on(jobs, ids, clock(), spawn, opened, show=show, timeout_s=timeout_s)


def trust(settings: Settings) -> SSLContext:
    """The authorities that servers are trusted by; raises UsageError for a bad bundle."""
    from uploader.remote.trust import context

    return context(settings.fireworks.ca_bundle)


def tls_of(settings: Settings) -> Callable[[], SSLContext]:
    """`trust`, for whoever connects by TLS first: reading the authorities takes long.

    Raises UsageError for a bad bundle, unless nothing may need it.
    """
    own = settings.fireworks
    if own.ca_bundle and not is_plain(own.base_url):
        trust(settings)
    return lambda: trust(settings)


def slowness() -> str:
    """A warning about what makes every upload from this machine slow; empty if nothing does."""
    from uploader.sources import checksum

    return checksum.slowness()


def concerns(settings: Settings, engine: Engine) -> Iterator[str]:
    """A warning for each thing on this machine that hinders a worker or endangers its store.

    Raises StoreError if the store is damaged; on a disk that may be unsafe, it is read as a whole.
    """
    from uploader import mounts
    from uploader.settings.hooks import deaf
    from uploader.settings.strangers import replaceable
    from uploader.store.database import dialect, sqlite

    yield from (*deaf(settings.hooks), *replaceable(settings))
    if table := settings.store_file:
        doubts = mounts.doubts(table)
        with dialect.store_errors():
            sqlite.check(engine, whole=bool(doubts))
        yield from (doubts,) if doubts else ()
    if slow := slowness():
        yield slow
    if (files := open_files(OPEN_FILES)) < OPEN_FILES:
        yield (
            f"only {files} files may be open at once, which may be too few for many small files:"
            f" `ulimit -n {OPEN_FILES}`, LimitNOFILE= in a unit, or a smaller transfer.max_files"
        )


def _context(
    settings: Settings,
    engine: Engine,
    lock: WorkerLock,
    changed: Callable[[], bool],
    claims: Claims,
    by_now: Callable[[], Settings],
) -> WorkerContext:
    from uploader.core.tuning import START
    from uploader.engine.context import WorkerContext
    from uploader.engine.rest import Rest
    from uploader.engine.throttle import Slots, Throttle
    from uploader.engine.tuning import AutoFiles
    from uploader.model.links import Private
    from uploader.remote.gate import Gate
    from uploader.store.jobs import Jobs

    time, limits, key = clock(), _limits(settings), key_source(settings)
    control, storage = _services(settings, time, Gate(time, limits.backoff), key)
    jobs, slots = Jobs(engine, seal=seal(settings), wary=True), Slots(time, START)
    throttle = Throttle(time, slots)

    def keep(move: Move) -> None:
        with contextlib.suppress(StoreError):  # the worker's loop reports that
            jobs.limits.add_move(lock.owner, move)

    return WorkerContext(
        owner=lock.owner,
        base_url=settings.fireworks.base_url,
        account=settings.fireworks.account_id,
        jobs=jobs,
        claims=claims,
        clock=time,
        spawn=spawn,
        limits=limits,
        slots=slots,
        throttle=throttle,
        auto=AutoFiles(time, slots, throttle, keep),
        in_force=_limits_in_force(jobs, by_now),
        private=Private(settings.private_paths),
        alive=lock.alive,
        changed=changed,
        rest=Rest(time, others(settings, engine, lock.owner)),
        tidy=sweeper(settings, engine, time),
        key_fingerprint=key.fingerprint,
        key_file=key.path,
        control=control,
        storage=storage,
        marks=_marks(settings),
    )


def _marks(settings: Settings) -> Marks:
    """What is known of transfers that were killed, without those of long ago."""
    from uploader.store.database import dialect
    from uploader.store.marks import Marks

    marks = Marks(settings.state_dir / "marks")
    with dialect.store_errors():
        marks.sweep(clock().now())
    return marks


def _limits_in_force(jobs: Jobs, by_now: Callable[[], Settings]) -> Callable[[], InForce]:
    """What users chose, over what is configured; a text that is not a limit stops no worker."""
    from uploader.settings.limits import KEYS, in_force, readable

    told: set[str] = set()

    def now() -> InForce:
        transfer, chosen = by_now().transfer, jobs.limits.chosen()
        for name in sorted(KEYS.keys() & chosen.keys() - readable(chosen).keys() - told):
            told.add(name)
            _log.warning(
                "the limit %s that was chosen cannot be read: what is configured holds", name
            )
        return in_force(transfer, chosen)

    return now


def _services(
    settings: Settings, time: Clock, gate: Gate, key: ApiKeySource
) -> tuple[Callable[[StopToken], Fireworks], Callable[[StopToken], Storage]]:
    """What makes a client of Fireworks, and one of the storage behind it, for a stop token."""
    from uploader.remote.sockets import SocketAdapter
    from uploader.remote.storage import Storage

    tls = tls_of(settings)

    def control(stop: StopToken) -> Fireworks:
        return _fireworks(settings, key, gate, stop)

    def storage(stop: StopToken) -> Storage:
        return Storage(
            time,
            SocketAdapter(stop, tls),
            plain=is_plain(settings.fireworks.base_url),
            slowest_uplink_bps=settings.transfer.slowest_uplink_bps,
        )

    return control, storage


def key_source(settings: Settings) -> ApiKeySource:
    """Where the API key is read from."""
    from uploader.remote.credentials import ApiKeySource

    own = settings.fireworks
    given = own.api_key.reveal() if own.api_key else None
    return ApiKeySource(given, own.api_key_file, own.api_key_command, settings.auth_ini)


def api_key_origin(settings: Settings) -> str:
    """Where the API key that a worker would use comes from; empty if there is none.

    Raises UsageError if a place is configured that gives no key. May take 30 s.
    """
    from uploader.core.errors import RemoteError

    key = key_source(settings)
    try:
        key.read()
    except RemoteError as problem:
        if settings.fireworks.api_key_file or settings.fireworks.api_key_command:
            raise UsageError(problem.message, hint=problem.hint, code=problem.code) from None
        return ""
    return key.origin


def api_key_kind(settings: Settings) -> str:
    """What kind of key it is, by how it begins; nothing else of it. Raises RemoteError."""
    key = key_source(settings).read().reveal()
    return "a key of Fireworks (fw_…)" if key.startswith("fw_") else "it does not begin with fw_"


def server_time(settings: Settings) -> datetime | None:
    """What the service takes for the time. Raises RemoteError if it does not answer, UsageError."""
    from uploader.remote.reach import server_time as asked
    from uploader.remote.sockets import SocketAdapter

    return asked(settings.fireworks.base_url, SocketAdapter(StopToken(), tls_of(settings)))


def service(settings: Settings) -> Fireworks:
    """Fireworks, for a command that asks it once. Raises UsageError."""
    from uploader.remote.gate import Gate

    gate = Gate(clock(), _limits(settings).backoff)
    return _fireworks(settings, key_source(settings), gate, StopToken())


def _fireworks(settings: Settings, key: ApiKeySource, gate: Gate, stop: StopToken) -> Fireworks:
    from uploader.remote.answers import MAX_CONTROL_BYTES
    from uploader.remote.fireworks import Fireworks
    from uploader.remote.sockets import SocketAdapter

    adapter = SocketAdapter(stop, tls_of(settings), max_answer_bytes=MAX_CONTROL_BYTES)
    return Fireworks(settings.fireworks.base_url, key.reader(stop), clock(), gate, adapter)


def _pruning(by_now: Callable[[], Settings], engine: Engine) -> Callable[[], bool]:
    """One step of forgetting jobs that ended long ago; tells whether there may be more of them."""
    from uploader.store.history import History, Rows

    keep_s, history = by_now().history.keep_s, History(engine)
    if keep_s is None:
        return lambda: False

    def prune() -> bool:
        now, told = clock().now(), hooks_of(by_now())
        return history.prune(now - timedelta(seconds=keep_s), now, told) != Rows()

    return prune


def _digests(settings: Settings) -> Digests:
    """Whether SHA-256 is computed: unless it is asked for, only with a processor to spare."""
    from uploader.engine.hashing import Digests

    wanted = Digests(settings.integrity.sha256)
    return Digests.OFF if wanted is Digests.AUTO and processors() < _SPARE else wanted


def _limits(settings: Settings) -> Limits:
    from uploader.core.retry import Backoff
    from uploader.engine.context import Limits

    return Limits(
        max_put_bytes=settings.transfer.chunk_size_bytes,
        poll_interval_s=settings.validation.poll_interval_s,
        deadline_s=settings.validation.deadline_s,
        lease_s=settings.lease.duration_s,
        backoff=Backoff(settings.retry.initial_delay_s, settings.retry.max_delay_s),
        recreate=settings.transfer.recreate,
        digests=_digests(settings),
    )
