"""What a verb demands of a job besides its status, and what a retry forgives."""

from __future__ import annotations

from sqlalchemy import update

from uploader.core.errors import UsageError, VerbRefused
from uploader.core.job import Job, Status
from uploader.core.lifecycle import Verb
from uploader.store.journal import Transaction
from uploader.store.tables import files, jobs

_REMOVABLE = (Status.DONE, Status.CANCELLED, Status.FAILED)


def check_deletable(job: Job, verb: Verb) -> None:
    """Raises UsageError or VerbRefused unless ``verb`` may delete the model of ``job``."""
    if verb is not Verb.CANCEL or not job.created_remotely:
        raise UsageError(
            f"job {job.id} did not create {job.model}: it is not deleted",
            hint="cancel without `delete_remote`",
        )
    if job.status is Status.CANCELLED and job.model_exists and not job.delete_on_cancel:
        raise VerbRefused(
            f"job {job.id} was cancelled before: {job.model} is left as it is",
            hint="somebody else may use that name by now: check it on Fireworks",
        )


def check_removable(job: Job) -> None:
    """Raises VerbRefused unless the job is over and nobody works on it."""
    if job.status not in _REMOVABLE:
        raise VerbRefused(
            f"job {job.id} is {job.status} and cannot be removed",
            hint=f"`uploader cancel {job.id}` first",
        )
    if job.lease is not None or job.delete_on_cancel:
        raise VerbRefused(
            f"a worker still has work to do for job {job.id}",
            hint="try again in a moment; `uploader run` does the work",
        )


def forgive(transaction: Transaction, job_id: int) -> None:
    """Forget the job's failures; offsets are kept."""
    nothing = {"failures": 0, "rescues": 0, "polling_s": 0.0}
    transaction.run(update(jobs).where(jobs.c.id == job_id).values(nothing))
    transaction.run(
        update(files)
        .where(files.c.job_id == job_id)
        .values(failures=0, not_before=None, mismatches=0, old_sessions_lost=0, sessions_lost=0)
    )
