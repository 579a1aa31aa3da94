"""uploader: a local folder of Hugging Face model files becomes READY on Fireworks AI.

The packages, from the top; imports only go down, and a tool checks that:

    cli        parse, call, print
    service    the long-running side       sandbox    a stand-in for both services
    wiring     settings in, working parts out
    intake     makes a job of a folder              engine     works on jobs and files
    preflight  the named checks                     sources    the files of a model, as bytes
    remote     the two services, over HTTP
    store      the job table, in SQL                model      Hugging Face folders
    settings   TOML and environment
    runtime    clock, threads, stop token
    core       decides, and touches neither disk, network nor clock

A line goes to the lowest package that can be given all it needs. docs/architecture.md says where a
new check, fault, field, reason, source, route, setting or command goes, and describes threads,
stopping, durability and leases. docs/life.md follows a job, docs/invariants.md says what is always
true, docs/fireworks.md and docs/gcs-resumable.md say what the services answer.

A job: `enqueue` writes rows and sends nothing. A worker claims the job, creates the model, asks for
signed URLs as a whole map, and opens a session per file, whose URI is committed before the first
byte leaves. After any doubt the server is asked where it stands, and its answer wins over the row.
The retry table turns an error into a verdict, and a verdict into a decision: try again later, block
(the account needs a human), or fail (this job needs one).
"""

import importlib
from typing import TYPE_CHECKING

from uploader.core.distribution import __version__ as __version__

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
        SourceChanged,
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
        upload,
        wait,
    )
else:

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module("uploader.api"), name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
