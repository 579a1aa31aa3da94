"""The limits that users change while the worker runs."""

from __future__ import annotations

from uploader.engine.context import WorkerContext

#: Seconds between two readings: a worker's own progress counts as a change, too.
_READS_EVERY_S = 0.5


class Steering:
    """Keeps the worker to the limits in force; for the thread of the worker's loop."""

    def __init__(self, context: WorkerContext) -> None:
        #: How many jobs are taken at once; none before the limits were read.
        self.max_jobs = 0
        self._context = context
        self._outdated = True
        self._read_s = float("-inf")

    def outdate(self) -> None:
        """What was read no longer holds: the configuration has changed."""
        self._outdated = True

    def follow(self, *, changed: bool) -> None:
        """Read the limits again if the store has ``changed``. Raises StoreError."""
        now_s = self._context.clock.boot_s()
        self._outdated = self._outdated or changed
        if not self._outdated or now_s - self._read_s < _READS_EVERY_S:
            return
        force = self._context.in_force()
        self._context.throttle.set(force.bandwidth)
        self._context.auto.set(None if force.files == "auto" else force.files)
        self.max_jobs, self._outdated, self._read_s = force.jobs, False, now_s
