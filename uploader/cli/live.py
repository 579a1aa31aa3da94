"""How jobs are shown as they move: by `wait`, `upload`, `follow` and `status --watch`.

Bars on a terminal, redrawn in place; elsewhere a line for each change. `wait` and `upload` show
them on stderr, because their result is another; for `follow` they are the result.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from typing import TextIO

from uploader.cli.cells import cells, shorten
from uploader.cli.render import no_worker, note
from uploader.cli.terminal import out, print_note
from uploader.core.documents import waits
from uploader.core.job import Job, Stage, Status
from uploader.core.text import awaited, bytes_line, percent, progress_line, size
from uploader.runtime import Clock
from uploader.store.wait import ENDS

_LINE_EVERY_S = 30.0
_MIN_NAME_WIDTH = 8

Show = Callable[[Sequence[Job]], None]


def live(clock: Clock, base_url: str) -> AbstractContextManager[Show]:
    """Bars if stderr is a terminal; else one line for each change, at least every 30 s.

    ``base_url`` is the one that workers of this configuration work for.
    """
    return _live(clock, base_url, sys.stderr, print_note)


def live_result(clock: Clock, base_url: str) -> AbstractContextManager[Show]:
    """As `live`, on stdout."""
    return _live(clock, base_url, sys.stdout, out)


def _live(
    clock: Clock, base_url: str, stream: TextIO, print_: Callable[[str], None]
) -> AbstractContextManager[Show]:
    if not stream.isatty():
        return nullcontext(Lines(clock, base_url, print_))
    from uploader.cli.bars import Bars  # rich is slow to import

    return Bars(lambda job, columns: line(job, base_url, clock.now(), columns), stream)


def line(job: Job, base_url: str, now: datetime, columns: int | None = None) -> str:
    """A job's progress in one line; in a narrow one, the figures matter more than the name."""
    wordings, name = _stands(job, base_url, now), f" {job.model_id}"
    if columns is None:
        return f"job {job.id}{name}: {wordings[0]}"
    needed = min(cells(name), _MIN_NAME_WIDTH)
    named = [words for words in wordings if _room(job, words, columns) >= needed]
    fitting = [words for words in wordings if _room(job, words, columns) >= 0]
    stands = next(iter(named or fitting), wordings[-1])
    room = _room(job, stands, columns)
    name = shorten(name, room) if room >= needed else ""
    return f"job {job.id}{name}: {stands}"


def _room(job: Job, stands: str, columns: int) -> int:
    return columns - cells(f"job {job.id}: {stands}")


def _stands(job: Job, base_url: str, now: datetime) -> list[str]:
    """The job's progress in ever fewer words."""
    if job.status is Status.DONE:
        return ["READY"]
    if job.status is Status.ACTIVE:
        return _moves(job, base_url, now)
    if job.status is Status.PAUSED:
        held = f"{percent(job.bytes_confirmed, job.bytes_total)} of {size(job.bytes_total)}"
        go_on = f"`uploader resume {job.id}` lets it go on"
        return [f"paused, {held} confirmed; {go_on}", f"paused; {go_on}"]
    return [f"{job.status}: {job.reason.message}" if job.reason else str(job.status)]


def _moves(job: Job, base_url: str, now: datetime) -> list[str]:
    """An active job: how far it is, and what it waits for."""
    stands = [str(job.stage)]
    if job.stage is Stage.UPLOAD:
        short = bytes_line(job, now)
        stands = [progress_line(job, now), short, short.replace(f" of {size(job.bytes_total)}", "")]
    elif answer := awaited(job, now):
        stands = [f"{job.stage}: {answer}"]
    if alone := no_worker(job, base_url):
        return [f"{words}; {alone}" for words in stands]
    why = note(job, job.base_url, now) if waits(job, now) else ""
    if not why and job.reason and not job.lease:
        why = job.reason.message
    told = [f"{words}; {why}" for words in stands] if why else stands
    # What it waits for says more than its stage, and less than its figures.
    return [*told, why] if why and job.stage is not Stage.UPLOAD else told


class Lines:
    """One line per job whenever it changes, and at least every 30 s."""

    def __init__(
        self, clock: Clock, base_url: str, print_: Callable[[str], None] = print_note
    ) -> None:
        self._clock = clock
        self._base_url = base_url
        self._print = print_
        self._printed: dict[int, tuple[object, float]] = {}

    def __call__(self, jobs: Sequence[Job]) -> None:
        """Print a line for each job that is due for one."""
        now_s = self._clock.boot_s()
        for job in jobs:
            before, at_s = self._printed.get(job.id, (None, now_s))
            reason = job.reason and job.reason.message
            state = (job.stage, job.status, reason, no_worker(job, self._base_url))
            late = now_s - at_s >= _LINE_EVERY_S and job.status not in ENDS
            if state != before or late:
                self._print(line(job, self._base_url, self._clock.now()))
                self._printed[job.id] = (state, now_s)
