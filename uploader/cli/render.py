"""A job and a file in one row: for people under headings, for programs in columns."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from uploader.cli.flags import flag, spelled
from uploader.core import why
from uploader.core.documents import FileJson, file_json, given_options, offset, sent, speed
from uploader.core.job import FileState, Job
from uploader.core.text import duration, percent, size

#: On a narrow terminal the last columns are left out first.
JOB_HEADINGS = ("ID", "MODEL", "STAGE", "STATUS", "SENT", "CONFIRMED", "RATE", "ETA", "FILES")
FILE_HEADINGS = ("", "FILE", "SIZE", "SENT", "CONFIRMED", "STORED", "MODE", "ATTEMPTS", "SESSION")

#: What `job_columns` and `file_columns` give, for programs. Columns are only ever added.
JOB_COLUMNS = (
    "id", "model", "stage", "status", "files_stored", "files_total", "sent", "confirmed",
    "bytes_total", "rate_bps", "eta_s", "note",
)  # fmt: skip
FILE_COLUMNS = tuple(FileJson.__annotations__)

NO_WORKER = why.NO_WORKER
deserted = why.deserted
no_worker = why.no_worker


def job_row(job: Job, now: datetime) -> tuple[str, ...]:
    """A job under JOB_HEADINGS, for people."""
    rate_bps, eta_s = speed(job, now)
    done = percent(job.bytes_confirmed, job.bytes_total)
    return (
        str(job.id),
        job.model_id,
        job.stage,
        job.status,
        percent(job.bytes_marked, job.bytes_total),
        f"{done} of {size(job.bytes_total)}",
        f"{size(rate_bps)}/s" if rate_bps else "",
        duration(eta_s) if eta_s is not None else "",
        f"{job.files_stored}/{job.files_total}",
    )


def job_columns(job: Job, base_url: str, now: datetime) -> tuple[str, ...]:
    """A job under JOB_COLUMNS, for programs: whole names, and numbers without units."""
    rate_bps, eta_s = speed(job, now)
    stored = (job.files_stored, job.files_total)
    numbers = (*stored, job.bytes_marked, job.bytes_confirmed, job.bytes_total)
    speeds = ("" if part is None else str(round(part)) for part in (rate_bps, eta_s))
    named = (str(job.id), job.model, job.stage.value, job.status.value)
    return (*named, *map(str, numbers), *speeds, note(job, base_url, now))


def option_lines(options: Mapping[str, object]) -> Iterator[str]:
    """What was asked for besides the model's id and kind: a flag each, and what it means."""
    for name, value in given_options(options).items():
        if name in ("model_id", "kind"):
            continue
        for one in value if isinstance(value, list) else [value]:
            text = one if isinstance(one, str) else json.dumps(one)
            yield flag(name) if one is True else f"{flag(name)} {text}"


def readers(create_body: Mapping[str, Any]) -> str:
    """Who may read the model, if that is not only its account."""
    return "everybody may read the model" if create_body.get("model", {}).get("public") else ""


def hint(job: Job, base_url: str) -> str:
    """What to do about a job, spelled for the command line; empty for most jobs."""
    return spelled(why.hint(job, base_url))


def note(job: Job, base_url: str, now: datetime) -> str:
    """What else to know about a job, in one sentence; empty for most jobs."""
    return spelled(why.note(job, base_url, now))


def file_row(file: FileState, now: datetime) -> tuple[str, ...]:
    """A file under FILE_HEADINGS, for people."""
    stored = ("verified" if file.verified else "unverified") if file.stored else "no"
    age_s = (now - file.session_at).total_seconds() if file.session and file.session_at else None
    return (
        "",
        file.path,
        size(file.size_bytes),
        _share(sent(file), file),
        _share(offset(file), file),
        stored,
        file.mode,
        str(file.attempts),
        f"{duration(age_s)} old" if age_s is not None else "",
    )


def _share(part: int, file: FileState) -> str:
    return percent(part, file.size_bytes) if file.size_bytes or file.stored else "0%"


def file_columns(file: FileState) -> tuple[str, ...]:
    """A file under FILE_COLUMNS, for programs."""
    return tuple(_cell(value) for value in file_json(file).values())


def _cell(value: object) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
