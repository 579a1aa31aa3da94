"""A laboratory on simulated time: crash anywhere, start again from the database alone."""

from __future__ import annotations

import random
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from tests.engine.conftest import GRANULE, Lab
from tests.simulation.again import command
from tests.simulation.sim import Sim
from uploader.engine.hashing import Digests

#: Two jobs, five files: several PUTs, a granule exactly, less than one, and a last odd byte.
FILES = {
    "one": {"a_bin": 3 * GRANULE + 1, "b_bin": GRANULE, "c_json": 7},
    "two": {"a_bin": 2 * GRANULE, "d_bin": GRANULE + 4097},
}
TOTAL = sum(sum(sizes.values()) for sizes in FILES.values())
RESTART_S = 5.0


@contextmanager
def simulated(source: Path, seed: int, **world: Any) -> Iterator[SimLab]:
    """A laboratory with both jobs enqueued; what goes wrong in it says how to replay it."""
    with tempfile.TemporaryDirectory() as folder:
        lab = SimLab(Path(folder), seed, **{"landing_polls": 1, **world})
        with closing(lab):
            for name in FILES:
                lab.enqueue(source / name)
            try:
                yield lab
            except BaseException as error:
                error.add_note(f"seed {seed}, {world}; the last boundaries:\n{lab.last_steps()}")
                error.add_note(f"again: {command()}")
                raise


def template(folder: Path) -> Path:
    """Two model folders for all runs."""
    dice = random.Random(1)
    for name, sizes in FILES.items():
        (folder / name).mkdir()
        for file, size in sizes.items():
            (folder / name / file.replace("_", ".")).write_bytes(dice.randbytes(size))
    return folder


class SimLab(Lab):
    """The engine, its database and its services under one `Sim` at a time."""

    def __init__(self, folder: Path, seed: int, **world: Any) -> None:
        self.seed = seed
        self.crashes = 0
        self.at_boundary: Callable[[str], None] = self.sim_boundary
        super().__init__(folder, Sim(seed))
        self.world.config.change(world)

    def run_once(
        self, crash_at: int | None = None, off_s: float = RESTART_S, **limits: Any
    ) -> bool:
        """One worker until idle, or until the crash; True if it came to the end.

        Before it starts the machine was off for ``off_s`` seconds.
        """
        self._begin(crash_at, off_s)
        ended = False

        def body() -> None:
            nonlocal ended
            usual = {"poll_interval_s": 1.0, "digests": Digests.ON}
            with self.worker(**{**usual, **limits}) as worker:
                ended = worker.run(until_idle=True)

        return self._simulate(body) and ended

    def run_until_killed(self, blocks: int, **limits: Any) -> None:
        """A worker that is killed once it has sent this many blocks."""
        sent = 0

        def kill(name: str) -> None:
            nonlocal sent
            sent += name == "put block"
            if sent == blocks:
                self.sim.crash_at = self.sim.boundaries + 1
            self.sim_boundary(name)

        self.at_boundary = kill
        assert not self.run_once(**limits)
        self.at_boundary = self.sim_boundary

    def _begin(self, crash_at: int | None, off_s: float) -> None:
        self.clock = Sim(self.seed + self.crashes, crash_at, self.clock.boot_s() + off_s)

    def _simulate(self, body: Callable[[], object]) -> bool:
        whole = super()._simulate(body)
        self.crashes += not whole
        return whole

    def _at_boundary(self, name: str) -> None:
        self.at_boundary(name)  # as it is then: tests change it under way

    def sim_boundary(self, name: str) -> None:
        """Where nothing else is to happen at a boundary."""
        self.sim.boundary(name)

    def run_forever(self, reached: Callable[[], bool]) -> None:
        """One worker, drained as soon as ``reached``."""
        self._begin(None, RESTART_S)

        def body() -> None:
            with self.worker(poll_interval_s=1.0) as worker:

                def watch() -> None:
                    while not reached():
                        self.clock.wait(threading.Event(), 1.0)
                    worker.drain()

                self.spawn("watch", watch)
                worker.run()

        assert self._simulate(body)

    def run_through(self, *crash_at: int) -> None:
        """Crash at each of the boundaries in turn, then go on undisturbed to the end."""
        for number in (*crash_at, None):
            if self.run_once(number):
                break
        else:
            raise AssertionError(f"not idle: {self.dump()}")

    def last_steps(self) -> str:
        return "\n".join(self.sim.trace[-40:])
