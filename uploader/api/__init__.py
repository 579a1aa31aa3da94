"""The calls and values behind `import uploader`: for notebooks, scripts and CI (docs/python.md)."""

from uploader.api.calls import (
    cancel,
    events,
    job,
    jobs,
    pause,
    remove,
    resume,
    retry,
    wait,
)
from uploader.api.enqueuing import enqueue, upload
from uploader.api.results import Event, File, Job, JobWithFiles
from uploader.core.errors import (
    NotFound,
    PreflightRefused,
    SourceChanged,
    StoreError,
    UploaderError,
    UsageError,
    VerbRefused,
    WaitTimedOut,
)
from uploader.core.finding import Finding
from uploader.core.job import Kind, Mode, Reason, Stage, Status

__all__ = [
    "Event",
    "File",
    "Finding",
    "Job",
    "JobWithFiles",
    "Kind",
    "Mode",
    "NotFound",
    "PreflightRefused",
    "Reason",
    "SourceChanged",
    "Stage",
    "Status",
    "StoreError",
    "UploaderError",
    "UsageError",
    "VerbRefused",
    "WaitTimedOut",
    "cancel",
    "enqueue",
    "events",
    "job",
    "jobs",
    "pause",
    "remove",
    "resume",
    "retry",
    "upload",
    "wait",
]
