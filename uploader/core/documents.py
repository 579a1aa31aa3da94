"""The JSON documents that other programs read: every field, its type and its meaning.

`docs/json.md` is generated from the types here, in their order. Fields are only ever added, and
bytes are integers, durations seconds, times RFC 3339 in UTC.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal, NewType, cast

from typing_extensions import TypedDict

from uploader.core.job import Event, FileState, Job, LivingWorker, Reason, Stage, Status
from uploader.core.resumable import encode_crc32c

Time = NewType("Time", str)

#: A rate that was written longer ago than this is out of date.
_FRESH = timedelta(seconds=10)


class ReasonJson(TypedDict):
    """Why a job is stopped or waits."""

    code: Annotated[str, "A stable word: see [reasons.md](reasons.md)."]
    message: Annotated[str, "One sentence: what happened."]
    hint: Annotated[str, "One sentence: what to do about it. May be empty."]


class FindingJson(TypedDict):
    """One thing that preflight found in a folder."""

    check: Annotated[str, "The name of the check: see [preflight.md](preflight.md)."]
    severity: Annotated[Literal["error", "warning"], "An error refuses the folder."]
    file: Annotated[str, "The file it is about; empty if it is the folder as a whole."]
    message: Annotated[str, "One sentence: what was found."]
    hint: Annotated[str, "One sentence: what to do about it."]


class FileJson(TypedDict):
    """One file of a job."""

    path: Annotated[str, "Its path below the job's folder."]
    size_bytes: Annotated[int, "Its size when it was enqueued."]
    offset: Annotated[int, "How many of its bytes the server has confirmed."]
    bytes_sent: Annotated[int, "Bytes sent in this run, including those sent again."]
    bytes_sent_once: Annotated[int, "Bytes sent, each counted once: what SENT shows."]
    stored: Annotated[bool, "Whether the server has the whole object."]
    verified: Annotated[bool, "Whether the server's CRC32C of the stored object was equal to ours."]
    crc32c: Annotated[str | None, "CRC32C of the whole file in base64, once the file was read."]
    mode: Annotated[Literal["session", "put"], "Resumable, or one plain PUT of the whole file."]
    attempts: Annotated[int, "How many tries failed."]
    last_error: Annotated[str | None, "Why the last try failed."]
    sha256: Annotated[
        str | None,
        "SHA-256 of the stored file in lower-case hexadecimal, if it was computed while the file"
        " was sent.",
    ]


class JobJson(TypedDict):
    """One job."""

    id: Annotated[int, "Its number in this store."]
    model: Annotated[str, "The resource name: `accounts/ACCOUNT/models/MODEL`."]
    path: Annotated[str, "The folder, as a real path."]
    snapshot: Annotated[
        str | None, "The folder of links that is read in its place; null without a snapshot."
    ]
    kind: Annotated[Literal["base", "lora", "embedding", "draft"], "What the folder becomes."]
    stage: Annotated[Literal["create", "upload", "validate", "ready"], "The stage that it is in."]
    status: Annotated[
        Literal["active", "paused", "blocked", "failed", "cancelled", "done"],
        "Whether it may run: see [life.md](life.md).",
    ]
    reason: Annotated[ReasonJson | None, "Why it is stopped or waits."]
    files_total: Annotated[int, "How many files the manifest has."]
    files_stored: Annotated[int, "How many files the server has completely."]
    bytes_total: Annotated[int, "The size of all files together."]
    bytes_confirmed: Annotated[int, "Bytes that the server has confirmed."]
    bytes_sent: Annotated[int, "Bytes sent in this run, including those sent again."]
    bytes_sent_once: Annotated[int, "Bytes sent, each counted once: what SENT shows."]
    rate_bps: Annotated[
        int | None,
        "Bytes per second, without those sent again; null unless a living worker uploads it.",
    ]
    eta_s: Annotated[
        int | None,
        "Seconds until every byte is sent at that rate; null too once all of them are.",
    ]
    awaiting_since: Annotated[
        Time | None,
        "Since when a service has not answered, or takes no more of a PUT: Fireworks in the stages"
        " `create` and `validate`, the storage service in `upload`.",
    ]
    attempts: Annotated[int, "How many tries of the job itself failed."]
    not_before: Annotated[
        Time | None, "The earliest time at which it runs; null if it does not wait."
    ]
    priority: Annotated[int, "A job with a higher priority runs first."]
    created_at: Annotated[Time, "When it was enqueued."]
    updated_at: Annotated[Time, "When its row was last written."]
    ready_at: Annotated[Time | None, "When the service called the model READY."]
    warnings: Annotated[list[str], "Warnings of validateUpload, in the service's words."]
    preflight: Annotated[list[FindingJson], "What preflight found without refusing the folder."]


class JobDocument(JobJson):
    """`uploader show --json`, `uploader enqueue --json`: one job with its files."""

    schema: Annotated[Literal["uploader.job/1"], "The name and version of this document."]
    options: Annotated[
        dict[str, object], "The options of `enqueue` that it was made with, by their Python names."
    ]
    files: Annotated[list[FileJson], "Its files by path."]


class WorkerJson(TypedDict):
    """A running worker."""

    id: Annotated[str, "Its name in this store, another one after each start."]
    jobs: Annotated[list[int], "The ids of the jobs it has in hand."]


class JobsDocument(TypedDict):
    """`uploader status --json`: the jobs of a store, and the workers that work on them.

    Any other command prints it if it is given several jobs or folders, or `--all`. Then `jobs` are
    those that it found or changed, and each of them also has its `files`.
    """

    schema: Annotated[Literal["uploader.jobs/1"], "The name and version of this document."]
    jobs: Annotated[list[JobJson], "The jobs by id."]
    workers: Annotated[list[WorkerJson], "The workers of this store that live; empty if none runs."]
    jobs_left_out: Annotated[
        int, "How many older jobs that have ended are not listed: `status --all` lists them."
    ]


class EventJson(TypedDict):
    """`uploader events`: one object per line."""

    seq: Annotated[
        int, "Its number in the history of this store; later events have higher numbers."
    ]
    job: Annotated[int, "The job's id."]
    at: Annotated[Time, "When it was written."]
    kind: Annotated[str, "What happened: see [events.md](events.md)."]
    message: Annotated[str, "The same as one sentence."]
    path: Annotated[str | None, "The file it is about; null if it is the job as a whole."]


class PlannedFileJson(TypedDict):
    """A file that would be sent."""

    path: Annotated[str, "Its path below the folder."]
    size_bytes: Annotated[int, "Its size."]


class LeftOutJson(TypedDict):
    """A file or folder that would not be sent."""

    path: Annotated[str, "Its path below the folder."]
    why: Annotated[str, "Why, in a few words."]
    size_bytes: Annotated[int | None, "Its size; null if it has none."]


class InspectionJson(TypedDict):
    """The fields that a plan and a preflight share."""

    path: Annotated[str, "The folder, as a real path."]
    kind: Annotated[
        Literal["base", "lora", "embedding", "draft"], "The kind of model that it would become."
    ]
    kind_because: Annotated[str, "What that is concluded from."]
    files_total: Annotated[int, "How many files would be sent."]
    bytes_total: Annotated[int, "Their total size."]
    rate_bps: Annotated[int | None, "Bytes per second, as given or as measured in earlier uploads."]
    expected_s: Annotated[int | None, "How many seconds the upload would take at that rate."]
    files: Annotated[list[PlannedFileJson], "The files that would be sent."]
    left_out: Annotated[list[LeftOutJson], "The files and folders that would not be sent."]
    findings: Annotated[list[FindingJson], "All findings of preflight."]


class PlanDocument(InspectionJson):
    """`uploader enqueue --dry-run --json`: the job that a folder would be."""

    schema: Annotated[Literal["uploader.plan/1"], "The name and version of this document."]
    model: Annotated[str, "The resource name: `accounts/ACCOUNT/models/MODEL`."]
    options: Annotated[dict[str, object], "The options of `enqueue`, by their Python names."]


class PlansDocument(TypedDict):
    """`uploader enqueue --dry-run --json` with several folders: the job that each would be."""

    schema: Annotated[Literal["uploader.plans/1"], "The name and version of this document."]
    plans: Annotated[list[PlanDocument], "Their documents, in the order of the folders."]


class PreflightDocument(InspectionJson):
    """`uploader preflight --json`: the findings, printed even if they refuse the folder."""

    schema: Annotated[Literal["uploader.preflight/1"], "The name and version of this document."]


class _Failed(TypedDict):
    error: Annotated[ReasonJson, "What went wrong first; it decides the exit code."]


class _FailedWith(TypedDict, total=False):
    findings: Annotated[list[FindingJson], "Of a folder that is refused: all that was found in it."]


class RefusalJson(ReasonJson, _FailedWith):
    """One of several jobs or folders for which a command failed."""

    given: Annotated[str, "The job or folder, as it was given."]


class FailureDocument(_Failed, _FailedWith, total=False):
    """Any command with `--json` that fails, with the same exit code as without it.

    What the command found or did before it failed, or for other jobs and folders, is in the same
    document: the fields of the document that it prints when it succeeds are then there, too.
    """

    errors: Annotated[list[RefusalJson], "Each that failed, if several were given."]


def job_json(job: Job, now: datetime) -> JobJson:
    """A job as of ``now``, an aware time: outdated rates and past waits are left out."""
    rate_bps, eta_s = speed(job, now)
    return {
        "id": job.id,
        "model": job.model,
        "path": job.path,
        "snapshot": job.snapshot,
        "kind": job.kind.value,
        "stage": job.stage.value,
        "status": job.status.value,
        "reason": reason_json(job.reason) if job.reason else None,
        "files_total": job.files_total,
        "files_stored": job.files_stored,
        "bytes_total": job.bytes_total,
        "bytes_confirmed": job.bytes_confirmed,
        "bytes_sent": job.bytes_sent,
        "bytes_sent_once": job.bytes_marked,
        "rate_bps": None if rate_bps is None else round(rate_bps),
        "eta_s": None if eta_s is None else round(eta_s),
        "awaiting_since": time_json(job.awaiting_since) if job.awaiting_since else None,
        "attempts": job.attempts,
        "not_before": time_json(job.not_before) if job.not_before and waits(job, now) else None,
        "priority": job.priority,
        "created_at": time_json(job.created_at),
        "updated_at": time_json(job.updated_at),
        "ready_at": time_json(job.ready_at) if job.ready_at else None,
        "warnings": list(job.warnings),
        "preflight": [cast(FindingJson, dict(finding)) for finding in job.preflight],
    }


def reason_json(reason: Reason) -> ReasonJson:
    """Why a job stands still, or waits."""
    return {"code": reason.code, "message": reason.message, "hint": reason.hint}


def file_json(file: FileState) -> FileJson:
    """One file of a job."""
    return {
        "path": file.path,
        "size_bytes": file.size_bytes,
        "offset": offset(file),
        "bytes_sent": file.bytes_sent,
        "bytes_sent_once": sent(file),
        "stored": file.stored,
        "verified": file.verified,
        "crc32c": None if file.crc32c is None else encode_crc32c(file.crc32c),
        "mode": file.mode.value,
        "attempts": file.attempts,
        "last_error": file.last_error,
        "sha256": file.sha256,
    }


def event_json(event: Event) -> EventJson:
    """One line of a job's history."""
    return {
        "seq": event.seq,
        "job": event.job_id,
        "at": time_json(event.at),
        "kind": event.kind,
        "message": event.message,
        "path": event.path,
    }


def job_document(job: Job, files: Sequence[FileState], now: datetime) -> JobDocument:
    """A job and its files, as of ``now``."""
    return {
        "schema": "uploader.job/1",
        **job_json(job, now),
        "options": given_options(job.options),
        "files": [file_json(file) for file in files],
    }


def given_options(options: Mapping[str, object]) -> dict[str, object]:
    """The options of a job that are not as they would be if nobody had asked for anything."""
    return {name.replace("-", "_"): value for name, value in options.items() if value}


def worker_json(worker: LivingWorker) -> WorkerJson:
    """One running worker, and the jobs that it holds."""
    return {"id": worker.id, "jobs": list(worker.jobs)}


def jobs_document(
    jobs: Sequence[Job], workers: Sequence[LivingWorker], now: datetime, left_out: int = 0
) -> JobsDocument:
    """The jobs and workers in the given order, without files, as of ``now``."""
    return {
        "schema": "uploader.jobs/1",
        "jobs": [job_json(job, now) for job in jobs],
        "workers": [worker_json(worker) for worker in workers],
        "jobs_left_out": left_out,
    }


def result_document(
    found: Sequence[tuple[Job, Sequence[FileState]]],
    workers: Sequence[LivingWorker],
    now: datetime,
    *,
    single: bool,
) -> JobDocument | JobsDocument | None:
    """What a command did: the ``single`` job that it was given, if it did it, or all of them."""
    jobs = [job_document(job, files, now) for job, files in found]
    if single:
        return jobs[0] if jobs else None
    listed = [cast(JobJson, {k: v for k, v in job.items() if k != "schema"}) for job in jobs]
    return {**jobs_document([], workers, now), "jobs": listed}


def plans_document(plans: Sequence[PlanDocument]) -> PlansDocument:
    """The jobs that several folders would be."""
    return {"schema": "uploader.plans/1", "plans": list(plans)}


def plan_document(
    model: str, options: Mapping[str, object], inspection: InspectionJson
) -> PlanDocument:
    """The job that a folder would be; ``model`` is its whole resource name."""
    given = given_options(options)
    return {"schema": "uploader.plan/1", "model": model, **inspection, "options": given}


def preflight_document(inspection: InspectionJson) -> PreflightDocument:
    """What was found in a folder, without a job."""
    return {"schema": "uploader.preflight/1", **inspection}


def speed(job: Job, now: datetime) -> tuple[float | None, float | None]:
    """(rate_bps, eta_s) of a job that is uploading right now; otherwise (None, None)."""
    uploading = job.status is Status.ACTIVE and job.stage is Stage.UPLOAD
    if not uploading or not job.rate_bps or now - job.updated_at > _FRESH:
        return None, None
    return job.rate_bps, job.eta_s


def waits(job: Job, now: datetime) -> bool:
    """Whether there is a time before which the job does not run."""
    return job.not_before is not None and job.not_before > now


def offset(file: FileState) -> int:
    """The bytes the server has confirmed: all of them once the file is stored."""
    return file.size_bytes if file.stored else file.checkpoint.offset


def sent(file: FileState) -> int:
    """The bytes that went to a socket of its present session, each counted once."""
    return max(offset(file), file.mark.offset)


def time_json(at: datetime) -> Time:
    """To the millisecond."""
    exact = at.astimezone(UTC).isoformat(timespec="milliseconds")
    return Time(exact.replace("+00:00", "Z"))
