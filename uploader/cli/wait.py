"""`uploader wait`: until jobs are done, or need a human."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from uploader import wiring
from uploader.cli.cells import cells, shorten
from uploader.cli.options import SeveralJobs
from uploader.cli.render import NO_WORKER, deserted, hint
from uploader.cli.settings import settings_of
from uploader.cli.terminal import print_note
from uploader.core.errors import UsageError
from uploader.core.exits import Exit, combined, exit_of
from uploader.core.job import Job, Stage, Status
from uploader.core.text import bytes_line, progress_line
from uploader.runtime import Clock
from uploader.store.wait import ENDS, wait_for

if TYPE_CHECKING:
    from uploader.store.jobs import Jobs

_LINE_EVERY_S = 30.0
_MIN_NAME_WIDTH = 8

Show = Callable[[Sequence[Job]], None]


def wait(
    context: typer.Context,
    jobs: SeveralJobs,
    timeout: Annotated[
        str | None, typer.Option(metavar="S", help='Seconds, or a duration like "90min".')
    ] = None,
) -> None:
    """Wait until each job is done, or needs a human; the exit code says which.

    0 done, 7 failed or cancelled, 8 blocked, 12 integrity, 9 several of these, 10 timed out.
    """
    settings = settings_of(context)
    timeout_s = _seconds(timeout)
    with wiring.Store(settings) as store:
        table = store.need()
        ids = [table.find(ref).id for ref in jobs]
        raise typer.Exit(exit_code_of(table, ids, wiring.clock(), timeout_s))


def _seconds(text: str | None) -> float | None:
    from uploader.settings.units import parse_duration  # pydantic is slow to import

    if text is None:
        return None
    bare = text.replace(".", "", 1).isdecimal()
    try:
        return parse_duration(f"{text}s" if bare else text)
    except ValueError as problem:
        raise UsageError(f"--timeout cannot be {text!r}", hint=str(problem)) from None


def exit_code_of(
    jobs: Jobs, ids: Sequence[int], clock: Clock, timeout_s: float | None = None
) -> Exit:
    """Wait and show progress; returns the exit code of the jobs' results. Raises WaitTimedOut."""
    with _progress(clock) as show:
        ended = wait_for(jobs, ids, clock, timeout_s, show)
    return _result(ended)


def _result(jobs: Sequence[Job]) -> Exit:
    for job in jobs:
        if job.status is not Status.DONE and hint(job):
            print_note(f"hint: job {job.id}: {hint(job)}")
    return combined(exit_of(job.status, job.reason) for job in jobs)


def line(job: Job, now: datetime, columns: int | None = None) -> str:
    """A job's progress in one line; in a narrow one, the figures matter more than the name."""
    wordings, name = _stands(job, now), f" {job.model_id}"
    if columns is None:
        return f"job {job.id}{name}: {wordings[0]}"
    fitting = (words for words in wordings if _room(job, words, columns) >= 0)
    stands = next(fitting, wordings[-1])
    room = _room(job, stands, columns)
    name = shorten(name, room) if room >= _MIN_NAME_WIDTH else ""
    return f"job {job.id}{name}: {stands}"


def _room(job: Job, stands: str, columns: int) -> int:
    return columns - cells(f"job {job.id}: {stands}")


def _stands(job: Job, now: datetime) -> list[str]:
    """The job's progress in ever fewer words."""
    if job.status is Status.DONE:
        return ["READY"]
    stands = [str(job.stage if job.status is Status.ACTIVE else job.status)]
    if job.status is Status.ACTIVE and job.stage is Stage.UPLOAD:
        short = bytes_line(job, now)
        stands = [progress_line(job, now), short, short.replace(" confirmed", "")]
    elif job.reason:
        stands = [f"{stands[0]}: {job.reason.message}"]
    return [f"{words}; {NO_WORKER}" for words in stands] if deserted([job]) else stands


def _progress(clock: Clock) -> AbstractContextManager[Show]:
    """Bars on a terminal; elsewhere one line for each change, at least every 30 s."""
    return _bars(clock) if sys.stderr.isatty() else nullcontext(Lines(clock))


class Lines:
    """One line per job whenever it changes, and at least every 30 s."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._printed: dict[int, tuple[object, float]] = {}

    def __call__(self, jobs: Sequence[Job]) -> None:
        """Print a line for each job that is due for one."""
        now_s = self._clock.boot_s()
        for job in jobs:
            before, at_s = self._printed.get(job.id, (None, now_s))
            reason = job.reason and job.reason.message
            state = (job.stage, job.status, reason, deserted([job]))
            late = now_s - at_s >= _LINE_EVERY_S and job.status not in ENDS
            if state != before or late:
                print_note(line(job, self._clock.now()))
                self._printed[job.id] = (state, now_s)


def _bars(clock: Clock) -> AbstractContextManager[Show]:
    from uploader.cli.bars import Bars  # rich is slow to import

    return Bars(lambda job, columns: line(job, clock.now(), columns))
