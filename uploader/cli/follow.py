"""`uploader follow`, and `status --watch`: jobs as they move, until the reader has seen enough."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import typer

from uploader import wiring
from uploader.cli.live import live_result
from uploader.cli.options import FollowedJobs
from uploader.cli.settings import settings_of
from uploader.cli.terminal import print_note
from uploader.core.job import Job
from uploader.core.reasons import Code
from uploader.store.wait import ENDS

if TYPE_CHECKING:
    from uploader.store.jobs import Jobs

_POLL_S = 1.0


def follow(context: typer.Context, jobs: FollowedJobs = None) -> None:
    """Show jobs as they move: those that are named, until they have ended, or all.

    Ctrl-C ends it, and stops no job.

    Example: uploader follow my-model
    """
    settings = settings_of(context)
    base_url = settings.fireworks.base_url
    with wiring.Store(settings) as store:
        if not jobs:
            watch(store, base_url, _that_move())
            return
        table = store.need()
        ids = list(dict.fromkeys(table.find(ref).id for ref in jobs))
        watch(store, base_url, lambda table: table.these(ids), until_ended=True)


def _that_move() -> Callable[[Jobs], list[Job]]:
    """The jobs that have not ended, those that end while they are watched, and unreadable ones.

    Of a job whose rows cannot be read nobody knows whether it has ended.
    """
    watched: set[int] = set()

    def choose(table: Jobs) -> list[Job]:
        still_open = table.jobs(0)
        watched.update(job.id for job in still_open if job.status not in ENDS or _is_odd(job))
        return table.these(watched)

    return choose


def _is_odd(job: Job) -> bool:
    return job.reason is not None and job.reason.code == Code.UNREADABLE_ROW


def watch(
    store: wiring.Store,
    base_url: str,
    choose: Callable[[Jobs], Sequence[Job]],
    *,
    until_ended: bool = False,
) -> None:
    """Show the chosen jobs once a second, until interrupted or, if asked for, until they ended.

    ``base_url`` is the one that workers of this configuration work for.
    """
    clock, never = wiring.clock(), threading.Event()
    table: Jobs | None = None
    idle = False
    with live_result(clock, base_url) as show:
        while True:
            table = table or store.find()  # the first job may still be enqueued
            found = choose(table) if table else []
            show(found)
            if until_ended and all(job.status in ENDS for job in found):
                return
            if not found and not idle:
                print_note("no job is on its way; those that are enqueued will be shown")
            idle = not found
            clock.wait(never, _POLL_S)
