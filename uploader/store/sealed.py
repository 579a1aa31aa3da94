"""What is refused: a job or a file without its seal (`core/seal.py`).

A worker looks at every row of a job when it claims it (`believed.py`), and here again whenever it
reads one: somebody may write in between. A command looks at a job before it plans a new run of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from uploader.core.errors import StoreError, UsageError
from uploader.core.job import FileState, Status
from uploader.core.reasons import Code
from uploader.core.seal import RunSeal, Seal, SealedJob
from uploader.core.whole_job import WholeJob


def check_job(seal: Seal, job: WholeJob) -> SealedJob:
    """The job. Raises StoreError for one that was not written with the secret."""
    if not seal.holds_job(job):
        raise unsealed(job.id)
    return SealedJob(job)


def sealed_job(seal: Seal, job: WholeJob) -> SealedJob:
    """As `check_job`, for a command: it is this job's fault alone. Raises UsageError."""
    if not seal.holds_job(job):
        raise _refused(job.id)
    return SealedJob(job)


def sealed_names(seal: RunSeal, found: Iterable[FileState]) -> set[str]:
    """The names of a job's files, for a command. Raises UsageError if one has no seal."""
    names = set()
    for file in found:
        if not seal.holds_file(file):
            raise _refused(file.job_id)
        names.add(file.path)
    return names


def cancelled_by_others(seal: Seal, job: WholeJob) -> WholeJob | None:
    """The job as it was before somebody without the secret cancelled it in its row, if so."""
    before = replace(job, status=Status.PAUSED)
    is_so = job.status is Status.CANCELLED and not seal.holds_job(job) and seal.holds_job(before)
    return before if is_so else None


def check_files(seal: RunSeal, found: Iterable[FileState]) -> None:
    """Raises StoreError for a file, or how far it is, that was not written with the secret."""
    for file in found:
        if not (seal.holds_file(file) and seal.holds_standing(file)):
            raise unsealed(file.job_id)


def _refused(job_id: int) -> UsageError:
    error = unsealed(job_id)
    return UsageError(error.message, hint=error.hint, code=error.code)


def unsealed(job_id: int) -> StoreError:
    """The error to raise for rows that somebody without the secret wrote."""
    return StoreError(f"job {job_id} has no seal of this job table", code=Code.UNSEALED)
