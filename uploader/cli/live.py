"""How jobs are shown as they move: by `wait`, `upload`, `follow` and `status --watch`.

Bars on a terminal, redrawn in place; elsewhere a line for each change. All of it goes to stderr.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime

from uploader.cli.cells import cells, shorten
from uploader.cli.render import NO_WORKER, deserted
from uploader.cli.terminal import print_note
from uploader.core.job import Job, Stage, Status
from uploader.core.text import bytes_line, progress_line
from uploader.runtime import Clock
from uploader.store.wait import ENDS

_LINE_EVERY_S = 30.0
_MIN_NAME_WIDTH = 8

Show = Callable[[Sequence[Job]], None]


def live(clock: Clock) -> AbstractContextManager[Show]:
    """Bars on a terminal; elsewhere one line for each change, at least every 30 s."""
    return _bars(clock) if sys.stderr.isatty() else nullcontext(Lines(clock))


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
