"""`uploader show`: jobs with all their files."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import typer

from uploader import wiring
from uploader.cli.flags import spelled
from uploader.cli.options import AsJson, AsTable, SeveralJobs
from uploader.cli.render import (
    FILE_COLUMNS,
    FILE_HEADINGS,
    file_columns,
    file_row,
    hint,
    no_worker,
    note,
    option_lines,
    readers,
)
from uploader.cli.settings import settings_of
from uploader.cli.terminal import (
    out,
    out_columns,
    out_facts,
    out_json,
    out_table,
    out_wrapped,
    width,
)
from uploader.core.documents import result_document
from uploader.core.job import FileState, Job
from uploader.core.text import percent, size, timestamp
from uploader.core.whole_job import WholeJob


def show(
    context: typer.Context,
    jobs: SeveralJobs,
    table: AsTable = False,
    as_json: AsJson = False,
) -> None:
    """Show jobs with all their files.

    Example: uploader show my-model
    """
    settings, now, columns = settings_of(context), wiring.clock().now(), width(always=table)
    with wiring.Store(settings) as store:
        known = store.need()
        found = [(job, known.files(job.id)) for job in map(known.find, jobs)]
        workers = known.workers() if as_json else []
    if as_json:
        out_json(result_document(found, workers, now, single=len(jobs) == 1) or {})
        return
    for number, (job, files) in enumerate(found):
        if number:
            out()
        _show(job, files, settings.fireworks.base_url, now, columns)


def _show(
    job: WholeJob, files: Sequence[FileState], base_url: str, now: datetime, columns: int | None
) -> None:
    out_facts(_facts(job, base_url, now), columns)
    out()
    _show_files(files, now, columns)


def _facts(job: WholeJob, base_url: str, now: datetime) -> list[tuple[str, str]]:
    facts = [
        ("job", str(job.id)),
        ("model", job.model),
        ("folder", job.path),
        ("snapshot", job.snapshot or ""),
        ("kind", job.kind.value),
        *(("option", line) for line in option_lines(job.options)),
        ("public", readers(job.create_body)),
        ("stage", job.stage.value),
        ("status", job.status.value),
        ("note", note(job, base_url, now)),
        ("worker", no_worker(job, base_url)),
        ("hint", hint(job, base_url)),
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
        out_columns(FILE_COLUMNS, map(file_columns, files))
        return
    if files:
        out_table(FILE_HEADINGS, [file_row(file, now) for file in files], columns)
    for file in files:
        if file.last_error and not file.stored:
            out_wrapped(f"{file.path}: {file.last_error}", columns)
