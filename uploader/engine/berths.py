"""The slots of one upload: a large file has one for itself, small ones share one."""

from __future__ import annotations

import threading
from collections.abc import Callable

from uploader.engine.throttle import Slots


class Berths:
    """Whoever gets a slot gives it back by the function that it gets, from any thread."""

    def __init__(self, slots: Slots, job_id: int, waiting: threading.Event) -> None:
        """``waiting`` is set when a slot may be free after none was."""
        self._slots = slots
        self._job_id = job_id
        self._waiting = waiting
        self._lock = threading.Lock()
        #: Small files in flight, and the slots that they share.
        self._small = 0
        self._shared = 0

    def take(self) -> Callable[[], None] | None:
        """A slot for one file; None if none is free."""
        taken = self._slots.take(self._job_id, self._waiting)
        return self._give if taken else None

    def share(self, most: int) -> Callable[[], None] | None:
        """A place for a small file in a slot that up to ``most`` of them share; None if full."""
        with self._lock:
            if self._slots.yields(self._job_id):
                return None  # a slot that is shared would never become free by itself
            if self._small >= self._shared * most:
                if not self._slots.take(self._job_id, self._waiting):
                    return None
                self._shared += 1
            self._small += 1
        return lambda: self._leave(most)

    def _leave(self, most: int) -> None:
        with self._lock:
            self._small -= 1
            free = self._shared - -(-self._small // most)
            self._shared -= free
        for _ in range(free):
            self._give()

    def _give(self) -> None:
        self._slots.give(self._job_id)
