"""A new run of a job: the folder as it is now, from stage `create`, events kept.

See docs/life.md §5.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, delete, select, update

from uploader.core.errors import UsageError, VerbRefused
from uploader.core.events import EventKind
from uploader.core.job import FileState, Job, NewJob
from uploader.core.lifecycle import Verb, advance
from uploader.core.reasons import Code
from uploader.core.remote_model import adapter_differences
from uploader.core.seal import RunSeal, Seal, SealedJob
from uploader.core.text import some
from uploader.core.whole_job import WholeJob
from uploader.store.blank import NEW_RUN
from uploader.store.enqueue import check_storable, insert_files
from uploader.store.journal import Transaction, reason_columns
from uploader.store.leftovers import leave
from uploader.store.rows import file_of, read_job, reading_job
from uploader.store.sealed import sealed_job, sealed_names
from uploader.store.tables import files, jobs

_NAMES_SHOWN = 5
_KEPT = "read again: its bytes are those that are stored, so they are not sent again"


def restartable(
    connection: Connection, planned: SealedJob, new: NewJob, seal: Seal, *, replace: bool
) -> SealedJob:
    """The job as it is now, for its run ``new``, which was planned when it was ``planned``.

    Raises NotFound, UsageError or VerbRefused if that run may not begin.
    """
    job = sealed_job(seal, read_job(connection, planned.id))
    advance(job.status, Verb.RESCAN)
    _refuse_another(job, planned)
    _refuse_held(job)
    _refuse_foreign(job, replace=replace)
    if not replace:
        _refuse_others(connection, job, new, seal.run_of(job))
    check_storable(new.manifest)
    return job


def restart(
    transaction: Transaction,
    planned: SealedJob,
    new: NewJob,
    kept: Iterable[FileState],
    *,
    replace: bool,
) -> None:
    """Raises what `restartable` raises before anything is written.

    Of ``kept``, the stored files whose bytes are the same, those stay stored that still are.
    """
    job = restartable(transaction.connection, planned, new, transaction.seal, replace=replace)
    kept = [] if replace else _still_stored(transaction, job, list(kept))
    sealed: dict[str, Any] = {
        "path": new.manifest.root,
        "snapshot": new.snapshot,
        "create_body": dict(new.create_body),
        "status": advance(job.status, Verb.RESCAN),
        "run_number": job.run_number + 1,
        "files_run": job.run_number + 1,
        "replace_first": replace or job.replace_first,
    }
    begun = _as_read(job, new, sealed)
    transaction.run(
        update(jobs)
        .where(jobs.c.id == job.id)
        .values(
            seal=transaction.seal.job(begun),
            preflight=[dict(finding) for finding in new.preflight],
            updated_at=transaction.now,
            recreations=0,
            **sealed,
            **NEW_RUN,
            **reason_columns(None),
        )
    )
    leave(transaction, files.c.job_id == job.id)  # no session of an earlier run is used again
    transaction.run(delete(files).where(files.c.job_id == job.id))
    insert_files(transaction, transaction.seal.run_of(begun), new.manifest, kept)
    kind = EventKind.REPLACED if replace else EventKind.RESCANNED
    message = _event_message(new, kept)
    if replace:
        deleted = "deleted and " if job.model_exists else ""
        message += f", to a model that is {deleted}created again"
    transaction.add_event(job.id, kind, message)
    news = [(_KEPT, file.path) for file in kept]
    transaction.add_events(job.id, EventKind.KEPT, news)


def _as_read(job: SealedJob, new: NewJob, sealed: Mapping[str, Any]) -> SealedJob:
    """The job as it will be read once its new files are written."""
    count, size_bytes = len(new.manifest.files), new.manifest.size_bytes
    stage = NEW_RUN["stage"]
    return dataclasses.replace(
        job, files_total=count, bytes_total=size_bytes, stage=stage, **sealed
    )


def _still_stored(transaction: Transaction, job: Job, kept: Sequence[FileState]) -> list[FileState]:
    """The files in ``kept`` that are still stored as they were when they were read, and sealed."""
    if not kept or not job.model_exists or job.replace_first:
        return []
    query = select(files).where(files.c.job_id == job.id, files.c.stored, files.c.verified)
    with reading_job(job.id):
        found = [file_of(row) for row in transaction.connection.execute(query)]
    run = transaction.seal.run_of(job)
    sealed = filter(run.holds_standing, filter(run.holds_file, found))
    known = {file.path: _facts(file) for file in sealed}
    return [file for file in kept if known.get(file.path) == _facts(file)]


def _facts(file: FileState) -> tuple[object, ...]:
    digest = file.crc32c, file.sha256, file.sha256_as_sent
    return (*digest, file.generation, file.object_path)


def _event_message(new: NewJob, kept: Sequence[FileState]) -> str:
    count, total = len(new.manifest.files), new.manifest.size_bytes
    what = f"a new snapshot of {count} files, {total:,} bytes; "
    if kept:
        size_bytes = sum(file.size_bytes for file in kept)
        return what + f"{len(kept)} of them stay stored, {size_bytes:,} bytes"
    return what + "every byte is sent again"


def _refuse_another(job: SealedJob, planned: SealedJob) -> None:
    """The new run's folder, body and files are of ``planned``; all else is of ``job``.

    Files may have been read for hours since, and another run may have begun and ended.
    """
    if (job.seal, job.run_number) != (planned.seal, planned.run_number):
        raise VerbRefused(f"job {job.id} has changed meanwhile", hint="try again")


def _refuse_held(job: Job) -> None:
    """A worker may be sending a PUT: fencing its rows would not stop that."""
    if job.lease is not None:
        raise VerbRefused(
            f"a worker is working on job {job.id}",
            hint=f"`uploader pause {job.id}`, then try again in a moment;"
            " if that worker was killed, `uploader run` frees its jobs",
        )


def _refuse_foreign(job: Job, *, replace: bool) -> None:
    """What does not exist is created again, and nothing is deleted."""
    if replace and job.model_exists and not (job.created_remotely or job.replace_first):
        raise UsageError(
            f"job {job.id} did not create {job.model}: it is not replaced",
            hint="`rescan` takes the folder as it is, if its files have the same names",
        )


def _refuse_others(connection: Connection, job: WholeJob, new: NewJob, seal: RunSeal) -> None:
    """The names of an existing model's files are fixed (docs/fireworks.md §1); sizes are not.

    So are those of one that was called gone: the service may show it again, files and all.
    """
    if job.replace_first or not (job.model_exists or job.model_created_at):
        return
    rows = connection.execute(select(files).where(files.c.job_id == job.id))
    with reading_job(job.id):
        known = sealed_names(seal, map(file_of, rows))
    names = {file.path for file in new.manifest.files}
    found = [f"added {some(sorted(names - known), _NAMES_SHOWN)}"] if names - known else []
    found += [f"missing {some(sorted(known - names), _NAMES_SHOWN)}"] if known - names else []
    bodies = (one.create_body.get("model", {}) for one in (new, job))
    found += adapter_differences(*bodies)
    if found:
        raise UsageError(
            f"{job.model} {'exists' if job.model_exists else 'existed'} and cannot be changed:"
            f" {'; '.join(found)}",
            hint=_way_out(job),
            code=Code.FIXED_FILES,
        )


def _way_out(job: Job) -> str:
    if not job.model_exists:
        return f"`uploader retry {job.id} --replace` creates the model again"
    if job.created_remotely:
        return f"`uploader retry {job.id} --replace` deletes the model and creates it again"
    return f"`uploader cancel {job.id}`, then enqueue the folder with another `model_id`"
