"""A job as its readers see it: without what only a worker at work makes true."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeVar

from uploader.core.job import Job, Scope, Status

_Job = TypeVar("_Job", bound=Job)


def as_attended(found: list[_Job], living: Callable[[], Mapping[str, Scope]] | None) -> list[_Job]:
    """Those jobs, without what is only true as long as their worker is among the ``living``."""
    if living is None or not found:
        return found
    alive = living()
    return [
        _asking(job)
        if job.lease and job.lease.owner in alive
        else replace(
            job,
            rate_bps=None,
            awaiting_since=None,
            unattended=not any(scope.covers(job) for scope in alive.values()),
        )
        for job in found
    ]


def _asking(job: _Job) -> _Job:
    """If a worker only asks Fireworks now: it has written the row just before."""
    asks = job.asks_fireworks and job.status is Status.ACTIVE
    return replace(job, awaiting_since=job.awaiting_since or job.updated_at) if asks else job
