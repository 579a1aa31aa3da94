"""The laboratory with real threads, on a clock a hundred times as fast."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from tests.engine.conftest import DEADLINE_S, Lab
from tests.simulation.sim import EPOCH
from uploader.runtime import SystemClock
from uploader.threads import spawn


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


class FastLab(Lab):
    """The same with real threads, on a clock that is fast."""

    def __init__(
        self, folder: Path, clock: FastClock | None = None, database_url: str | None = None
    ) -> None:
        super().__init__(folder, clock or FastClock(), database_url)
        self.spawn = spawn

    def _at_boundary(self, name: str) -> None:
        self.boundary(name)

    def _simulate(self, body: Callable[[], object]) -> bool:
        body()
        return True

    def _spawn(self, name: str, run: Callable[[], None]) -> None:
        spawn(name, run)

    def until(self, reached: Callable[[], bool]) -> None:
        give_up, pause = threading.Event(), SystemClock()
        began_s = pause.boot_s()
        while not reached():
            assert pause.boot_s() - began_s < DEADLINE_S, self.dump()
            pause.wait(give_up, 0.005)
