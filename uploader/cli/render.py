"""A job, a file, an event as others read them: the JSON documents, and rows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from uploader.core.job import OPEN_STATUSES, Event, FileState, Job, Stage, Status
from uploader.core.resumable import encode_crc32c
from uploader.core.text import duration, percent, size

#: A rate that nobody has written for so long says nothing any more.
_FRESH = timedelta(seconds=10)

JOB_HEADINGS = ("ID", "MODEL", "STAGE", "STATUS", "FILES", "CONFIRMED", "RATE", "ETA")
FILE_HEADINGS = ("", "FILE", "SIZE", "OFFSET", "STORED", "MODE", "ATTEMPTS", "SESSION")


def timestamp(at: datetime) -> str:
    """RFC 3339 in UTC, to the second."""
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _exact(at: datetime | None) -> str | None:
    if at is None:
        return None
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def speed(job: Job, now: datetime) -> tuple[float | None, float | None]:
    """(rate_bps, eta_s) of a job that is uploading right now; else neither."""
    uploading = job.status is Status.ACTIVE and job.stage is Stage.UPLOAD
    if not uploading or not job.rate_bps or now - job.updated_at > _FRESH:
        return None, None
    return job.rate_bps, job.eta_s


def waits(job: Job, now: datetime) -> bool:
    """Whether there is a time before which the job does not run."""
    return job.not_before is not None and job.not_before > now


def _whole(number: float | None) -> int | None:
    return None if number is None else round(number)


def job_json(job: Job, now: datetime) -> dict[str, Any]:
    """A job's document; fields are only ever added."""
    rate_bps, eta_s = speed(job, now)
    return {
        "id": job.id,
        "model": job.model,
        "path": job.path,
        "kind": job.kind.value,
        "stage": job.stage.value,
        "status": job.status.value,
        "reason": job.reason.as_json() if job.reason else None,
        "files_total": job.files_total,
        "files_stored": job.files_stored,
        "bytes_total": job.bytes_total,
        "bytes_confirmed": job.bytes_confirmed,
        "bytes_sent": job.bytes_sent,
        "rate_bps": _whole(rate_bps),
        "eta_s": _whole(eta_s),
        "attempts": job.attempts,
        "not_before": _exact(job.not_before if waits(job, now) else None),
        "priority": job.priority,
        "created_at": _exact(job.created_at),
        "updated_at": _exact(job.updated_at),
        "ready_at": _exact(job.ready_at),
        "warnings": list(job.warnings),
        "preflight": [dict(finding) for finding in job.preflight],
    }


def file_json(file: FileState) -> dict[str, Any]:
    """A file's document; fields are only ever added."""
    return {
        "path": file.path,
        "size_bytes": file.size_bytes,
        "offset": offset(file),
        "stored": file.stored,
        "verified": file.verified,
        "crc32c": None if file.crc32c is None else encode_crc32c(file.crc32c),
        "mode": file.mode.value,
        "attempts": file.attempts,
        "last_error": file.last_error,
    }


def event_json(event: Event) -> dict[str, Any]:
    return {
        "seq": event.seq,
        "job": event.job_id,
        "at": _exact(event.at),
        "kind": event.kind,
        "message": event.message,
        "path": event.path,
    }


def jobs_document(jobs: Sequence[Job], now: datetime) -> dict[str, Any]:
    return {"schema": "uploader.jobs/1", "jobs": [job_json(job, now) for job in jobs]}


def job_document(job: Job, files: Sequence[FileState], now: datetime) -> dict[str, Any]:
    listed = [file_json(file) for file in files]
    return {"schema": "uploader.job/1", **job_json(job, now), "files": listed}


def offset(file: FileState) -> int:
    """The bytes the server has confirmed: all of them once the file is stored."""
    return file.size_bytes if file.stored else file.checkpoint.offset


def job_row(job: Job, now: datetime) -> tuple[str, ...]:
    """A job under JOB_HEADINGS, for people."""
    rate_bps, eta_s = speed(job, now)
    done = percent(job.bytes_confirmed, job.bytes_total)
    return (
        str(job.id),
        job.model_id,
        job.stage,
        job.status,
        f"{job.files_stored}/{job.files_total}",
        f"{done} of {size(job.bytes_total)}",
        f"{size(rate_bps)}/s" if rate_bps else "",
        duration(eta_s) if eta_s is not None else "",
    )


def job_columns(job: Job, base_url: str, now: datetime) -> tuple[str, ...]:
    """A job for programs that read columns: whole numbers, whole names, its note last."""
    rate_bps, eta_s = speed(job, now)
    numbers = (job.files_stored, job.files_total, job.bytes_confirmed, job.bytes_total)
    speeds = ("" if part is None else str(round(part)) for part in (rate_bps, eta_s))
    named = (str(job.id), job.model, job.stage.value, job.status.value)
    return (*named, *map(str, numbers), *speeds, note(job, base_url, now))


def note(job: Job, base_url: str, now: datetime) -> str:
    """What else there is to know about a job, in one sentence; empty for most."""
    if job.base_url != base_url and job.status in OPEN_STATUSES:
        return f"for {job.base_url}: workers with this configuration skip it"
    if job.status is Status.ACTIVE and job.not_before is not None and waits(job, now):
        why = f": {job.reason.message}" if job.reason else ""
        return f"waits {duration((job.not_before - now).total_seconds())}{why}"
    if job.reason is not None:
        return job.reason.message
    if job.plain_put and job.status is Status.ACTIVE and job.stage is Stage.UPLOAD:
        return "plain PUT: a file is confirmed as a whole, rate and ETA count bytes sent"
    return ""


def file_row(file: FileState, now: datetime) -> tuple[str, ...]:
    """A file under FILE_HEADINGS, for people."""
    stored = ("verified" if file.verified else "unverified") if file.stored else "no"
    age_s = (now - file.session_at).total_seconds() if file.session and file.session_at else None
    return (
        "",
        file.path,
        size(file.size_bytes),
        percent(offset(file), file.size_bytes) if file.size_bytes or file.stored else "0%",
        stored,
        file.mode,
        str(file.attempts),
        f"{duration(age_s)} old" if age_s is not None else "",
    )


def file_columns(file: FileState) -> tuple[str, ...]:
    """A file for programs that read columns, as in `file_json`."""
    return tuple(_cell(value) for value in file_json(file).values())


def _cell(value: object) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def event_line(event: Event) -> str:
    """An event in words, as the service's own log has it."""
    where = f" {event.path}:" if event.path else ""
    return f"{timestamp(event.at)} job {event.job_id} {event.kind}:{where} {event.message}"
