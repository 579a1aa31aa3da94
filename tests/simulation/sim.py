"""One thread at a time, in seeded order, on a fake clock: the engine as a repeatable experiment.

Threads change hands only where the outside world could tell (docs/architecture.md §11): at an HTTP
exchange, a block read, the start of a transaction, or a wait. Each effect is a numbered boundary; a
crash at number k ends every thread there: nothing after it reaches the services or the database.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

EPOCH = datetime(2026, 11, 1, tzinfo=UTC)
#: A simulated worker that has not finished by then never will.
MAX_SIMULATED_S = 60 * 86_400.0


class Crash(BaseException):
    """The process is gone. No `except Exception` may hold it up."""


class Stuck(AssertionError):
    """No thread can ever run again, or simulated time is over."""


@dataclass(eq=False)
class Strand:
    """A thread that waits for its turn."""

    name: str
    baton: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    event: threading.Event | None = None
    deadline_s: float = 0.0
    done: bool = False

    def ready(self, now_s: float) -> bool:
        return now_s >= self.deadline_s or (self.event is not None and self.event.is_set())


class Sim:
    """A Clock and a `spawn` for WorkerContext; `crash_at` numbers the boundary that ends it all."""

    def __init__(self, seed: int, crash_at: int | None = None, began_s: float = 0.0) -> None:
        self.crash_at = crash_at
        self.boundaries = 0
        self.trace: list[str] = []
        self._random = random.Random(seed)
        self._now_s = began_s
        #: The wall clock's error, in seconds; `boot_s` never has one.
        self.stepped_s = 0.0
        self._dead = False
        self._current = Strand("main")
        self._strands = [self._current]
        self._errors: list[BaseException] = []

    # -- Clock -----------------------------------------------------------------------------

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self._now_s + self.stepped_s)

    def suspend(self, seconds: float) -> None:
        """The machine sleeps: every clock goes on, nothing runs."""
        self._now_s += seconds

    def boot_s(self) -> float:
        return self._now_s

    def jitter(self) -> float:
        return self._random.random()

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        self._switch(event, self._now_s + max(0.0, timeout_s))
        return event.is_set()

    # -- threads ---------------------------------------------------------------------------

    def spawn(self, name: str, run: Callable[[], None]) -> None:
        strand = Strand(name)
        self._strands.append(strand)
        threading.Thread(target=self._live, args=(strand, run), name=name, daemon=True).start()

    def _live(self, strand: Strand, run: Callable[[], None]) -> None:
        strand.baton.acquire()
        try:
            if not self._dead:
                run()
        except Crash:
            pass
        except BaseException as error:  # noqa: BLE001 - told by `run`
            self._errors.append(error)
        strand.done = True
        try:
            self._hand_over(self._pick())
        except Stuck as error:
            self._errors.append(error)
            self._dead = True
            self._hand_over(self._pick())

    def run(self, body: Callable[[], object]) -> bool:
        """Run ``body`` in this thread to its end; False if the crash came first."""
        crashed = False
        try:
            body()
        except Crash:
            crashed = True
        self._dead = True  # whatever is left, a daemon thread, ends with the process
        while any(not strand.done for strand in self._strands if strand is not self._strands[0]):
            self._switch(None, 0.0, dying=True)
        errors, self._errors = self._errors, []
        self._strands, self._dead = [self._current], False  # what it left behind has ended
        if errors:
            raise errors[0]
        return not crashed

    def boundary(self, name: str) -> None:
        """An effect is about to happen, or has just happened: switch, or crash."""
        self.effect(name)
        self._switch(None, 0.0)

    def effect(self, name: str) -> None:
        """As `boundary`, if this thread holds a lock the others need."""
        if self._dead:
            raise Crash
        self.boundaries += 1
        self.trace.append(f"{self.boundaries} {self._current.name}: {name}")
        if self.boundaries == self.crash_at:
            self._dead = True
            raise Crash

    def turn(self) -> None:
        """Let another thread go first; no effect."""
        self._switch(None, 0.0)

    def _switch(
        self, event: threading.Event | None, deadline_s: float, *, dying: bool = False
    ) -> None:
        if self._dead and not dying:
            raise Crash
        me = self._current
        me.event, me.deadline_s = event, deadline_s
        following = self._pick(me if dying else None)
        if following is not me:
            self._hand_over(following)
            me.baton.acquire()
        if self._dead and not dying:
            raise Crash

    def _hand_over(self, strand: Strand) -> None:
        self._current = strand
        strand.baton.release()

    def _pick(self, last: Strand | None = None) -> Strand:
        """Who runs next; ``last`` only if nobody else is left."""
        alive = [strand for strand in self._strands if not strand.done and strand is not last]
        if self._dead:
            return alive[-1] if alive else last or self._strands[0]
        ready = [strand for strand in alive if strand.ready(self._now_s)]
        if not ready:
            self._now_s = min(strand.deadline_s for strand in alive)
            if self._now_s > MAX_SIMULATED_S:
                raise Stuck("\n".join(self.trace[-60:]))
            ready = [strand for strand in alive if strand.ready(self._now_s)]
        return self._random.choice(ready)
