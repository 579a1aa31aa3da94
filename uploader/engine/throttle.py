"""One bandwidth limit over every transfer of the worker."""

from __future__ import annotations

import threading

from uploader.runtime import Clock, StopToken


class Throttle:
    """Hands out the right to send, at most ``bytes_per_s`` on average; None is unlimited."""

    def __init__(self, clock: Clock, bytes_per_s: float | None) -> None:
        self._clock = clock
        self._bytes_per_s = bytes_per_s
        self._free_at = 0.0
        self._lock = threading.Lock()

    def take(self, count: int, stop: StopToken) -> None:
        """Wait until ``count`` bytes may go. Raises Stopped."""
        if self._bytes_per_s is not None:
            self._clock.wait(stop.event, self._reserve(count / self._bytes_per_s))
        stop.check()

    def _reserve(self, span_s: float) -> float:
        """Seconds to wait for a slot of ``span_s`` after those already reserved."""
        with self._lock:
            now = self._clock.boot_s()
            start = max(now, self._free_at)
            self._free_at = start + span_s
            return start - now


class Slots:
    """How many files are in flight, over all jobs of the worker."""

    def __init__(self, count: int) -> None:
        self._slots = threading.Semaphore(count)
        self._waiting: set[threading.Event] = set()
        self._lock = threading.Lock()

    def take(self, waiting: threading.Event) -> bool:
        """True if a slot was free; never waits. If not, ``waiting`` is set when one may be."""
        if self._slots.acquire(blocking=False):
            return True
        with self._lock:
            self._waiting.add(waiting)
        return self._slots.acquire(blocking=False)  # it may have been released just before

    def give(self) -> None:
        """Release a slot, and wake everybody who found none free."""
        self._slots.release()
        with self._lock:
            waiting, self._waiting = self._waiting, set()
        for event in waiting:
            event.set()
