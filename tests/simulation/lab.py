"""A laboratory on simulated time: crash anywhere, start again from the database alone."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, event, inspect, select, text

from tests.engine.conftest import GRANULE, Lab
from tests.simulation.sim import Sim
from uploader.core.job import Job, Mode, Stage, Status
from uploader.store.dialect import open_engine, sqlite_url
from uploader.store.migrate import upgrade

#: Two jobs, five files: several PUTs, a granule exactly, less than one, and a last odd byte.
FILES = {
    "one": {"a_bin": 3 * GRANULE + 1, "b_bin": GRANULE, "c_json": 7},
    "two": {"a_bin": 2 * GRANULE, "d_bin": GRANULE + 4097},
}
TOTAL = sum(sum(sizes.values()) for sizes in FILES.values())
MAX_RUNS = 12
RESTART_S = 5.0


def template(folder: Path) -> Path:
    """A migrated, empty database and two model folders, to be copied for each run."""
    engine = open_engine(sqlite_url(folder / "uploader.db"))
    upgrade(engine)
    with engine.connect() as connection:
        connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
    engine.dispose()
    dice = random.Random(1)
    for name, sizes in FILES.items():
        (folder / name).mkdir()
        for file, size in sizes.items():
            (folder / name / file.replace("_", ".")).write_bytes(dice.randbytes(size))
    return folder


class SimLab(Lab):
    """The engine, its database and its services under one `Sim` at a time."""

    def __init__(self, folder: Path, source: Path, seed: int, **world: Any) -> None:
        self.seed = seed
        self.source = source
        self.crashes = 0
        self._simulating = False
        (folder / "state").mkdir(mode=0o700)
        shutil.copyfile(source / "uploader.db", folder / "state" / "uploader.db")
        super().__init__(folder, Sim(seed))
        self.world.config.change(world)
        self._hook(self.engine)

    @property
    def sim(self) -> Sim:
        assert isinstance(self.clock, Sim)
        return self.clock

    def _hook(self, engine: Engine) -> None:
        seen: dict[int, int] = {}

        @event.listens_for(engine, "connect")
        def quick(connection: Any, _: object) -> None:
            connection.execute("PRAGMA synchronous = OFF")

        @event.listens_for(engine, "before_cursor_execute")
        def begin(*of: Any) -> None:
            if self._simulating and of[2].startswith("BEGIN"):
                self.sim.turn()  # once it has begun, nobody else could write

        @event.listens_for(engine, "commit")
        def commit(connection: Connection) -> None:
            raw = connection.connection.driver_connection
            changes = getattr(raw, "total_changes", 0)
            if self._simulating and seen.get(id(raw), 0) != changes:
                self.sim.effect("commit")
            seen[id(raw)] = changes

    def run_once(self, crash_at: int | None, **limits: Any) -> bool:
        """One worker until idle, or until the crash; True where it came to the end."""
        self.clock = Sim(self.seed + self.crashes, crash_at, self.clock.boot_s() + RESTART_S)
        self.spawn = self.sim.spawn
        self.boundary = self.sim.boundary
        ended = False

        def body() -> None:
            nonlocal ended
            with self.worker(**{"poll_interval_s": 1.0, **limits}) as worker:
                ended = worker.run(until_idle=True)

        self._simulating = True
        try:
            whole = self.sim.run(body)
        finally:
            self._simulating = False
        self.crashes += not whole
        return whole and ended

    def run_through(self, *crash_at: int) -> None:
        """Crash at each of the boundaries in turn, then go on undisturbed to the end."""
        for number in (*crash_at, None):
            if self.run_once(number):
                break
        else:
            raise AssertionError(f"not idle: {self.dump()}")

    def replay(self) -> str:
        return "\n".join(self.sim.trace[-40:])
