"""What users change while workers run: limits, and the priority of a job.

For the command line, Python and HTTP alike. Every worker of the store notices within a second.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from uploader.core.errors import UsageError
from uploader.core.job import Job
from uploader.core.limit_documents import LimitsJson, limits_json
from uploader.core.limits import InForce
from uploader.intake.request import PRIORITIES
from uploader.settings.limits import KEYS, PARSERS, in_force, readable

if TYPE_CHECKING:
    from uploader.settings.schema import Settings
    from uploader.store.jobs import Jobs

#: For each limit: as the configuration says.
DEFAULT = "default"
_MAX_SHOWN = 200


def choose_limits(
    jobs: Jobs,
    now: datetime,
    *,
    bandwidth: str | None = None,
    files: str | int | None = None,
    max_jobs: str | int | None = None,
) -> None:
    """Set the limits that are given, for all workers, until they are set again.

    ``bandwidth`` is a rate, "off" or a timetable, ``files`` a number or "auto", ``max_jobs`` a
    number; each may be "default", which is what the configuration says. Raises UsageError, and
    then nothing is changed; StoreError.
    """
    given = {"bandwidth": bandwidth, "files": files, "jobs": max_jobs}
    chosen = {name: _checked(name, value) for name, value in given.items() if value is not None}
    if chosen:
        jobs.limits.choose(chosen, now)


def _checked(name: str, value: str | int) -> str | None:
    text = " ".join(str(value).split())
    if text == DEFAULT:
        return None
    try:
        PARSERS[name](text)
    except ValueError as problem:
        message = f"{_NAMES[name]} cannot be {text[:_MAX_SHOWN] or 'empty'}"
        raise UsageError(message, hint=f'{problem}, or "{DEFAULT}"') from None
    return text


_NAMES = {
    "bandwidth": "the bandwidth limit",
    "files": "the number of files",
    "jobs": "the number of jobs",
}


def limits_of(settings: Settings, jobs: Jobs | None) -> InForce:
    """The limits in force for workers with these settings. Raises StoreError."""
    return in_force(settings.transfer, jobs.limits.chosen() if jobs else {})


def limits_in_force(settings: Settings, jobs: Jobs | None, now: datetime) -> LimitsJson:
    """The limits in force, and where each comes from. Raises StoreError.

    The origin of one that was chosen is "limit"; the others come from these settings, which may
    not be those of a worker that was started elsewhere.
    """
    chosen = readable(jobs.limits.chosen()) if jobs else {}
    origins = {name: _origin(settings, name) for name in KEYS}
    origins.update(dict.fromkeys(chosen, "limit"))
    return limits_json(in_force(settings.transfer, chosen), origins, now)


def _origin(settings: Settings, name: str) -> str:
    given = settings.given.get(KEYS[name])
    return given.origin if given else DEFAULT


def edit(jobs: Jobs, job_id: int, now: datetime, *, priority: int) -> Job:
    """Give a job another priority; the same one again changes nothing.

    Raises UsageError for a priority that cannot be, NotFound, VerbRefused for a job that has
    ended, StoreError.
    """
    if priority not in PRIORITIES:
        low, high = PRIORITIES[0], PRIORITIES[-1]
        raise UsageError(f"`priority` cannot be {priority}", hint=f"it may be from {low} to {high}")
    return jobs.prioritize(job_id, priority, now)
