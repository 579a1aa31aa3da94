"""What the calls give back: the JSON documents of the command line, frozen and typed.

Every attribute has the name and the meaning that it has there. Times are aware datetimes, and the
file of a finding without one is None (in JSON, an empty text).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from uploader.core.finding import Finding
from uploader.core.job import Kind, Mode, Reason, Stage, Status


@dataclass(frozen=True, slots=True)
class Job:
    """One model on its way to READY.

    Sizes are bytes, rates bytes per second, ``eta_s`` seconds. ``rate_bps`` and ``eta_s`` are
    None unless the job is being uploaded right now; ``reason`` says why it stands still.
    """

    id: int
    model: str
    path: str
    snapshot: str | None
    kind: Kind
    stage: Stage
    status: Status
    reason: Reason | None
    files_total: int
    files_stored: int
    bytes_total: int
    bytes_confirmed: int
    bytes_sent: int
    bytes_sent_once: int
    rate_bps: int | None
    eta_s: int | None
    awaiting_since: datetime | None
    attempts: int
    not_before: datetime | None
    priority: int
    created_at: datetime
    updated_at: datetime
    ready_at: datetime | None
    warnings: tuple[str, ...]
    preflight: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class File:
    """One file of a job. ``offset`` is what the server has confirmed of it."""

    path: str
    size_bytes: int
    offset: int
    bytes_sent: int
    bytes_sent_once: int
    stored: bool
    verified: bool
    crc32c: str | None
    mode: Mode
    attempts: int
    last_error: str | None
    sha256: str | None


@dataclass(frozen=True, slots=True)
class JobWithFiles(Job):
    """A job, the options it was made with, and each of its files."""

    options: Mapping[str, Any]
    files: tuple[File, ...]


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a job's history; ``seq`` only grows, over all jobs."""

    seq: int
    job: int
    at: datetime
    kind: str
    message: str
    path: str | None


def job_of(document: Mapping[str, Any]) -> Job:
    """A Job of `uploader.jobs/1`."""
    return Job(**_read(document, _JOB))


def job_with_files_of(document: Mapping[str, Any]) -> JobWithFiles:
    """The document `uploader.job/1`."""
    return JobWithFiles(**_read(document, _JOB))


def event_of(document: Mapping[str, Any]) -> Event:
    """One line of `uploader events`."""
    return Event(**_read(document, {"at": datetime.fromisoformat}))


def _file_of(document: Mapping[str, Any]) -> File:
    return File(**_read(document, {"mode": Mode}))


def _finding_of(document: Mapping[str, Any]) -> Finding:
    known = {one.name: document[one.name] for one in fields(Finding)}  # a row may hold more
    return Finding(**{**known, "file": known["file"] or None})


def _read(
    document: Mapping[str, Any], readers: Mapping[str, Callable[[Any], Any]]
) -> dict[str, Any]:
    """The values of a JSON document, each passed through its reader; null becomes None."""
    return {
        name: readers[name](value) if name in readers and value is not None else value
        for name, value in document.items()
        if name != "schema"
    }


_JOB: Mapping[str, Callable[[Any], Any]] = {
    "kind": Kind,
    "stage": Stage,
    "status": Status,
    "reason": lambda reason: Reason(**reason),
    "awaiting_since": datetime.fromisoformat,
    "not_before": datetime.fromisoformat,
    "created_at": datetime.fromisoformat,
    "updated_at": datetime.fromisoformat,
    "ready_at": datetime.fromisoformat,
    "warnings": tuple,
    "preflight": lambda found: tuple(map(_finding_of, found)),
    "files": lambda files: tuple(map(_file_of, files)),
}
