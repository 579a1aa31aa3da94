"""A job that a worker holds: the only way to write about it (docs/life.md).

Each verb of `Held` is one transaction. It raises LeaseLost and writes nothing unless the lease is
valid; some verbs, as they say, also need the job to be active.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import exists, select, update

from uploader.core.errors import UsageError
from uploader.core.events import EventKind
from uploader.core.job import Job, Lease, Mode, Reason, Stage, Status
from uploader.core.keeping import few_lines
from uploader.core.lifecycle import NEXT_STAGE, Verb, advance
from uploader.core.reasons import SILENT, Code
from uploader.core.verdict import Call
from uploader.core.whole_job import WholeJob
from uploader.store.blank import NEW_RUN, NO_LEASE, NO_SESSION
from uploader.store.conditions import others_for_its_model
from uploader.store.fence import Fence
from uploader.store.file_updates import FORGET
from uploader.store.held_calls import HeldCalls, deletion_under_way, validation_under_way
from uploader.store.held_files import HeldFiles
from uploader.store.journal import Transaction, reason_columns, storable
from uploader.store.leftovers import (
    ERASED,
    Leftover,
    cleaned_up,
    forget,
    forget_all,
    leave,
    leave_all,
    left_for,
    refuse_strays,
    to_clean_up,
)
from uploader.store.rows import read_job
from uploader.store.sealed import check_job
from uploader.store.standing import check_all_stored, require_stored
from uploader.store.tables import OPEN, files, jobs
from uploader.store.tokens import fewer_rescues, lived_long_at


class Held:
    """One claimed job; `Claims.claim` hands it out.

    ``job`` is the job as it was claimed, ``files`` writes about its files, ``calls`` about what may
    be under way at the service.
    """

    def __init__(self, job: WholeJob, fence: Fence) -> None:
        self.job = job
        self.files = HeldFiles(fence, fence.journal.seal.run_of(job))
        self.calls = HeldCalls(fence, job.status)
        self._fence = fence

    @property
    def lease(self) -> Lease:
        """The lease under which everything here is written."""
        return self._fence.lease

    # -- stages ----------------------------------------------------------------------------

    def adopt_account(self, account: str) -> WholeJob:
        """Write the account that the service named; returns the active job as it is now.

        Raises UsageError "conflict" if another open job is for that model already.
        """
        with self._fence.writing(Status.ACTIVE) as transaction:
            job = read_job(transaction.connection, self.lease.job_id)
            known = check_job(transaction.seal, replace(job, account=self.job.account))
            adopted = replace(known, account=account)
            self._check_alone(transaction, adopted)
            self._add_event(transaction, EventKind.ACCOUNT, f"the account is {account}")
            columns = {"account": account, "seal": transaction.seal.job(adopted)}
            transaction.run(update(jobs).where(jobs.c.id == job.id).values(columns))
            return self._job(transaction)

    def take_name(self, account: str) -> list[Leftover] | None:
        """What has to be ended before this job sends to the model of its name in that account.

        From now on no cancelled job deletes that model, nor has sessions for it; and if nothing is
        returned, nobody else has. None if the job has to wait: one of them is about to be cleaned
        up after, as it was cancelled a moment ago, or a worker is at it; or a validateUpload, or a
        DELETE of a model of that name, may be under way whose answer nobody heard.
        """
        with self._fence.writing(Status.ACTIVE) as transaction:
            found = to_clean_up(transaction, self.job, account)
            if any(row.is_next for row in found):
                return None
            if validation_under_way(transaction, self.job, account):
                return None
            if kept := [row.id for row in found if row.delete_on_cancel]:
                these = update(jobs).where(jobs.c.id.in_(kept))
                transaction.run(these.values(delete_on_cancel=False, **reason_columns(None)))
                message = f"job {self.job.id} makes this model its own: it is not deleted"
                transaction.add_event_of_each(kept, EventKind.MODEL_KEPT, message)
            if deletion_under_way(transaction, self.job, account):
                return None  # only now: those that may not delete it any more send no further one
            if found:
                leave_all(transaction, [row.id for row in found])
            return self._left(transaction, account)

    def leave_sessions(self) -> list[Leftover]:
        """What has to be ended of a cancelled job and of others that were for its model."""
        with self._fence.writing(Status.CANCELLED) as transaction:
            leave_all(transaction, [self.lease.job_id])
            return self._left(transaction, self.job.account)

    def _left(self, transaction: Transaction, account: str) -> list[Leftover]:
        found, strayed = left_for(transaction, self.job, account)
        if strayed:
            self._tell_left_open(transaction, f"{strayed} sessions have no seal of this job table")
        return found

    def end_leftovers(
        self, ended: Sequence[Leftover], refused: Sequence[tuple[Leftover, str]] = ()
    ) -> None:
        """``ended`` are over; ``refused``: those that the service never ends, and what it said."""
        gone = [*ended, *(one for one, _ in refused)]
        with self._fence.writing() as transaction:
            forget(transaction, [one.id for one in gone])
            for one, why in refused:
                self._tell_left_open(transaction, why, one.path)
            if others := {one.job_id for one in gone} - {self.lease.job_id}:
                self._tell_closed(transaction, *cleaned_up(transaction, others))

    def _check_alone(self, transaction: Transaction, job: Job) -> None:
        same = exists().where(*others_for_its_model(job, job.account), OPEN)
        if transaction.connection.execute(select(same)).scalar_one():
            raise UsageError(
                f"another open job uploads the same model of account {job.account}",
                hint="`uploader status` lists both: cancel one",
                code=Code.CONFLICT,
            )

    def enter_upload(
        self, *, created: bool, differs: str = "", model_created_at: datetime | None = None
    ) -> WholeJob:
        """The model exists: ``created`` if our own POST was answered, else found and compatible.

        ``differs`` says in which options it is not what this job would have created. Raises
        ValueError for a new one if the run has kept files, which are not in it.
        """
        ours = {"created_remotely": True} if created else {}
        now = jobs.c.updated_at  # the fence has just written it
        with self._entered(Stage.UPLOAD, upload_started_at=now) as transaction:
            this = {"model_exists": True, "model_created_at": model_created_at, **ours}
            job = self._write_run(transaction, replace_first=False, **this)
            if created and job.files_stored:
                raise ValueError(f"job {job.id} has files that are not in a new model")
            told = EventKind.CREATED, "the model was created"
            if not created:
                refuse_strays(transaction, job, model_created_at)
                but = f", but stays as it is: {differs}" if differs else ""
                told = EventKind.ADOPTED, f"the model existed and is compatible{but}"
            self._add_event(transaction, *told)
            return self._job(transaction)

    def mark_deleted(self, why: str) -> None:
        """The model of this job is gone: any model of its name is another one from now on.

        So a model that somebody else creates is never deleted as ours, and has none of the files
        that this run may have kept: another run begins, for which no row of theirs is good. Written
        whatever the user has done to the job meanwhile.
        """
        with self._fence.writing() as transaction:
            job, lost = self._job(transaction), 0
            if may_have_kept := job.stage is Stage.CREATE and not job.replace_first:
                kept = update(files).where(files.c.job_id == job.id, files.c.stored)
                lost = transaction.run(kept.values(FORGET)).rowcount
            again = {"run_number": job.run_number + 1} if may_have_kept else {}
            self._write_run(transaction, model_exists=False, created_remotely=False, **again)
            words = f"; {lost} of its files were kept, and are sent again" if lost else ""
            self._add_event(transaction, EventKind.DELETED, f"{why}{words}")

    def enter_validate(self) -> WholeJob:
        """Every file is stored; raises ValueError if one is not (docs/invariants.md §4)."""
        require_stored(self._fence.journal, self.job)
        with self._entered(Stage.VALIDATE, uploaded_at=jobs.c.updated_at) as transaction:
            check_all_stored(transaction, self.lease.job_id)
            self._fence.tell_last(transaction)
            self._add_event(transaction, EventKind.VALIDATING, "every file is stored")
            return self._job(transaction)

    def call_validate(self) -> datetime | None:
        """As `HeldCalls.begin`; raises as `enter_validate`: its stage alone shows nothing."""
        require_stored(self._fence.journal, self.job)
        return self.calls.begin(Call.VALIDATE)

    def finish(self, warnings: Sequence[str] = ()) -> None:
        """The service calls the model READY, and says ``warnings``; raises as `enter_validate`."""
        require_stored(self._fence.journal, self.job)
        with self._entered(
            Stage.READY,
            status=advance(Status.ACTIVE, Verb.FINISH),
            ready_at=jobs.c.updated_at,
            rate_bps=None,
            warnings=few_lines(warnings, storable),
        ) as transaction:
            check_all_stored(transaction, self.lease.job_id)
            self._erase_sessions(transaction)
            self._add_event(transaction, EventKind.READY, "the model is READY")

    @contextlib.contextmanager
    def _entered(self, stage: Stage, **columns: Any) -> Iterator[Transaction]:
        """One stage forward; raises ValueError if ``stage`` is not the next one."""
        with self._fence.writing(
            Status.ACTIVE, failures=0, not_before=None, **reason_columns(None)
        ) as transaction:
            job = self._write_run(transaction, stage=stage)
            if NEXT_STAGE.get(job.stage) is not stage:
                raise ValueError(f"job {job.id} cannot go from {job.stage} to {stage}")
            transaction.run(update(jobs).where(jobs.c.id == job.id).values(**columns))
            yield transaction

    def _write_run(self, transaction: Transaction, **changes: Any) -> WholeJob:
        """Write what the job's seal is over; returns the job as it was. Raises StoreError."""
        job = self._job(transaction)
        sealed = {**changes, "seal": transaction.seal.after(job, **changes)}
        transaction.run(update(jobs).where(jobs.c.id == job.id).values(sealed))
        return job

    # -- waiting ---------------------------------------------------------------------------

    def retry_at(self, at: datetime, reason: Reason) -> None:
        """An attempt of an active job failed; the next one begins at ``at`` at the earliest.

        An event is only written if the reason says something else than the last one.
        """
        with self._fence.writing(
            Status.ACTIVE,
            attempts=jobs.c.attempts + 1,
            failures=jobs.c.failures + 1,
            not_before=at,
        ) as transaction:
            self._tell_retrying(transaction, reason)

    def _tell_retrying(self, transaction: Transaction, reason: Reason) -> None:
        self._fence.tell_news(transaction, EventKind.RETRYING, reason)

    def wait_until(self, at: datetime, reason: Reason | None = None) -> None:
        """There is nothing to do before ``at``; this does not count as an attempt.

        ``reason``: why, if it is not the job's own. Legal for an active job and for a cancelled
        one, whose remote clean-up may have to wait.
        """
        why = reason_columns(reason) if reason else {}
        with self._fence.writing(Status.ACTIVE, Status.CANCELLED, not_before=at, **why):
            pass

    def wait_for_disk(self, reason: Reason | None) -> None:
        """An active job that is worked on waits for a disk to answer; None: not any longer.

        Another reason is not taken away.
        """
        with self._fence.writing(Status.ACTIVE) as transaction:
            this = jobs.c.id == self.lease.job_id
            if reason is None:
                this &= jobs.c.reason_code.in_(SILENT)
            transaction.run(update(jobs).where(this).values(**reason_columns(reason)))

    def poll_again(self, at: datetime, polling_s: float, message: str) -> None:
        """Fireworks is still receiving the files of an active job, as ``message`` says.

        ``polling_s`` is the polling time so far, in seconds; this does not count as an attempt. An
        event is only written if the message says something else than the last one.
        """
        reason = Reason(Code.VALIDATING, storable(message), Code.VALIDATING.hint)
        with self._fence.writing(Status.ACTIVE, not_before=at, polling_s=polling_s) as transaction:
            self._fence.tell_news(transaction, EventKind.NOT_READY_YET, reason)

    def block(self, reason: Reason) -> None:
        """The account needs a human. The lease is kept: live sessions finish under it."""
        self._stand_still(Verb.BLOCK, EventKind.BLOCKED, reason)

    def fail(self, reason: Reason) -> None:
        """This job needs a human. The lease and every offset are kept."""
        self._stand_still(Verb.FAIL, EventKind.FAILED, reason)

    def _stand_still(self, verb: Verb, kind: EventKind, reason: Reason) -> None:
        status = advance(Status.ACTIVE, verb)
        with self._fence.writing(
            Status.ACTIVE, status=status, not_before=None, **reason_columns(reason)
        ) as transaction:
            self._fence.tell_last(transaction)
            self._add_event(transaction, kind, reason.message)

    # -- the rest --------------------------------------------------------------------------

    def fall_back_to_put(self) -> None:
        """No resumable start is accepted: files not yet stored are sent by plain signed PUT."""
        unstored = (files.c.job_id == self.lease.job_id, files.c.stored.is_(False))
        with self._fence.writing(Status.ACTIVE, plain_put=True) as transaction:
            leave(transaction, *unstored)
            columns = {**NO_SESSION, "mode": Mode.PUT, "upload_url": None}
            transaction.run(update(files).where(*unstored).values(**columns))
            message = "resumable uploads are refused: sending whole files by plain PUT"
            self._add_event(transaction, EventKind.FELL_BACK, message)

    def recreate(self, why: str) -> None:
        """A new run of an active job (docs/words.md): its model is deleted and created again.

        Legal while no file is stored; raises ValueError otherwise.
        """
        job_id = self.lease.job_id
        with self._fence.writing(
            Status.ACTIVE,
            recreations=jobs.c.recreations + 1,
            **reason_columns(None),
        ) as transaction:
            stored = exists().where(files.c.job_id == job_id, files.c.stored)
            if transaction.connection.execute(select(stored)).scalar_one():
                raise ValueError(f"job {job_id} has stored files: its model is kept")
            number = self._job(transaction).run_number + 1
            run = {"stage": Stage.CREATE, "run_number": number, "replace_first": True}
            self._write_run(transaction, **run)
            transaction.run(update(jobs).where(jobs.c.id == job_id).values(NEW_RUN))
            leave(transaction, files.c.job_id == job_id)
            columns = {**NO_SESSION, "upload_url": None, "bytes_sent": 0, "not_before": None}
            transaction.run(update(files).where(files.c.job_id == job_id).values(**columns))
            message = f"{why}: it is deleted and created again"
            self._add_event(transaction, EventKind.RECREATED, message)

    def add_event(self, kind: EventKind, message: str, path: str | None = None) -> None:
        """Write one event and nothing else; of many that are alike, only some are written."""
        with self._fence.writing() as transaction:
            self._fence.tell(transaction, kind, message, path)

    def clean_up_after(self, at: datetime, reason: Reason) -> None:
        """What a cancelled job left open is tried again after ``at``; one event for each reason."""
        with self._fence.writing(Status.CANCELLED, not_before=at) as transaction:
            self._tell_retrying(transaction, reason)

    def end_model(self, refused: str | None = None) -> None:
        """A cancelled job's model is deleted, or the service refuses that for good, and says so."""
        with self._fence.writing(Status.CANCELLED, delete_on_cancel=False) as transaction:
            if refused:
                self._tell_left_open(transaction, refused)
            else:
                self._write_run(transaction, model_exists=False)

    def close(self, refused: str | None = None) -> None:
        """Nothing of a cancelled job is left to end remotely, or it is refused for good."""
        with self._fence.writing(Status.CANCELLED, delete_on_cancel=False) as transaction:
            if refused:
                self._tell_left_open(transaction, refused)
            self._erase_sessions(transaction)
            forget_all(transaction, self.lease.job_id)
            self._fence.tell_last(transaction)
            self._tell_closed(transaction, self.lease.job_id)

    def _tell_left_open(
        self, transaction: Transaction, message: str, path: str | None = None
    ) -> None:
        self._fence.tell(transaction, EventKind.LEFT_OPEN, message, path)

    def _tell_closed(self, transaction: Transaction, *job_ids: int) -> None:
        closed = update(jobs).where(jobs.c.id.in_(job_ids))
        transaction.run(closed.values(**reason_columns(None)))
        message = "cleaning up remotely has ended"
        transaction.add_event_of_each(job_ids, EventKind.CLOSED, message)

    def release(self) -> None:
        """Release the job; this object can write nothing any longer."""
        was_long = self._fence.now() >= lived_long_at(self.lease.token)
        forgiven = {"rescues": fewer_rescues()} if was_long else {}
        with self._fence.writing(**forgiven, **NO_LEASE) as transaction:
            self._fence.tell_last(transaction, seldom=True)

    def _erase_sessions(self, transaction: Transaction) -> None:
        """A session URI is a bearer secret: it is kept no longer than it is needed."""
        transaction.run(update(files).where(files.c.job_id == self.lease.job_id).values(ERASED))

    def _job(self, transaction: Transaction) -> WholeJob:
        job = read_job(transaction.connection, self.lease.job_id)
        check_job(transaction.seal, job)
        return job

    def _add_event(
        self, transaction: Transaction, kind: EventKind, message: str, path: str | None = None
    ) -> None:
        transaction.add_event(self.lease.job_id, kind, message, path)
