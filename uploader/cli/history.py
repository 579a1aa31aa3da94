"""`uploader logs` and `uploader events`: the history of jobs, for people and for programs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from uploader import wiring
from uploader.cli.options import Follow, OptionalJob
from uploader.cli.settings import settings_of
from uploader.cli.terminal import out, out_json
from uploader.core.documents import event_json
from uploader.core.exits import Exit
from uploader.core.job import Event
from uploader.core.text import event_line, timestamp

if TYPE_CHECKING:
    from uploader.store.jobs import Jobs

AsLines = Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")]

_POLL_S = 0.5
_PAGE = 500


def logs(
    context: typer.Context,
    job: OptionalJob = None,
    follow: Follow = False,
    as_json: AsLines = False,
) -> None:
    """Print what happened to a job, or to all jobs, one line per event.

    Example: uploader logs my-model --follow
    """
    with wiring.Store(settings_of(context)) as store:
        job_id = None if job is None else store.need().find(job).id
        _each(store, _print_json if as_json else _print, job_id=job_id, follow=follow)


def _print(event: Event) -> None:
    out(f"{timestamp(event.at)} {event_line(event)}")


def _print_json(event: Event) -> None:
    out_json(event_json(event), indent=None)


def events(
    context: typer.Context,
    since: Annotated[
        int,
        typer.Option(
            metavar="SEQ", min=0, max=2**63 - 1, help="Only events after the one numbered SEQ."
        ),
    ] = 0,
    follow: Follow = False,
    as_json: AsLines = True,  # noqa: ARG001 - it is what the command prints anyway
) -> None:
    """Print the history of all jobs as one JSON object per line.

    Each has a sequence number `seq`; with --since a reader goes on where it stopped.

    Example: uploader events --since 120 --follow
    """
    with wiring.Store(settings_of(context)) as store:
        _each(store, _print_json, since=since, follow=follow)


def _each(
    store: wiring.Store,
    show: Callable[[Event], None],
    *,
    job_id: int | None = None,
    since: int = 0,
    follow: bool,
) -> None:
    """Show every event after ``since`` and, with ``follow``, every later one."""
    clock, never = wiring.clock(), threading.Event()
    jobs: Jobs | None = None
    while True:
        jobs = jobs or store.find()  # with --follow the store may still appear
        found = jobs.events(job_id, since, _PAGE) if jobs else []
        for event in found:
            show(event)
            since = event.seq
        if len(found) == _PAGE:
            continue
        if not follow:
            return
        try:
            clock.wait(never, _POLL_S)
        except KeyboardInterrupt:  # how a reader leaves: what follows would not be an event
            raise typer.Exit(Exit.INTERRUPTED) from None
