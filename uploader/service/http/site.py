"""What a route is given: the job table, the settings, the clock, and the token."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from uploader.service.http.tokens import Keeper

if TYPE_CHECKING:
    from uploader.runtime import Clock
    from uploader.settings.schema import Settings
    from uploader.store.jobs import Jobs


def always() -> bool:
    """Alive as long as it answers: there is no worker in this process."""
    return True


@dataclass(frozen=True, slots=True)
class Site:
    """One API. ``alive`` says whether the worker of this process still turns its loop."""

    settings: Settings
    jobs: Jobs
    keeper: Keeper
    clock: Clock
    alive: Callable[[], bool] = field(default=always)
