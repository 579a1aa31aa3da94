"""`uploader status`: where jobs stand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from uploader import wiring
from uploader.cli.follow import watch as keep_watching
from uploader.cli.options import AnyJobs, AsJson, AsTable
from uploader.cli.render import (
    JOB_COLUMNS,
    JOB_HEADINGS,
    NO_WORKER,
    deserted,
    hint,
    job_columns,
    job_row,
    note,
)
from uploader.cli.settings import settings_of
from uploader.cli.terminal import (
    out,
    out_columns,
    out_json,
    out_table,
    out_wrapped,
    print_note,
    width,
)
from uploader.core.documents import jobs_document
from uploader.core.errors import UsageError
from uploader.core.job import Job, Status

if TYPE_CHECKING:
    from uploader.settings.schema import Settings
    from uploader.store.jobs import Jobs

States = Annotated[
    list[Status] | None,
    typer.Option(
        "--state",
        metavar="STATUS",
        help=f"Only jobs that are STATUS: {', '.join(Status)}. May be repeated.",
    ),
]

Watch = Annotated[
    bool, typer.Option("--watch", help="Keep showing them as they move, until Ctrl-C.")
]
_EVENTS = "`uploader events --follow` prints JSON as things happen"


def status(
    context: typer.Context,
    jobs: AnyJobs = None,
    state: States = None,
    table: AsTable = False,
    watch: Watch = False,
    as_json: AsJson = False,
) -> None:
    """Show jobs in a table; into a pipe, in columns under a line that begins with #.

    Example: uploader status --state paused
    """
    settings, now = settings_of(context), wiring.clock().now()

    def chosen(known: Jobs | None) -> list[Job]:
        return [job for job in _jobs(known, jobs) if not state or job.status in state]

    if watch:
        _watch(settings, chosen, otherwise=as_json or table)
        return
    with wiring.Store(settings) as store:
        known = store.need() if jobs else store.find()
        found = chosen(known)
        workers = known.workers() if known is not None and as_json else []
    base_url, columns = settings.fireworks.base_url, width(always=table)
    if as_json:
        out_json(jobs_document(found, workers, now))
    elif columns is None:
        out_columns(JOB_COLUMNS, [job_columns(job, base_url, now) for job in found])
        if not found:
            out("# no jobs")
        if deserted(found):
            print_note(NO_WORKER)
    elif found:
        _show_table(found, base_url, now, columns)
    else:
        out("no jobs")


def _watch(
    settings: Settings, chosen: Callable[[Jobs | None], list[Job]], *, otherwise: bool
) -> None:
    if otherwise:
        raise UsageError("--watch goes with neither --json nor --table", hint=_EVENTS)
    with wiring.Store(settings) as store:
        keep_watching(store, chosen)


def _jobs(table: Jobs | None, refs: Sequence[str] | None) -> list[Job]:
    if table is None:
        return []
    return [table.find(ref) for ref in refs] if refs else table.jobs()


def _show_table(jobs: Sequence[Job], base_url: str, now: datetime, columns: int) -> None:
    out_table(JOB_HEADINGS, [job_row(job, now) for job in jobs], columns)
    if deserted(jobs):
        out()
        out_wrapped(NO_WORKER, columns)
    for job in jobs:
        message = note(job, base_url, now)
        if message:
            out()
            out_wrapped(f"job {job.id} {job.status}: {message}", columns)
        if message and hint(job):
            out_wrapped(f"hint: {hint(job)}", columns, "  ")
