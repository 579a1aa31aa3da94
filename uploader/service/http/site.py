"""What a route is given: the job table, the settings, the clock, and the token."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from uploader.service.http.looks import Looks
from uploader.service.http.tokens import Keeper

if TYPE_CHECKING:
    from uploader.runtime import Clock
    from uploader.settings.schema import Settings
    from uploader.store.jobs import Jobs


def no_worker() -> None:
    """There is no worker in this process."""


@dataclass(frozen=True, slots=True)
class Site:
    """One API. ``turned_s`` is when the worker of this process last turned its loop, if any.

    ``by_now`` gives the settings as the last reload left them.
    """

    by_now: Callable[[], Settings]
    jobs: Jobs
    keeper: Keeper
    clock: Clock
    turned_s: Callable[[], float | None] = field(default=no_worker)
    looks: Looks = field(default_factory=Looks)
    #: Looks that only list a folder: they take little, and wait for no preflight.
    listings: Looks = field(default_factory=Looks)

    @property
    def settings(self) -> Settings:
        """Those of this moment: a request reads them when it comes."""
        return self.by_now()

    def alive(self) -> bool:
        """Does the worker of this process turn its loop, if there is one?"""
        turned_s = self.turned_s()
        lease_s = self.settings.lease.duration_s
        return turned_s is None or self.clock.boot_s() - turned_s < lease_s
