"""What the worker's loop does now and then, and when it is due."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from uploader.runtime import Clock


@dataclass(slots=True)
class Every:
    """A duty that is due every ``interval_s``."""

    interval_s: float
    last_s: float = -math.inf

    def due(self, boot_s: float) -> bool:
        """Whether it is due at ``boot_s``; if so, it counts as done then."""
        if boot_s - self.last_s < self.interval_s:
            return False
        self.last_s = boot_s
        return True

    def restart(self, boot_s: float) -> None:
        """From ``boot_s`` on it is not due for a whole interval."""
        self.last_s = boot_s


@dataclass(slots=True)
class Duties:
    """The periodic duties of the loop."""

    watching: Every
    #: The same with PostgreSQL as long as no job runs.
    resting: Every
    claiming: Every
    renewing: Every
    healing: Every
    pruning: Every
    sweeping: Every
    #: At a start, too: the clock may have been set back before.
    clearing: Every = field(default_factory=lambda: Every(300.0))
    #: When the next job that waits may be claimed.
    claimable_at: datetime | None = None
    #: Until when none is claimed, because there was no thread for the last one.
    no_thread_until_s: float = -math.inf

    def repeat(self, clock: Clock) -> None:
        """The store failed at one of them, so that what is due may not be done: it is due now."""
        for duty in (self.watching, self.resting, self.renewing):
            duty.last_s = -math.inf
        self.claimable_at = clock.now()

    def claim_is_due(self, clock: Clock) -> bool:
        """Whether to claim, even if nobody has committed; if it is, it counts as done now."""
        passed = self.claimable_at is not None and clock.now() >= self.claimable_at
        return self.claiming.due(clock.boot_s()) or passed


def wall_clock_at_boot(clock: Clock) -> datetime:
    """What the wall clock would have said then; it only changes if the clock is set."""
    return clock.now() - timedelta(seconds=clock.boot_s())
