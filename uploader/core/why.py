"""Why a job is where it is, in whole sentences: for the command line and for the HTTP API.

A sentence may name a field of a request in backticks; whoever prints it spells that its own way.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from datetime import datetime

from uploader.core.documents import speed, waits
from uploader.core.job import (
    OPEN_STATUSES,
    FileState,
    Job,
    Mode,
    Stage,
    Status,
    is_costly_put,
)
from uploader.core.resumable import SESSION_LIFE_S
from uploader.core.text import awaited, duration, percent, size, timestamp

NO_WORKER = "no worker runs: start `uploader run`"

_DOING: dict[Stage, str] = {
    Stage.CREATE: "the model has to be created on Fireworks first",
    Stage.UPLOAD: "its files are being sent",
    Stage.VALIDATE: "every file is stored, and Fireworks checks them",
    Stage.READY: "Fireworks calls it READY",
}


def deserted(job: Job) -> bool:
    """Whether it waits for a worker, and none that would take it runs."""
    return job.unattended and job.status is Status.ACTIVE


def no_worker(job: Job, base_url: str) -> str:
    """What to say of a `deserted` job; empty for any other. ``base_url`` as in `note`."""
    if not deserted(job):
        return ""
    return NO_WORKER if job.base_url == base_url else _elsewhere(job)


def note(job: Job, base_url: str, now: datetime) -> str:
    """What else to know about a job, in one sentence; empty for most jobs.

    ``base_url`` is the one that workers of this configuration work for.
    """
    if job.base_url != base_url and job.status in OPEN_STATUSES:
        return _elsewhere(job)
    if job.status is Status.ACTIVE and job.not_before is not None and waits(job, now):
        why = f": {job.reason.message}" if job.reason else ""
        return f"waits {duration((job.not_before - now).total_seconds())}{why}"
    return _why(job, now)


def _elsewhere(job: Job) -> str:
    return f"made for {job.base_url}; workers with this configuration do not take it"


def _worker_for(job: Job) -> str:
    return f"FIREWORKS_BASE_URL={shlex.quote(job.base_url)} uploader run"


def _why(job: Job, now: datetime) -> str:
    if job.reason is not None:
        return job.reason.message
    if answer := awaited(job, now):
        return answer
    if job.plain_put and job.status is Status.ACTIVE and job.stage is Stage.UPLOAD:
        return "plain PUT: files are confirmed as a whole; rate and ETA count bytes sent"
    return ""


def sentences(job: Job, files: Sequence[FileState], base_url: str, now: datetime) -> Iterator[str]:
    """One state, one reason, one thing to do; ``base_url`` as in `note`."""
    yield from _stands(job, now)
    yield from _slow_sessions(job, files, now)
    yield from _plain_puts(job, files, now)
    yield from _waits_for(job, base_url, now)
    if step := to_do(job, base_url):
        yield f"To do: {step}."


def _stands(job: Job, now: datetime) -> Iterator[str]:
    yield f"Job {job.id} brings {job.path} to {job.model} ({job.kind})."
    verb = "has failed" if job.status is Status.FAILED else f"is {job.status}"
    moves = job.status in (Status.ACTIVE, Status.DONE) and not deserted(job)
    yield f"It {verb} in stage {job.stage}{f': {_DOING[job.stage]}' if moves else ''}."
    sent = percent(job.bytes_marked, job.bytes_total)
    done = percent(job.bytes_confirmed, job.bytes_total)
    yield (
        f"{job.files_stored} of {job.files_total} files are stored. Of {size(job.bytes_total)},"
        f" {size(job.bytes_marked)} ({sent}) are sent and {size(job.bytes_confirmed)} ({done})"
        " are confirmed by the server."
    )
    rate_bps, eta_s = speed(job, now)
    if rate_bps is not None and eta_s is not None:
        yield f"At {size(rate_bps)}/s everything will be sent in {duration(eta_s)}."


def _slow_sessions(job: Job, files: Sequence[FileState], now: datetime) -> Iterator[str]:
    """Warn if, at the present rate, a session ends before its file is sent."""
    rate_bps, _ = speed(job, now)
    for file in files:
        if not rate_bps or file.stored or file.session_at is None or file.mode is Mode.PUT:
            continue
        age_s = (now - file.session_at).total_seconds()
        left_s = (file.size_bytes - file.checkpoint.offset) / rate_bps
        if age_s + left_s > SESSION_LIFE_S:
            yield (
                f"Warning: {file.path} needs {duration(left_s)} more at this rate; its session"
                f" is {duration(age_s)} old and lives for at most a week."
            )


def _plain_puts(job: Job, files: Sequence[FileState], now: datetime) -> Iterator[str]:
    """Say what a session would have helped with, and a plain PUT does not."""
    left = sum(file.mode is Mode.PUT and not file.stored for file in files)
    if left and job.stage is Stage.UPLOAD:
        yield (
            f"The service takes {left} of its files by plain PUT only: one that is cut is sent"
            " again from its first byte, and each needs an upload URL that still lives when its"
            " turn comes."
        )
    rate_bps, _ = speed(job, now)
    for file in filter(is_costly_put, files):
        costs = f", at the present rate {duration(file.size_bytes / rate_bps)}" if rate_bps else ""
        yield f"Warning: a cut of {file.path} costs up to {size(file.size_bytes)}{costs}."


def _waits_for(job: Job, base_url: str, now: datetime) -> Iterator[str]:
    waiting = job.status is Status.ACTIVE and waits(job, now)
    if waiting and job.not_before is not None:
        yield f"It waits until {timestamp(job.not_before)}."
    skipped = job.base_url != base_url and job.status in OPEN_STATUSES
    if why := (_elsewhere(job) if skipped else _why(job, now)):
        yield f"Why: {why.rstrip('.')}."
    if job.status is Status.CANCELLED and job.reason and job.not_before and waits(job, now):
        yield f"A worker tries again after {timestamp(job.not_before)}."
    if job.status is not Status.ACTIVE or deserted(job) or skipped:
        return
    if job.lease is not None:
        yield "A worker is working on it."
    elif not waiting:
        yield "It waits for a worker that is free."


def to_do(job: Job, base_url: str) -> str:
    """What a reason's hint says, and what the status itself asks for; empty if nothing is.

    ``base_url`` as in `note`.
    """
    return "nothing" if job.status is Status.DONE else "; ".join(_steps(job, base_url))


def hint(job: Job, base_url: str) -> str:
    """`to_do` as it stands next to `note`; empty if nothing is to be done.

    That no worker runs is left out: it is said once, and not for each job.
    """
    if job.status is Status.DONE:
        return ""
    return "; ".join(step for step in _steps(job, base_url) if step != NO_WORKER)


def _steps(job: Job, base_url: str) -> list[str]:
    hint = job.reason.hint.rstrip(".") if job.reason else ""
    alone = job.unattended and job.status in (Status.ACTIVE, Status.BLOCKED)
    # What a worker does by itself, none does.
    steps = [hint] if hint and not (alone and hint.startswith("uploader ")) else []
    if alone:
        own = job.base_url == base_url
        steps.append(NO_WORKER if own else f"`{_worker_for(job)}` takes it")
    if job.status is Status.PAUSED:
        steps.append(f"`uploader resume {job.id}` lets it go on")
    if job.status is Status.FAILED and "`uploader " not in hint:
        steps.append(f"then `uploader retry {job.id}`" if steps else f"`uploader retry {job.id}`")
    return steps
