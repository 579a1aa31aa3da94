"""The slots of one upload: a large file has one for itself, small ones share one."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable

from uploader.core.upload import EXCHANGE_EVERY_S, abreast
from uploader.engine.throttle import Slots

#: Threads that open sessions: at least, and at most if round trips are long.
OPENERS = 2
MOST_OPENERS = 16
#: How many sessions a thread opens in a row: as a rule, and if round trips take next to no time.
OPENED_IN_A_ROW = 4
MOST_IN_A_ROW = 16
#: How many small files share a slot if round trips are long.
SMALL_PER_SLOT = 8


class Berths:
    """Whoever gets a slot gives it back by the function that it gets: from any thread, and once.

    Calling that function again does nothing.
    """

    def __init__(
        self, slots: Slots, job_id: int, waiting: threading.Event, shares: Callable[[], bool]
    ) -> None:
        """``waiting`` is set when a slot may be free after none was.

        ``shares``: may small files share a slot? Not if a user has said how many are in flight.
        """
        self._slots = slots
        self._job_id = job_id
        self._waiting = waiting
        self._shares = shares
        self._lock = threading.Lock()
        #: Small files in flight, and the slots that they share.
        self._small = 0
        self._shared = 0
        self._round_trip_s = 0.0

    def saw(self, round_trips_s: Iterable[float | None]) -> None:
        """How many seconds the last small exchanges took."""
        if known := [trip_s for trip_s in round_trips_s if trip_s is not None]:
            self._round_trip_s = min(known)

    @property
    def openers(self) -> int:
        """How many threads may open sessions."""
        return max(OPENERS, abreast(self._round_trip_s, MOST_OPENERS))

    @property
    def opened_in_a_row(self) -> int:
        """How many sessions a thread opens before it says so."""
        is_short = 0.0 < self._round_trip_s < EXCHANGE_EVERY_S
        return MOST_IN_A_ROW if is_short else OPENED_IN_A_ROW

    def take(self, *, small: bool) -> Callable[[], None] | None:
        """A slot for one file, or a place in one for a small file; None if none is free."""
        if not (small and self._shares()):
            return _once(self._give) if self._slots.take(self._job_id, self._waiting) else None
        joins = self._joins(abreast(self._round_trip_s, SMALL_PER_SLOT))
        return _once(self._leave) if joins else None

    def _joins(self, most: int) -> bool:
        with self._lock:
            if self._slots.is_anothers_turn(self._job_id):
                return False  # a slot that is shared would never become free by itself
            if most == 1 and self._small > self._round_trip_s // EXCHANGE_EVERY_S:
                return False  # there is no round trip to hide: they would only take turns to run
            if self._small >= self._shared * most:
                if not self._slots.take(self._job_id, self._waiting):
                    return False
                self._shared += 1
            self._small += 1
        return True

    def _leave(self) -> None:
        most = abreast(self._round_trip_s, SMALL_PER_SLOT)
        with self._lock:
            self._small -= 1
            free = max(0, self._shared - -(-self._small // most))
            self._shared -= free
        for _ in range(free):
            self._give()

    def _give(self) -> None:
        self._slots.give(self._job_id)


def _once(give: Callable[[], None]) -> Callable[[], None]:
    calls = itertools.count()  # its `next` is atomic
    return lambda: None if next(calls) else give()
