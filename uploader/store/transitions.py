"""What a worker does to a job it holds: the moves of design §3, one verb each."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import exists, select, update
from sqlalchemy.exc import IntegrityError

from uploader.core.errors import UsageError
from uploader.core.job import Lease, Mode, Reason, Stage, Status
from uploader.core.lifecycle import NEXT_STAGE, Verb, advance
from uploader.store.fence import Fenced
from uploader.store.journal import Transaction, reason_columns, storable
from uploader.store.tables import files, jobs

#: A file's row without a session, and without anything proven about one.
NO_SESSION: dict[str, Any] = {
    "session_uri": None,
    "session_at": None,
    "object_path": None,
    "offset": 0,
    "offset_crc32c": 0,
    "mark_bytes": 0,
    "mark_crc32c": 0,
}


class Transitions(Fenced):
    """Each verb raises LeaseLost unless the lease holds and the job is active."""

    def adopt_account(self, lease: Lease, account: str, now: datetime) -> None:
        """Write the account the service named.

        Raises UsageError "conflict" where another open job is for that model already.
        """
        try:
            with self._fenced(lease, now, Status.ACTIVE, account=account) as transaction:
                transaction.tell(lease.job_id, "account", f"the account is {account}")
        except IntegrityError:
            raise UsageError(
                f"another open job uploads the same model of account {account}",
                hint="`uploader status` lists both: cancel one",
                code="conflict",
            ) from None

    def to_upload(self, lease: Lease, now: datetime, *, created: bool) -> None:
        """The model exists: ``created`` by our own answered POST, or found and compatible."""
        ours = {"created_remotely": True} if created else {}
        with self._moved(lease, now, Stage.UPLOAD, delete_remote=False, **ours) as transaction:
            if created:
                transaction.tell(lease.job_id, "created", "the model was created")
            else:
                transaction.tell(lease.job_id, "adopted", "the model existed and is compatible")

    def deleted(self, lease: Lease, now: datetime) -> None:
        """The model of an earlier life is gone: whatever bears its name from now on is another.

        So a model that somebody else creates before we do is never deleted as ours.
        """
        # A fact, whatever the user made of the job meanwhile.
        with self._fenced(lease, now, created_remotely=False) as transaction:
            message = "the model was deleted, to be created again"
            transaction.tell(lease.job_id, "deleted", message)

    def to_validate(self, lease: Lease, now: datetime) -> None:
        """Every file is stored; raises ValueError where one is not (invariant 4)."""
        with self._moved(lease, now, Stage.VALIDATE) as transaction:
            _check_all_stored(transaction, lease)
            transaction.tell(lease.job_id, "validating", "every file is stored")

    def finish(self, lease: Lease, now: datetime, warnings: Sequence[str] = ()) -> None:
        """The service calls the model READY; ``warnings`` are validateUpload's words."""
        with self._moved(
            lease,
            now,
            Stage.READY,
            status=advance(Status.ACTIVE, Verb.FINISH),
            ready_at=now,
            rate_bps=None,
            warnings=[storable(warning) for warning in warnings],
        ) as transaction:
            _erase_sessions(transaction, lease)
            transaction.tell(lease.job_id, "ready", "the model is READY")

    def retry_at(self, lease: Lease, at: datetime, reason: Reason, now: datetime) -> None:
        """An attempt failed; the next one not before ``at``. The lease stays."""
        with self._fenced(
            lease,
            now,
            Status.ACTIVE,
            attempts=jobs.c.attempts + 1,
            failures=jobs.c.failures + 1,
            not_before=at,
            **reason_columns(reason),
        ) as transaction:
            transaction.tell(lease.job_id, "retrying", reason.message)

    def wait_until(self, lease: Lease, at: datetime, now: datetime) -> None:
        """Nothing to do before ``at``; no attempt is burned.

        Legal for a cancelled job too: its remote clean-up may have to wait.
        """
        with self._fenced(lease, now, Status.ACTIVE, Status.CANCELLED, not_before=at):
            pass

    def poll_again(
        self, lease: Lease, at: datetime, polling_s: float, message: str, now: datetime
    ) -> None:
        """The files are still landing, says the server's ``message``.

        ``polling_s`` is the polling time so far, in seconds; no attempt is burned. An event
        only where the message changed.
        """
        reason = Reason("validating", storable(message))
        with self._fenced(
            lease, now, Status.ACTIVE, not_before=at, polling_s=polling_s
        ) as transaction:
            this = jobs.c.id == lease.job_id
            news = update(jobs).where(this, jobs.c.reason_message.is_distinct_from(reason.message))
            if transaction.run(news.values(**reason_columns(reason))).rowcount:
                transaction.tell(lease.job_id, "validating", reason.message)

    def block(self, lease: Lease, reason: Reason, now: datetime) -> None:
        """The account needs a human. The lease stays: live sessions finish under it."""
        self._stand_still(lease, Verb.BLOCK, "blocked", reason, now)

    def fail(self, lease: Lease, reason: Reason, now: datetime) -> None:
        """This job needs a human. The lease and every offset stay."""
        self._stand_still(lease, Verb.FAIL, "failed", reason, now)

    def _stand_still(
        self, lease: Lease, verb: Verb, kind: str, reason: Reason, now: datetime
    ) -> None:
        status = advance(Status.ACTIVE, verb)
        with self._fenced(
            lease, now, Status.ACTIVE, status=status, not_before=None, **reason_columns(reason)
        ) as transaction:
            transaction.tell(lease.job_id, kind, reason.message)

    def fall_back_to_put(self, lease: Lease, now: datetime) -> None:
        """No resumable start is accepted: what is not stored goes by plain signed PUT."""
        unstored = (files.c.job_id == lease.job_id, files.c.stored.is_(False))
        with self._fenced(lease, now, Status.ACTIVE, plain_put=True) as transaction:
            transaction.run(update(files).where(*unstored).values(mode=Mode.PUT, **NO_SESSION))
            transaction.tell(
                lease.job_id,
                "fell_back",
                "resumable uploads are refused: sending whole files by plain PUT",
            )

    def sessions_ended(self, lease: Lease, now: datetime) -> None:
        """A cancelled job has no session left remotely; its model may still have to go."""
        with self._fenced(lease, now, Status.CANCELLED) as transaction:
            _erase_sessions(transaction, lease)

    def closed(self, lease: Lease, now: datetime) -> None:
        """A cancelled job's remote sessions, and model where asked for, are gone."""
        with self._fenced(lease, now, Status.CANCELLED, delete_remote=False) as transaction:
            _erase_sessions(transaction, lease)
            transaction.tell(lease.job_id, "closed", "nothing of this job is left open remotely")

    @contextlib.contextmanager
    def _moved(
        self, lease: Lease, now: datetime, stage: Stage, **columns: Any
    ) -> Iterator[Transaction]:
        """One stage forward; raises ValueError where ``stage`` is not the next one."""
        with self._fenced(
            lease, now, Status.ACTIVE, failures=0, not_before=None, **reason_columns(None)
        ) as transaction:
            this = jobs.c.id == lease.job_id
            found = Stage(
                transaction.connection.execute(select(jobs.c.stage).where(this)).scalar_one()
            )
            if NEXT_STAGE.get(found) is not stage:
                raise ValueError(f"job {lease.job_id} cannot go from {found} to {stage}")
            transaction.run(update(jobs).where(this).values(stage=stage, **columns))
            yield transaction


def _check_all_stored(transaction: Transaction, lease: Lease) -> None:
    unstored = exists().where(files.c.job_id == lease.job_id, files.c.stored.is_(False))
    if transaction.connection.execute(select(unstored)).scalar_one():
        raise ValueError(f"job {lease.job_id} has files that are not stored")


def _erase_sessions(transaction: Transaction, lease: Lease) -> None:
    """A session URI is a bearer secret: it is kept no longer than it is of use."""
    transaction.run(
        update(files)
        .where(files.c.job_id == lease.job_id)
        .values(session_uri=None, session_at=None)
    )
