"""`uploader show`: one job with all its files."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import typer

from uploader import wiring
from uploader.cli.flags import spelled
from uploader.cli.options import AsJson, JobArgument
from uploader.cli.render import (
    FILE_HEADINGS,
    NO_WORKER,
    deserted,
    file_columns,
    file_row,
    hint,
    note,
)
from uploader.cli.settings import settings_of
from uploader.cli.terminal import out, out_json, out_table, out_wrapped, width
from uploader.core.documents import job_document
from uploader.core.job import FileState, Job
from uploader.core.text import percent, size, timestamp


def show(context: typer.Context, job: JobArgument, as_json: AsJson = False) -> None:
    """Show one job with all its files."""
    settings, now = settings_of(context), wiring.clock().now()
    with wiring.Store(settings) as store:
        jobs = store.need()
        found = jobs.find(job)
        files = jobs.files(found.id)
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
        ("worker", NO_WORKER if deserted([job]) else ""),
        ("hint", hint(job)),
        ("files", f"{job.files_stored} of {job.files_total} stored"),
        ("sent", _share(job.bytes_marked, job)),
        ("confirmed", _share(job.bytes_confirmed, job)),
        ("traffic", f"{size(job.bytes_sent)} in all, what was sent again included"),
        ("attempts", str(job.attempts)),
        ("enqueued", timestamp(job.created_at)),
        ("ready", timestamp(job.ready_at) if job.ready_at else ""),
        *(("warning", warning) for warning in job.warnings),
        *(("preflight", spelled(finding.get("message", ""))) for finding in job.preflight),
    ]
    return [(name, value) for name, value in facts if value]


def _share(part: int, job: Job) -> str:
    return f"{size(part)} of {size(job.bytes_total)} ({percent(part, job.bytes_total)})"


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
