"""`uploader status`: where jobs stand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from uploader import wiring
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
from uploader.core.job import Job, Status

if TYPE_CHECKING:
    from uploader.store.jobs import Jobs

States = Annotated[
    list[Status] | None,
    typer.Option(
        "--state",
        metavar="STATUS",
        help=f"Only jobs that are STATUS: {', '.join(Status)}. May be repeated.",
    ),
]


def status(
    context: typer.Context,
    jobs: AnyJobs = None,
    state: States = None,
    table: AsTable = False,
    as_json: AsJson = False,
) -> None:
    """Show jobs in a table; into a pipe, in columns under a line that begins with #.

    Example: uploader status --state paused
    """
    settings, now = settings_of(context), wiring.clock().now()
    with wiring.Store(settings) as store:
        known = store.need() if jobs else store.find()
        found = [job for job in _jobs(known, jobs) if not state or job.status in state]
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
