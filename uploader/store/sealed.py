"""What a worker refuses to read: a job or a file without its seal (`core/seal.py`).

It looks at every row of a job when it claims it (`believed.py`), and here again whenever it reads
one: somebody may write in between.
"""

from __future__ import annotations

from collections.abc import Iterable

from uploader.core.errors import StoreError
from uploader.core.job import FileState, Job
from uploader.core.reasons import Code
from uploader.core.seal import Seal


def check_job(seal: Seal, job: Job) -> None:
    """Raises StoreError for a job that was not written with the secret."""
    if not seal.holds_job(job):
        raise _unsealed(job.id)


def check_files(seal: Seal, found: Iterable[FileState]) -> None:
    """Raises StoreError for a file, or its address, that was not written with the secret."""
    for file in found:
        if not (seal.holds_file(file) and seal.holds_address(file)):
            raise _unsealed(file.job_id)


def _unsealed(job_id: int) -> StoreError:
    return StoreError(f"job {job_id} has no seal of this job table", code=Code.UNSEALED)
