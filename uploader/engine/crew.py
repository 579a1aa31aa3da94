"""The threads that wait for the network during one upload, and the connections they use."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from uploader.core.errors import NoThread, Stopped
from uploader.engine.berths import Berths
from uploader.engine.context import WorkerContext
from uploader.engine.disks import silent
from uploader.remote.storage import Storage
from uploader.runtime import StopToken

_TICK_S = 1.0
#: Seconds: a connection idle for longer may have been closed by the server and is not reused.
_RESTED_S = 10.0
_E = TypeVar("_E", bound="Errand")


@dataclass(slots=True)
class Lane:
    """A storage client and the token that stops it; one errand at a time uses it.

    The next errand finds its connection open, so a small file costs no handshake.
    """

    stop: StopToken
    storage: Storage
    rests_since_s: float = 0.0


class Errand:
    """Work for a thread of its own: `run`, which raises whatever ends it early.

    `error` and then `ended` are written last, by that thread; the deciding thread reads them.
    """

    def __init__(self, stop: StopToken, lane: Lane | None = None) -> None:
        self.stop = stop
        self.lane = lane
        #: Nobody writes any more what it finds out: it just ends.
        self.quiet = False
        self.error: Exception | None = None
        self.ended = False
        #: Gives back what it has of the worker's; may be called more than once.
        self.done: Callable[[], None] = lambda: None
        #: Its source held it up, so it has no slot any more: it ends once that costs nothing.
        self.slotless = False
        #: How many seconds it ran, once it has ended by itself.
        self.took_s: float | None = None

    @property
    def round_trip_s(self) -> float | None:
        """How many seconds one small exchange took, if it made any."""
        return None

    @property
    def prepares(self) -> bool:
        """Whether it has sent nothing yet: it may be reading its source for long."""
        return False

    def cut(self) -> None:
        """Shut its sockets down, if they are still its own and not those of the next errand."""
        if self.lane is not None:
            self.stop.cut()

    def run(self) -> None:
        """Do the work, in the errand's own thread; raises whatever ends it early."""
        raise NotImplementedError


class _NotStarted(Stopped):
    """There was no thread for this errand while others had theirs."""


class Crew:
    """The running errands of one upload. Only `stop` and `cut` may be called from any thread.

    ``lapsed``: has the lease ended? If so, no errand sends anything any longer.
    """

    def __init__(self, context: WorkerContext, job_id: int, lapsed: Callable[[], bool]) -> None:
        self.wake = threading.Event()
        self.stopped = False
        #: No thread can be started as long as all of these run.
        self.crowded = False
        self.berths = Berths(context.slots, job_id, self.wake, lambda: context.auto.finds)
        self._context = context
        self._job_id = job_id
        self._lapsed = lapsed
        self._errands: list[Errand] = []
        self._resting: list[Lane] = []

    @property
    def tokens(self) -> tuple[StopToken, ...]:
        """The stop tokens of the errands. For any thread."""
        return tuple(errand.stop for errand in tuple(self._errands))

    @property
    def holds_back(self) -> bool:
        """Whether its files take so long to read that no further one is begun."""
        reads_for_long = any(one.slotless and one.prepares for one in self._errands)
        return reads_for_long or any(map(silent, self.tokens))

    @property
    def busy(self) -> bool:
        """Whether an errand is running, or has ended and not been taken yet."""
        return bool(self._errands)

    def token(self) -> StopToken:
        """A new stop token, which stops by itself once the lease has lapsed."""
        return StopToken(self._lapsed, self._context.clock.boot_s)

    def lane(self) -> Lane:
        """A lane that no errand is using."""
        if not self._resting:
            for errand in self._errands:
                if errand.ended:
                    self._rest(errand)
        if not self._resting:
            stop = self.token()
            return Lane(stop, self._context.storage(stop))
        lane = self._resting.pop()
        if self._context.clock.boot_s() - lane.rests_since_s > _RESTED_S:
            lane.storage.close()
        return lane

    def of(self, kind: type[_E]) -> list[_E]:
        """The running errands of that kind."""
        return [errand for errand in self._errands if isinstance(errand, kind)]

    def start(self, name: str, errand: Errand, done: Callable[[], None] = lambda: None) -> None:
        """Run ``errand`` in a thread; ``done`` is called when it has ended.

        Before, too, if a disk holds it up: so it must do nothing when it is called again.

        If no thread can be started, the errand ends: with that error if it is the only one, else
        as if it had been stopped, and none starts until another has ended.
        """
        errand.done = done
        self._errands.append(errand)
        try:
            self._context.spawn(name, lambda: self._thread(errand))
        except NoThread as error:
            self.crowded = len(self._errands) > 1
            self._end(errand, _NotStarted() if self.crowded else error)
        if self.stopped:  # `stop` may have looked just before the errand was added
            errand.stop.stop()

    def take_ended(self) -> list[Errand]:
        """Take the errands that have ended since the last call; their lanes are free again."""
        self._let_go()
        ended = [errand for errand in self._errands if errand.ended]
        if not all(isinstance(errand.error, _NotStarted) for errand in ended):
            self.crowded = False
        for errand in ended:
            self._errands.remove(errand)
            self._rest(errand)
        return ended

    def stop(self) -> None:
        """Every errand stops at its next block, and none starts."""
        self.stopped = True
        for errand in tuple(self._errands):
            errand.stop.stop()
        self.wake.set()

    def cut(self) -> None:
        """Like `stop`, but also shut the sockets down."""
        self.stop()
        for errand in tuple(self._errands):
            errand.stop.cut()

    def join(self) -> None:
        """Cut whatever still runs and wait for its end; nobody takes what it found out."""
        for errand in self._errands:
            errand.quiet = True
        if self._errands and not self.stopped:
            self.cut()
        while not all(errand.ended for errand in self._errands):
            self._context.clock.wait(self.wake, _TICK_S)
            self.wake.clear()
            self._let_go()
        self.take_ended()
        for lane in self._resting:
            lane.storage.close()
        self._resting.clear()

    def _let_go(self) -> None:
        """Whoever waits for a silent disk leaves its slot to others; so does who reads for long."""
        slots = self._context.slots
        for errand in self._errands:
            if errand.ended:
                continue
            reads = errand.prepares and not errand.slotless
            if silent(errand.stop) or (reads and slots.lets_go(self._job_id)):
                errand.slotless = True
                errand.done()

    def _thread(self, errand: Errand) -> None:
        error: Exception | None = None
        began_s = self._context.clock.boot_s()
        try:
            errand.run()
            errand.took_s = self._context.clock.boot_s() - began_s
        except Exception as caught:  # noqa: BLE001 - judged by the thread that decides
            error = caught
        finally:
            self._end(errand, error)

    def _end(self, errand: Errand, error: Exception | None) -> None:
        errand.error = error
        errand.ended = True
        errand.done()
        self.wake.set()

    def _rest(self, errand: Errand) -> None:
        lane, errand.lane = errand.lane, None
        if lane is None:
            return
        if errand.error is not None or lane.stop.stopped:
            lane.storage.close()
        if not lane.stop.stopped:
            lane.rests_since_s = self._context.clock.boot_s()
            self._resting.append(lane)
