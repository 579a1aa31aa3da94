"""`uploader status`: where jobs stand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import typer

from uploader import wiring
from uploader.cli.options import AsJson, OptionalJob
from uploader.cli.render import (
    JOB_HEADINGS,
    NO_WORKER,
    deserted,
    hint,
    job_columns,
    job_row,
    note,
)
from uploader.cli.settings import settings_of
from uploader.cli.terminal import out, out_json, out_table, out_wrapped, print_note, width
from uploader.core.documents import jobs_document
from uploader.core.job import Job

if TYPE_CHECKING:
    from uploader.store.jobs import Jobs


def status(context: typer.Context, job: OptionalJob = None, as_json: AsJson = False) -> None:
    """Show all jobs, or one, in a table."""
    settings, now = settings_of(context), wiring.clock().now()
    with wiring.Store(settings) as store:
        table = store.need() if job is not None else store.find()
        jobs = _jobs(table, job)
        workers = table.workers() if table is not None and as_json else []
    base_url, columns = settings.fireworks.base_url, width()
    if as_json:
        out_json(jobs_document(jobs, workers, now))
    elif not jobs:
        out("no jobs")
    elif columns is None:
        for one in jobs:
            out(*job_columns(one, base_url, now))
        if deserted(jobs):
            print_note(NO_WORKER)
    else:
        _show_table(jobs, base_url, now, columns)


def _jobs(table: Jobs | None, ref: str | None) -> list[Job]:
    if table is None:
        return []
    return table.jobs() if ref is None else [table.find(ref)]


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
