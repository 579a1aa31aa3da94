"""A new run of a job: the folder as it is now, from stage `create`, events kept.

See docs/life.md §5.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete, select, update

from uploader.core.errors import UsageError, VerbRefused
from uploader.core.events import EventKind
from uploader.core.job import Job, NewJob
from uploader.core.lifecycle import Verb, advance
from uploader.core.reasons import Code
from uploader.core.text import some
from uploader.store.enqueue import check_text, insert_files
from uploader.store.held import NEW_RUN
from uploader.store.journal import Transaction, reason_columns
from uploader.store.tables import files, jobs

_NAMES_SHOWN = 5


def restart(transaction: Transaction, job: Job, new: NewJob, *, replace: bool) -> None:
    """Raises UsageError or VerbRefused before anything is written."""
    status = advance(job.status, Verb.RESCAN)
    _refuse_held(job)
    _refuse_foreign(job, replace=replace)
    if not replace:
        _refuse_others(transaction, job, new)
    check_text(new.manifest)
    transaction.run(
        update(jobs)
        .where(jobs.c.id == job.id)
        .values(
            path=new.manifest.root,
            create_body=dict(new.create_body),
            preflight=[dict(finding) for finding in new.preflight],
            status=status,
            run_number=job.run_number + 1,
            replace_first=replace or job.replace_first,
            updated_at=transaction.now,
            recreations=0,
            **NEW_RUN,
            **reason_columns(None),
        )
    )
    # With their rows go the session URIs: nobody may use those of an earlier run again.
    transaction.run(delete(files).where(files.c.job_id == job.id))
    insert_files(transaction, job.id, new.manifest)
    kind = EventKind.REPLACED if replace else EventKind.RESCANNED
    transaction.tell(job.id, kind, _told(new, replace=replace))


def _told(new: NewJob, *, replace: bool) -> str:
    count, total = len(new.manifest.files), new.manifest.size_bytes
    what = f"a new snapshot of {count} files, {total:,} bytes; every byte is sent again"
    return f"{what}, to a model that is deleted and created again" if replace else what


def _refuse_held(job: Job) -> None:
    """A worker may have a PUT under way: fencing its rows would not take that back."""
    if job.lease is not None:
        raise VerbRefused(
            f"a worker has job {job.id} in hand",
            hint=f"`uploader pause {job.id}`, then try again in a moment;"
            " if that worker was killed, `uploader run` frees its jobs",
        )


def _refuse_foreign(job: Job, *, replace: bool) -> None:
    if replace and not (job.created_remotely or job.replace_first):
        raise UsageError(
            f"job {job.id} did not create {job.model}: it is not replaced",
            hint="`rescan` takes the folder as it is, where its files have the same names",
        )


def _refuse_others(transaction: Transaction, job: Job, new: NewJob) -> None:
    """The files of a model that exists are fixed (docs/fireworks.md §1); sizes are not."""
    if job.replace_first or not job.model_exists:
        return
    known = set(
        transaction.connection.scalars(select(files.c.path).where(files.c.job_id == job.id))
    )
    names = {file.path for file in new.manifest.files}
    found = [f"added {some(sorted(names - known), _NAMES_SHOWN)}"] if names - known else []
    found += [f"gone {some(sorted(known - names), _NAMES_SHOWN)}"] if known - names else []
    if not found and _adapter(job.create_body) != _adapter(new.create_body):
        found = ["another base model, rank or target modules"]
    if found:
        raise UsageError(
            f"{job.model} exists and what it consists of is fixed: {'; '.join(found)}",
            hint=_way_out(job),
            code=Code.FIXED_FILES,
        )


def _adapter(body: Any) -> Any:
    """What of a create body depends on more than the files' names and the user's words."""
    return body.get("model", {}).get("peftDetails")


def _way_out(job: Job) -> str:
    if job.created_remotely:
        return f"`uploader retry {job.id} --replace` deletes the model and creates it again"
    return f"`uploader cancel {job.id}`, then enqueue the folder with another `model_id`"
