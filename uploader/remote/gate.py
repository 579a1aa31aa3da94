"""The gate before the control plane: one rate limit per process.

See docs/life.md §6, docs/fireworks.md §8.
"""

from __future__ import annotations

import threading

from uploader.core.errors import RemoteError
from uploader.core.reasons import Code
from uploader.core.retry import Backoff
from uploader.core.verdict import Call, Verdict
from uploader.runtime import Clock


class Gate:
    """One rate limit for every control-plane call of a process; no thread waits in it."""

    def __init__(self, clock: Clock, backoff: Backoff | None = None) -> None:
        self._clock = clock
        self._backoff = backoff or Backoff()
        self._lock = threading.Lock()
        self._opens_s = 0.0
        self._closings = 0

    def check(self, call: Call) -> None:
        """Raises RemoteError (THROTTLED, with the seconds left) while the gate is closed."""
        with self._lock:
            left_s = self._opens_s - self._clock.boot_s()
        if left_s > 0:
            message = f"{call} waits: Fireworks asked this process to slow down"
            raise RemoteError(
                Verdict.THROTTLED,
                call,
                message,
                retry_after_s=left_s,
                code=Code.THROTTLED,
            )

    def close(self, retry_after_s: float | None) -> None:
        """Close it for the seconds that the server asked for, spread by a backoff."""
        with self._lock:
            now_s = self._clock.boot_s()
            if now_s >= self._opens_s:  # several answers at the same time count once
                self._closings += 1
            jitter = self._clock.jitter()
            delay_s = self._backoff.delay_s(max(1, self._closings), jitter, retry_after_s)
            self._opens_s = max(self._opens_s, now_s + delay_s)

    def passed(self) -> None:
        """An answer that was not a rate limit: the backoff starts again."""
        with self._lock:
            self._closings = 0
