"""uploader: a local folder of Hugging Face model files becomes READY on Fireworks AI.

Rooms, from the top; imports go down only, and a tool checks it:

    cli        parse, call, print
    service    what lives as long as a daemon       sandbox    a stand-in for both services
    wiring     settings in, working parts out
    intake     a folder becomes a job               engine     worker, job and file on their way
    preflight  the named checks                     sources    the files of a model, as bytes
    remote     the two services, over HTTP
    store      the job table, in SQL                model      Hugging Face folders
    settings   TOML and environment
    runtime    clock, threads, stop token
    core       decides, and touches neither disk, network nor clock

A line goes to the lowest room that has all it needs handed in. docs/architecture.md says where a
new check, fault, field, reason, source, route, setting or command goes, and describes threads,
stopping, durability and leases. docs/life.md follows a job, docs/invariants.md says what is always
true, docs/fireworks.md and docs/gcs-resumable.md say what the services answer.

A job: `enqueue` writes rows and sends nothing. A worker claims the job, creates the model, asks for
signed URLs as a whole map, and opens a session per file, whose URI is committed before the first
byte leaves. After any doubt the server is asked where it stands, and its answer wins over the row.
An error becomes a verdict by the retry table, a verdict a decision: try again later, block (the
account needs a human), or fail (this job does).
"""

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"
#: What `import uploader` offers (docs/python.md); each is loaded when it is first used.
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
    "wait",
]

if TYPE_CHECKING:
    from uploader.api import (
        Event,
        File,
        Finding,
        Job,
        JobWithFiles,
        Kind,
        Mode,
        NotFound,
        PreflightRefused,
        Reason,
        Stage,
        Status,
        StoreError,
        UploaderError,
        UsageError,
        VerbRefused,
        WaitTimedOut,
        cancel,
        enqueue,
        events,
        job,
        jobs,
        pause,
        remove,
        resume,
        retry,
        wait,
    )
else:

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module("uploader.api"), name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
