"""Is this folder already a job? The rule of docs/life.md §1, and the rows of a new job."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, insert, or_, select, true, update

from uploader.core.errors import UsageError
from uploader.core.events import EventKind
from uploader.core.job import (
    MOST,
    OPEN_STATUSES,
    UNKNOWN_ACCOUNT,
    WRITTEN,
    FileState,
    Manifest,
    NewJob,
    Stage,
    Status,
)
from uploader.core.reasons import Code
from uploader.core.seal import RunSeal, SealedJob
from uploader.core.text import size
from uploader.core.whole_job import WholeJob
from uploader.store.blank import NO_SESSION
from uploader.store.database.dialect import corrupt_rows_as_store_error
from uploader.store.journal import Transaction
from uploader.store.tables import files, jobs

_CHANGED = "other files"


@corrupt_rows_as_store_error()
def known_job(connection: Connection, new: NewJob) -> int | None:
    """The id of the same job, open or done; None if ``new`` is a new job.

    Raises UsageError "conflict", naming both, if an open job of that model differs, or the job
    that made the model READY does: a model's files cannot be changed.
    """
    rows = connection.execute(
        select(jobs)
        .where(
            jobs.c.base_url == new.base_url,
            jobs.c.model_id == new.model_id,
            jobs.c.status != Status.CANCELLED,
            _maybe_account(new.account),
        )
        .order_by(jobs.c.id.desc())
    ).all()
    still_open = [row for row in rows if row.status in OPEN_STATUSES]
    # Among done jobs, only the last says what the model is now.
    in_the_way = still_open or rows[:1]
    differences = [_difference(connection, row, new) for row in in_the_way]
    for row, difference in zip(in_the_way, differences, strict=True):
        if not difference:
            known: int = row.id
            return known
    if in_the_way:
        raise _conflict(in_the_way[0], differences[0], new)
    return None


def _maybe_account(account: str) -> ColumnElement[bool]:
    """Two accounts may be the same as long as either is unknown."""
    if account == UNKNOWN_ACCOUNT:
        return true()
    return or_(jobs.c.account == account, jobs.c.account == UNKNOWN_ACCOUNT)


def _difference(connection: Connection, row: Row[Any], new: NewJob) -> str:
    """How ``new`` differs from the job in ``row``; empty if it does not."""
    if row.path != new.manifest.root:
        return "another folder"
    if row.options != _as_json(new.options):
        return "other options"
    if new.snapshot and not row.snapshot and row.status in OPEN_STATUSES:
        return "no snapshot of its files"
    columns = (files.c.path, files.c.size_bytes, files.c.fingerprint)
    rows = connection.execute(select(*columns).where(files.c.job_id == row.id)).all()
    known = {file.path: file for file in rows}
    wanted = {file.path: file for file in new.manifest.files}
    unchanged = known.keys() == wanted.keys() and all(
        wanted[path].size_bytes == file.size_bytes
        and new.manifest.same(file.fingerprint, wanted[path].fingerprint)
        for path, file in known.items()
    )
    return "" if unchanged else _CHANGED


def _as_json(options: Mapping[str, Any]) -> Any:
    """The value as it is read from its column: tuples become lists there."""
    return json.loads(json.dumps(dict(options)))


def _conflict(row: Row[Any], difference: str, new: NewJob) -> UsageError:
    wanted = f"cannot enqueue {new.manifest.root} as {new.model_id}"
    if row.status == Status.DONE:
        model = shlex.quote(f"accounts/{row.account}/models/{row.model_id}")
        return UsageError(
            f"{wanted}: job {row.id} ({row.path}) has made {model} READY with {difference}",
            hint="the files of a READY model cannot be changed: choose another `model_id`; or "
            f"`uploader model delete {model}`, `uploader remove {row.id}` and enqueue again",
            code=Code.CONFLICT,
        )
    cancel = f"`uploader cancel {row.id}` gives that one up"
    if row.created_remotely:
        cancel = f"`uploader cancel {row.id} --delete-remote` gives that one up, with its model"
    rescan = f"`uploader retry {row.id} --rescan` takes the folder as it is now"
    return UsageError(
        f"{wanted}: job {row.id} ({row.path}) is {row.status} for that model with {difference}",
        hint=f"{rescan if difference == _CHANGED else cancel}; or choose another `model_id`",
        code=Code.CONFLICT,
    )


def insert_job(transaction: Transaction, new: NewJob) -> int:
    """Write a new job with its files and its first event; returns its id."""
    check_storable(new.manifest)
    job_id: int = transaction.run(
        insert(jobs)
        .values(
            base_url=new.base_url,
            account=new.account,
            model_id=new.model_id,
            path=new.manifest.root,
            snapshot=new.snapshot,
            kind=new.kind,
            create_body=dict(new.create_body),
            options=dict(new.options),
            preflight=[dict(finding) for finding in new.preflight],
            warnings=[],
            stage=Stage.CREATE,
            status=Status.ACTIVE,
            priority=new.priority,
            created_at=transaction.now,
            updated_at=transaction.now,
        )
        .returning(jobs.c.id)
    ).scalar_one()
    job = _new_job(transaction, job_id, new)
    insert_files(transaction, transaction.seal.run_of(job), new.manifest)
    if (seal := transaction.seal.job(job)) is not None:
        transaction.run(update(jobs).where(jobs.c.id == job_id).values(seal=seal))
    transaction.add_event(
        job_id, EventKind.ENQUEUED, f"enqueued {new.manifest.root} as {new.model_id}"
    )
    return job_id


def insert_files(
    transaction: Transaction, run: RunSeal, manifest: Manifest, kept: Iterable[FileState] = ()
) -> None:
    """A row for each file: those in ``kept`` are stored already, nothing is sent of the others."""
    known = {file.path: file for file in kept}
    new, old = [], []
    for file in manifest.files:
        stored, found = known.get(file.path), file.fingerprint
        if stored is not None and stored.fingerprint.endswith(WRITTEN):
            found += WRITTEN
        row = {
            "job_id": run.job_id,
            "path": file.path,
            "size_bytes": file.size_bytes,
            "fingerprint": found,
            "seal": run.file(file.path, file.size_bytes, found),
        }
        if stored is None:
            new.append(row)  # the table's defaults say that nothing was sent
        else:
            sealed = run.standing(replace(stored, fingerprint=found))
            old.append({**row, **_as_stored(stored), "address_seal": sealed})
    for rows in filter(None, (new, old)):
        transaction.connection.execute(insert(files), rows)


def _as_stored(file: FileState) -> dict[str, Any]:
    """What a row says of a verified object of the service."""
    return {
        **NO_SESSION,
        "object_path": file.object_path,
        "offset": file.size_bytes,
        "offset_crc32c": file.crc32c,
        "mark_bytes": file.size_bytes,
        "mark_crc32c": file.crc32c,
        "stored": True,
        "verified": True,
        "crc32c": file.crc32c,
        "generation": file.generation,
        "sha256": file.sha256,
        "sha256_as_sent": file.sha256_as_sent,
    }


def _new_job(transaction: Transaction, job_id: int, new: NewJob) -> SealedJob:
    """The job as it will be read."""
    job = WholeJob(
        job_id,
        new.base_url,
        new.account,
        new.model_id,
        new.manifest.root,
        new.kind,
        Stage.CREATE,
        Status.ACTIVE,
        transaction.now,
        transaction.now,
        new.snapshot,
        create_body=new.create_body,
        options=new.options,
        files_total=len(new.manifest.files),
        bytes_total=new.manifest.size_bytes,
    )
    return SealedJob(job)


def check_storable(manifest: Manifest) -> None:
    """Raises UsageError for what no row may hold: names that are not UTF-8, odd sizes.

    A sparse file may say that it has more bytes than there is room for in the world.
    """
    if manifest.size_bytes > MOST:
        largest = max(manifest.files, key=lambda file: file.size_bytes)
        raise UsageError(
            f"{manifest.root!r} has {size(manifest.size_bytes)}, more than a job may have:"
            f" {largest.path!r} has {size(largest.size_bytes)}",
            hint="`exclude` it: it is sparse, or the file system is damaged",
        )
    for name in (manifest.root, *(file.path for file in manifest.files)):
        try:
            name.encode("utf-8")
        except UnicodeEncodeError:
            raise UsageError(f"{name!r} is not valid UTF-8", hint="rename it") from None
