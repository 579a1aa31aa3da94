"""`uploader status` and `uploader show`: where jobs stand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import typer

from uploader import wiring
from uploader.cli.render import (
    FILE_HEADINGS,
    JOB_HEADINGS,
    file_columns,
    file_row,
    job_columns,
    job_document,
    job_row,
    jobs_document,
    note,
    timestamp,
)
from uploader.cli.state import AsJson, JobArgument, OptionalJob, jobs_of, settings_of, store_of
from uploader.cli.terminal import out, out_json, out_table, out_wrapped, width
from uploader.core.job import FileState, Job
from uploader.core.text import percent, size


def status(context: typer.Context, job: OptionalJob = None, as_json: AsJson = False) -> None:
    """Every job, or one, in a table."""
    settings = settings_of(context)
    now, jobs = wiring.clock().now(), jobs_of(settings, job)
    base_url, columns = settings.fireworks.base_url, width()
    if as_json:
        out_json(jobs_document(jobs, now))
    elif not jobs:
        out("no jobs")
    elif columns is None:
        for one in jobs:
            out(*job_columns(one, base_url, now))
    else:
        _show_table(jobs, base_url, now, columns)


def _show_table(jobs: Sequence[Job], base_url: str, now: datetime, columns: int) -> None:
    out_table(JOB_HEADINGS, [job_row(job, now) for job in jobs], columns)
    for job in jobs:
        said = note(job, base_url, now)
        if said:
            out()
            out_wrapped(f"job {job.id} {job.status}: {said}", columns)
        if said and job.reason is not None and job.reason.hint:
            out_wrapped(f"hint: {job.reason.hint}", columns, "  ")


def show(context: typer.Context, job: JobArgument, as_json: AsJson = False) -> None:
    """One job with all its files."""
    settings = settings_of(context)
    store, now = store_of(settings), wiring.clock().now()
    found = store.find(job)
    files = store.files(found.id)
    if as_json:
        out_json(job_document(found, files, now))
        return
    columns = width()
    for name, value in _facts(found, settings.fireworks.base_url, now):
        if columns is None:
            out(name, value)
        else:
            out_wrapped(value, columns, f"{name:9} ")
    out()
    _show_files(files, now, columns)


def _facts(job: Job, base_url: str, now: datetime) -> list[tuple[str, str]]:
    facts = [
        ("job", str(job.id)),
        ("model", job.model),
        ("folder", job.path),
        ("kind", job.kind.value),
        ("stage", job.stage.value),
        ("status", job.status.value),
        ("note", note(job, base_url, now)),
        ("hint", job.reason.hint if job.reason else ""),
        ("files", f"{job.files_stored} of {job.files_total} stored"),
        ("confirmed", _confirmed(job)),
        ("sent", size(job.bytes_sent)),
        ("attempts", str(job.attempts)),
        ("enqueued", timestamp(job.created_at)),
        ("ready", timestamp(job.ready_at) if job.ready_at else ""),
        *(("warning", warning) for warning in job.warnings),
        *(("preflight", finding.get("message", "")) for finding in job.preflight),
    ]
    return [(name, value) for name, value in facts if value]


def _confirmed(job: Job) -> str:
    done = percent(job.bytes_confirmed, job.bytes_total)
    return f"{size(job.bytes_confirmed)} of {size(job.bytes_total)} ({done})"


def _show_files(files: Sequence[FileState], now: datetime, columns: int | None) -> None:
    if columns is None:
        for file in files:
            out(*file_columns(file))
        return
    if files:
        out_table(FILE_HEADINGS, [file_row(file, now) for file in files], columns)
    for file in files:
        if file.last_error and not file.stored:
            out_wrapped(f"{file.path}: {file.last_error}", columns)
