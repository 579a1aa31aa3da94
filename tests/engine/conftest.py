"""A laboratory: the whole engine in this process against the sandbox's core.

Time is simulated: threads run one at a time and change hands at an exchange, a block, a
transaction or a wait, in an order that a seed decides, so a test's outcome does not depend on the
machine. If real threads are the subject, `tests.engine.fast` runs them on a clock a hundred times
as fast.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
from sqlalchemy import Connection, Engine, event, text

from tests.simulation.sim import EPOCH, Sim
from tests.sqlite import sqlite_url
from uploader.core.job import (
    Event,
    FileState,
    Kind,
    Manifest,
    ManifestFile,
    NewJob,
    Scope,
    Stage,
    Status,
)
from uploader.core.limits import InForce, Move
from uploader.core.redact import ApiKey
from uploader.core.retry import Backoff
from uploader.core.seal import NO_SEAL, Seal, SealedJob
from uploader.core.timetable import always
from uploader.core.tuning import START
from uploader.core.whole_job import WholeJob
from uploader.engine.context import Limits, WorkerContext
from uploader.engine.rest import Rest
from uploader.engine.throttle import Slots, Throttle
from uploader.engine.tuning import AutoFiles
from uploader.engine.worker import Worker
from uploader.model.fingerprint import fingerprint_of, same
from uploader.model.links import NOTHING, leads_outside
from uploader.remote.credentials import ApiKeySource
from uploader.remote.fireworks import Fireworks
from uploader.remote.gate import Gate
from uploader.remote.storage import Storage
from uploader.runtime import Clock, StopToken
from uploader.sandbox.adapter import InProcessAdapter
from uploader.sandbox.world import World
from uploader.store.claims import Claims
from uploader.store.database.dialect import ChangeWatch, open_engine
from uploader.store.database.migrate import ensure, upgrade
from uploader.store.database.workers import WorkerLock, living
from uploader.store.jobs import Jobs
from uploader.store.marks import Marks
from uploader.threads import Spawn

GRANULE = 256 * 1024
#: For what real threads do; generous, since only a failing test waits for it.
DEADLINE_S = 60.0
#: For what simulated threads do, by their clock.
SIMULATED_DEADLINE_S = 4 * 3600.0
#: Another one is another order of threads: all tests hold with each.
SEED = int(os.environ.get("UPLOADER_TEST_SEED", "1"))
#: What takes the write lock: SQLite's own, and what stands for it on PostgreSQL.
_BEGINNINGS = ("BEGIN", "SELECT pg_advisory_xact_lock")
LIMITS = Limits(
    max_put_bytes=4 * GRANULE,
    poll_interval_s=30.0,
    deadline_s=3600.0,
    lease_s=60.0,
    backoff=Backoff(1.0, 60.0),
)


class Lab:
    """One state folder and one sandbox world; workers come and go, on simulated time."""

    def __init__(
        self, folder: Path, clock: Clock | None = None, database_url: str | None = None
    ) -> None:
        self.folder = folder
        self.clock = clock or Sim(SEED)
        self.world = World(
            data_dir=folder / "objects",
            now=lambda: EPOCH.timestamp() + self.clock.boot_s(),
            sleep=lambda seconds: self.clock.wait(threading.Event(), seconds),
        )
        self.world.base_url, self.world.storage_url = "http://127.0.0.1:1", "http://127.0.0.1:2"
        self.state = folder / "state"
        self.state.mkdir(mode=0o700, exist_ok=True)
        database = self.state / "uploader.db"
        if database_url is None:
            database.write_bytes(empty_store())
        self.engine = open_engine(database_url or sqlite_url(database))
        ensure(self.engine, self.state)
        self.seal = NO_SEAL
        self.jobs = Jobs(self.engine)
        self.events: list[str] = []
        self.key = self.world.config.api_key
        self.key_is_there = True
        #: Where workers read the key, if it is not `key` that they have.
        self.key_source: ApiKeySource | None = None
        self.account: str | None = None
        #: The jobs that its workers are for; None: all.
        self.only: frozenset[int] | None = None
        self.spawn: Spawn = self._spawn
        self.boundary: Callable[[str], object] = lambda _: None
        self.bytes_per_s: float | None = None
        self.max_files: int | Literal["auto"] = START
        self.max_jobs = 2
        self.moves: list[Move] = []
        self.private = NOTHING
        self.marks = Marks(self.state / "marks")
        self.marks.sweep(EPOCH)
        self._simulating = False
        self._crossed = threading.Event()
        if isinstance(self.clock, Sim):
            self._hook(self.engine)

    @property
    def sim(self) -> Sim:
        assert isinstance(self.clock, Sim)
        return self.clock

    def _hook(self, engine: Engine) -> None:
        """Threads change hands before a transaction begins, never within one."""
        seen: dict[int, int] = {}

        def quick(connection: Any, _: object) -> None:
            connection.execute("PRAGMA synchronous = OFF")

        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", quick)

        @event.listens_for(engine, "before_cursor_execute")
        def begin(*of: Any) -> None:
            if self._simulating and of[2].startswith(_BEGINNINGS):
                self.sim.turn()  # once it has begun, nobody else could write

        @event.listens_for(engine, "commit")
        def commit(connection: Connection) -> None:
            raw = connection.connection.driver_connection
            changes = getattr(raw, "total_changes", 0)
            if self._simulating and seen.get(id(raw), 0) != changes:
                self.sim.effect("commit")
            seen[id(raw)] = changes

    def close(self) -> None:
        self.engine.dispose()

    # -- input -----------------------------------------------------------------------------

    def model(self, name: str = "model", **sizes: int) -> Path:
        """A folder of random files; keyword names have `_` for `.`."""
        folder = self.folder / name
        folder.mkdir()
        for file, size in (sizes or {"a_bin": 3 * GRANULE + 5}).items():
            (folder / file.replace("_", ".")).write_bytes(os.urandom(size))
        return folder

    def use(self, seal: Seal) -> None:
        """From now on, commands and workers have the secret of ``seal``."""
        self.seal, self.jobs = seal, Jobs(self.engine, seal=seal)

    def new_job(self, folder: Path) -> NewJob:
        """What enqueueing the folder as it is now would write."""
        stats = {path.name: path.stat() for path in sorted(folder.iterdir())}
        files = tuple(
            ManifestFile(
                name,
                stat.st_size,
                fingerprint_of(stat, str(leads_outside(folder, name) or "")),
            )
            for name, stat in stats.items()
        )
        details = {"checkpointFormat": "HUGGINGFACE", "huggingfaceFiles": list(stats)}
        model = {"kind": Kind.BASE.remote, "baseModelDetails": {"worldSize": 1, **details}}
        return NewJob(
            base_url=self.world.base_url,
            account="sandbox",
            model_id=folder.name,
            kind=Kind.BASE,
            manifest=Manifest(str(folder), files, same),
            create_body={"modelId": folder.name, "model": model},
        )

    def enqueue(self, folder: Path, **changes: Any) -> int:
        new = replace(self.new_job(folder), **changes)
        return self.jobs.enqueue(new, self.clock.now())[0]

    # -- workers ---------------------------------------------------------------------------

    @contextlib.contextmanager
    def worker(self, **limits: Any) -> Iterator[Worker]:
        scope = Scope(self.world.base_url, self.only)
        with WorkerLock(self.state, scope) as lock:
            watch = ChangeWatch(self.engine)
            try:
                yield Worker(self.context(lock, watch.changed, replace(LIMITS, **limits)))
            finally:
                watch.close()

    def _at_boundary(self, name: str) -> None:
        self.boundary(name)  # as it is then, not as it was when a session was opened
        self._crossed.set()
        self.sim.boundary(name)

    def context(
        self, lock: WorkerLock, changed: Callable[[], bool], limits: Limits
    ) -> WorkerContext:
        gate = Gate(self.clock)

        def adapter() -> InProcessAdapter:
            return InProcessAdapter(self.world, self._at_boundary)

        def control(stop: StopToken) -> Fireworks:
            source = self.key_source
            key = (lambda: ApiKey(self.key)) if source is None else source.reader(stop)
            return Fireworks(self.world.base_url, key, self.clock, gate, adapter())

        slots = Slots(self.clock, START)
        throttle = Throttle(self.clock, slots)
        return WorkerContext(
            owner=lock.owner,
            base_url=self.world.base_url,
            account=self.account,
            jobs=Jobs(self.engine, seal=self.seal, wary=True),
            claims=Claims(self.engine, self.clock.now, self._heard, self.only, self.seal),
            clock=self.clock,
            spawn=self.spawn,
            limits=limits,
            slots=slots,
            throttle=throttle,
            auto=AutoFiles(self.clock, slots, throttle, self.moves.append),
            in_force=self.in_force,
            private=self.private,
            alive=lock.alive,
            changed=changed,
            rest=Rest(self.clock, functools.partial(self._others, lock.owner)),
            key_fingerprint=lambda: self.key if self.key_is_there else None,
            key_file=self.key_source.path if self.key_source else None,
            control=control,
            storage=lambda _: Storage(self.clock, adapter(), plain=True),
            marks=self.marks,
        )

    def _others(self, owner: str) -> bool:
        found = living(self.state)
        found.pop(owner, None)
        return any(scope.takes_all(self.world.base_url, sealed=False) for scope in found.values())

    def in_force(self) -> InForce:
        """As the lab's own fields say when a worker starts, and when the store changes."""
        rate_bps = None if self.bytes_per_s is None else round(self.bytes_per_s)
        return InForce(always(rate_bps), self.max_files, self.max_jobs)

    def _heard(self, event: Event) -> None:
        self.events.append(event.kind)

    def run(self, **limits: Any) -> None:
        """One worker until idle."""
        with self.worker(**limits) as worker:
            self.finish(lambda: worker.run(until_idle=True))

    def run_until(self, reached: Callable[[], bool], **limits: Any) -> None:
        """One worker that is drained as soon as ``reached``."""
        with self.worker(**limits) as worker:
            self.drive(worker, reached)

    def drive(self, worker: Worker, reached: Callable[[], bool]) -> None:
        """The worker runs in a thread of its own, and is drained as soon as ``reached``."""

        def watch() -> None:
            self.until(reached)
            worker.drain()

        self.finish(worker.run, watch)

    def finish(self, *runs: Callable[[], object]) -> None:
        """All of them at once, each in a thread of its own, to their ends."""

        def body() -> None:
            for ended in [self._start(run) for run in runs]:
                assert self.clock.wait(ended, SIMULATED_DEADLINE_S), self.dump()

        self._simulate(body)

    def _simulate(self, body: Callable[[], object]) -> bool:
        self._simulating = True
        try:
            return self.sim.run(body)
        finally:
            self._simulating = False

    def _spawn(self, name: str, run: Callable[[], None]) -> None:
        self.sim.spawn(name, run)

    def _start(self, run: Callable[[], object]) -> threading.Event:
        """Run it in a thread of its own; the event is set once it has ended."""
        ended = threading.Event()

        def body() -> None:
            try:
                run()
            finally:
                ended.set()
                self._crossed.set()

        self._spawn("test", body)
        return ended

    def until(self, reached: Callable[[], bool]) -> None:
        """Looks after each exchange and block of any thread, and four times a second."""
        give_up_s = self.clock.boot_s() + SIMULATED_DEADLINE_S
        while not reached():
            assert self.clock.boot_s() < give_up_s, self.dump()
            self._crossed.clear()
            self.clock.wait(self._crossed, 0.25)

    def passed(self, seconds: float) -> Callable[[], bool]:
        """For `until`: has so much time passed since now?"""
        began_s = self.clock.boot_s()
        return lambda: self.clock.boot_s() - began_s > seconds

    # -- oracle ----------------------------------------------------------------------------

    def job(self, job_id: int = 1) -> WholeJob:
        return self.jobs.job(job_id)

    def sealed(self, job_id: int = 1) -> SealedJob:
        return self.jobs.sealed(self.job(job_id))

    def file(self, path: str = "a.bin", job_id: int = 1) -> FileState:
        return next(file for file in self.jobs.files(job_id) if file.path == path)

    def object(self, path: str = "a.bin", model: str = "model") -> dict[str, Any]:
        found: dict[str, Any] = self.world.report()["objects"][f"sandbox/{model}/{path}"]
        return found

    def kinds(self, job_id: int = 1) -> list[str]:
        return [event.kind for event in self.jobs.events(job_id)]

    def dump(self) -> str:
        lines = [
            f"{e.seq} job {e.job_id} {e.kind} {e.path} {e.message}" for e in self.jobs.events()
        ]
        return "\n".join([*lines, *map(repr, self.jobs.jobs()), str(self.world.report())])

    def assert_ready(self, job_id: int = 1) -> None:
        """READY, identical, one create effect, nothing early, nothing below the confirmed."""
        job, report = self.job(job_id), self.world.report()
        assert (job.stage, job.status) == (Stage.READY, Status.DONE), self.dump()
        stored = self.folder / "objects" / "sandbox" / job.model_id
        for file in self.jobs.files(job_id):
            assert file.stored
            content = (Path(job.path) / file.path).read_bytes()
            assert (stored / file.path).read_bytes() == content
            assert file.sha256 in (None, hashlib.sha256(content).hexdigest())
        assert report["early_validations"] == report["leaked_keys"] == 0
        assert report["bytes_below_confirmed"] == 0
        assert report["models"][job.model] == "READY"


@functools.cache
def empty_store() -> bytes:
    """A migrated SQLite file without jobs."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "uploader.db"
        engine = open_engine(sqlite_url(path))
        upgrade(engine)
        with engine.connect() as connection:
            connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
        engine.dispose()
        return path.read_bytes()


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    laboratory = Lab(tmp_path)
    yield laboratory
    laboratory.close()
