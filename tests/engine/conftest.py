"""A laboratory: the whole engine in this process against the sandbox's core, on fast time."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from uploader.core.job import (
    Event,
    FileState,
    Job,
    Kind,
    Manifest,
    ManifestFile,
    NewJob,
    Stage,
    Status,
)
from uploader.core.redact import ApiKey
from uploader.core.retry import Backoff
from uploader.engine.context import Limits, WorkerContext
from uploader.engine.throttle import Slots, Throttle
from uploader.engine.worker import Worker
from uploader.remote.fireworks import Fireworks
from uploader.remote.gate import Gate
from uploader.remote.storage import Storage
from uploader.runtime import Clock, Spawn, StopToken, SystemClock, spawn
from uploader.sandbox.adapter import InProcessAdapter
from uploader.sandbox.world import World
from uploader.store.claims import Claims
from uploader.store.database.dialect import ChangeWatch, open_engine
from uploader.store.database.migrate import ensure
from uploader.store.database.workers import WorkerLock
from uploader.store.jobs import Jobs

GRANULE = 256 * 1024
DEADLINE_S = 30.0
EPOCH = datetime(2026, 11, 1, tzinfo=UTC)
LIMITS = Limits(
    max_jobs=2,
    max_put_bytes=4 * GRANULE,
    poll_interval_s=30.0,
    deadline_s=3600.0,
    lease_s=60.0,
    backoff=Backoff(1.0, 60.0),
)


class FastClock(SystemClock):
    """Real time, ``factor`` times as fast, that can also be moved by hand."""

    def __init__(self, factor: float = 100.0) -> None:
        self.factor = factor
        self.began = super().boot_s()
        self.moved_s = 0.0

    def boot_s(self) -> float:
        return (super().boot_s() - self.began) * self.factor + self.moved_s

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self.boot_s())

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        return super().wait(event, timeout_s / self.factor)


class Lab:
    """One state folder and one sandbox world; workers come and go."""

    def __init__(
        self,
        folder: Path,
        clock: Clock | None = None,
        spawn: Spawn = spawn,
        database_url: str | None = None,
    ) -> None:
        self.folder = folder
        self.clock = clock or FastClock()
        self.spawn = spawn
        self.world = World(
            data_dir=folder / "objects",
            now=lambda: EPOCH.timestamp() + self.clock.boot_s(),
            sleep=lambda seconds: self.clock.wait(threading.Event(), seconds),
        )
        self.world.base_url, self.world.storage_url = "http://127.0.0.1:1", "http://127.0.0.1:2"
        self.state = folder / "state"
        self.state.mkdir(mode=0o700, exist_ok=True)
        self.engine = open_engine(database_url or f"sqlite:///{self.state / 'uploader.db'}")
        ensure(self.engine, self.state)
        self.jobs = Jobs(self.engine)
        self.events: list[str] = []
        self.key = self.world.config.api_key
        self.account: str | None = None
        self.boundary: Callable[[str], object] = lambda _: None
        self.bytes_per_s: float | None = None

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

    def new_job(self, folder: Path) -> NewJob:
        """What enqueueing the folder as it is now would write."""
        stats = {path.name: path.stat() for path in sorted(folder.iterdir())}
        files = tuple(
            ManifestFile(name, stat.st_size, stat.st_mtime_ns, stat.st_ino)
            for name, stat in stats.items()
        )
        details = {"checkpointFormat": "HUGGINGFACE", "huggingfaceFiles": list(stats)}
        model = {"kind": Kind.BASE.remote, "baseModelDetails": {"worldSize": 1, **details}}
        return NewJob(
            base_url=self.world.base_url,
            account="sandbox",
            model_id=folder.name,
            kind=Kind.BASE,
            manifest=Manifest(str(folder), files),
            create_body={"modelId": folder.name, "model": model},
        )

    def enqueue(self, folder: Path, **changes: Any) -> int:
        new = replace(self.new_job(folder), **changes)
        return self.jobs.enqueue(new, self.clock.now())[0]

    # -- workers ---------------------------------------------------------------------------

    @contextlib.contextmanager
    def worker(self, **limits: Any) -> Iterator[Worker]:
        with WorkerLock(self.state) as lock:
            watch = ChangeWatch(self.engine)
            try:
                yield Worker(self.context(lock, watch.changed, replace(LIMITS, **limits)))
            finally:
                watch.close()

    def _at_boundary(self, name: str) -> object:
        return self.boundary(name)  # as it is then, not as it was when a session was opened

    def context(
        self, lock: WorkerLock, changed: Callable[[], bool], limits: Limits
    ) -> WorkerContext:
        gate = Gate(self.clock)

        def adapter() -> InProcessAdapter:
            return InProcessAdapter(self.world, self._at_boundary)

        def control(_: StopToken) -> Fireworks:
            return Fireworks(
                self.world.base_url, lambda: ApiKey(self.key), self.clock, gate, adapter()
            )

        return WorkerContext(
            owner=lock.owner,
            base_url=self.world.base_url,
            account=self.account,
            jobs=self.jobs,
            claims=Claims(self.engine, self.clock.now, self._heard),
            clock=self.clock,
            spawn=self.spawn,
            limits=limits,
            slots=Slots(4),
            throttle=Throttle(self.clock, self.bytes_per_s),
            alive=lock.alive,
            changed=changed,
            key_fingerprint=lambda: self.key,
            control=control,
            storage=lambda _: Storage(self.clock, adapter()),
        )

    def _heard(self, event: Event) -> None:
        self.events.append(event.kind)

    def run(self, **limits: Any) -> None:
        """One worker until idle."""
        with self.worker(**limits) as worker:
            self._finish(lambda: worker.run(until_idle=True))

    def run_until(self, reached: Callable[[], bool], **limits: Any) -> None:
        """One worker that is drained as soon as ``reached``."""
        with self.worker(**limits) as worker:
            thread = threading.Thread(target=worker.run, daemon=True)
            thread.start()
            self.until(reached)
            worker.drain()
            thread.join(DEADLINE_S)
            assert not thread.is_alive()

    def _finish(self, run: Callable[[], object]) -> None:
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(DEADLINE_S)
        assert not thread.is_alive(), self.dump()

    def until(self, reached: Callable[[], bool]) -> None:
        give_up, pause = threading.Event(), SystemClock()
        began_s = pause.boot_s()
        while not reached():
            assert pause.boot_s() - began_s < DEADLINE_S, self.dump()
            pause.wait(give_up, 0.005)

    # -- oracle ----------------------------------------------------------------------------

    def job(self, job_id: int = 1) -> Job:
        return self.jobs.job(job_id)

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
            assert (stored / file.path).read_bytes() == (Path(job.path) / file.path).read_bytes()
        assert report["early_validations"] == report["leaked_keys"] == 0
        assert report["bytes_below_confirmed"] == 0
        assert report["models"][job.model] == "READY"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    laboratory = Lab(tmp_path)
    yield laboratory
    laboratory.close()
