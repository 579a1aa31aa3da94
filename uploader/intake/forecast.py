"""What an upload would take, at a rate that was given or measured."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from uploader.core.errors import StoreError
from uploader.core.job import Manifest
from uploader.core.resumable import SESSION_LIFE_S
from uploader.core.text import duration, size
from uploader.core.timetable import Timetable, local_time
from uploader.model.finding import Finding, warning

if TYPE_CHECKING:
    from uploader.store.jobs import Jobs
    from uploader.store.uploaded import Uploaded

#: A limit that takes less of a rate is not worth mentioning.
_AS_FAST = 0.999
#: How many jobs that have ended are looked at: the last one of them that was uploaded counts.
_RECENT = 100
#: A smaller upload says more of the time that requests take than of the bandwidth.
_TELLING_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Forecast:
    """A rate in bytes per second, and where it comes from, in words."""

    rate_bps: float
    because: str

    def takes_s(self, manifest: Manifest) -> float:
        """How many seconds all the files take at this rate."""
        return manifest.size_bytes / self.rate_bps

    def session_life(self, manifest: Manifest, max_files: int) -> Iterable[Finding]:
        """A warning if the largest file, sharing the rate with ``max_files``, is too slow."""
        if not manifest.files:
            return
        largest = max(manifest.files, key=lambda file: file.size_bytes)
        sharing = min(max_files, len(manifest.files))
        # A file alone is faster, and no file can take longer than the whole upload.
        needs_s = min(largest.size_bytes * sharing / self.rate_bps, self.takes_s(manifest))
        if needs_s > SESSION_LIFE_S:
            message = (
                f"{largest.path} needs up to {duration(needs_s)} at {size(self.rate_bps)}/s; "
                "a session lives a week"
            )
            hint = "save the model in smaller shards, or lower transfer.max_files"
            yield warning("session_life", largest.path, message, hint)


def forecast(
    given_bps: float | None, limit: Timetable, jobs: Jobs | None, size_bytes: int, now: datetime
) -> Forecast | None:
    """How ``size_bytes`` would go from ``now`` on: at the given rate, else as the last upload went.

    Never faster than ``limit`` allows at each time. None if there is no rate, and not always a
    limit.
    """
    known = Forecast(given_bps, "`rate`") if given_bps is not None else None
    known = known or (measured(jobs) if jobs else None)
    rate_bps = known.rate_bps if known else None
    size_bytes = max(size_bytes, 1)
    takes_s = limit.takes_s(size_bytes, rate_bps, local_time(now))
    if takes_s is None:
        return None
    average_bps = size_bytes / takes_s
    if known is None or (rate_bps and average_bps < rate_bps * _AS_FAST):
        return Forecast(average_bps, "transfer.bandwidth_limit")
    return known


def measured(jobs: Jobs) -> Forecast | None:
    """The rate of the last upload, including its pauses and waits: the next may have them, too.

    A small one only counts if there is no other.
    """
    uploaded: list[Uploaded] = []
    with contextlib.suppress(StoreError):  # a damaged history is not a reason to fail here
        uploaded = jobs.uploads(_RECENT)
    if not uploaded:
        return None
    last = max(uploaded, key=lambda one: (one.size_bytes >= _TELLING_BYTES, one.updated_at))
    if last.took_s <= 0:
        return None
    return Forecast(last.size_bytes / last.took_s, f"as job {last.job_id} went")
