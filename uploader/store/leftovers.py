"""Leftovers: the sessions that are ended before anybody sends to their model (docs/life.md §2).

What is on its way on such a session could still replace what is sent later. So no row of a file
loses a session that may be open unless it becomes a leftover.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Row,
    and_,
    delete,
    exists,
    func,
    insert,
    not_,
    or_,
    select,
    update,
)

from uploader.core.errors import JobRefused
from uploader.core.job import Job, Status
from uploader.core.reasons import Code
from uploader.core.redact import SessionUri
from uploader.core.remote_model import A_MINUTE
from uploader.core.resumable import SESSION_LIFE_S
from uploader.core.whole_job import WholeJob
from uploader.store.conditions import others_for_its_model
from uploader.store.journal import Transaction
from uploader.store.rows import check, check_plain, types_of
from uploader.store.tables import HAS_SESSION, HELD, TO_DELETE, files, jobs, leftovers
from uploader.store.unreadable import each

#: What is left of a file's remote session: nothing that would let anybody write its object.
ERASED: dict[str, None] = {"session_uri": None, "session_at": None, "upload_url": None}
#: The ids of the jobs with sessions; those of a cancelled job are to be ended.
WITH_SESSIONS = (select(files.c.job_id).where(HAS_SESSION), select(leftovers.c.job_id))
#: This many are read at once: there may be any number of them.
_PORTION = 500
#: A job that was cancelled longer ago, and is not being cleaned up after, has no worker for that.
_CLEANED_WITHIN = timedelta(seconds=60)
_LIFE = timedelta(seconds=SESSION_LIFE_S)
#: This many are kept although they have ended by themselves: the clock may have been set ahead.
_MOST_OLD = 10_000
_NAMED = (jobs.c.base_url, jobs.c.account, jobs.c.model_id)
_KEPT = (files.c.path, files.c.session_uri, files.c.session_at, files.c.address_seal)
#: What is read of a leftover: not its time, which somebody else may have written, too.
_TOLD = (
    *(leftovers.c.id, leftovers.c.job_id),
    *(leftovers.c.path, leftovers.c.session_uri, leftovers.c.address_seal),
)
_TYPES = types_of(_TOLD)


@dataclass(frozen=True, slots=True)
class Leftover:
    """An open session for the file ``path``; the job that opened it may be removed by now."""

    id: int
    job_id: int
    path: str
    session: SessionUri = field(repr=False)
    #: Has it ended by itself, unless the clock was set ahead?
    is_over: bool = False


def has_sessions() -> ColumnElement[bool]:
    """Has the job a session that may be open?"""
    return or_(
        exists().where(files.c.job_id == jobs.c.id, HAS_SESSION),
        exists().where(leftovers.c.job_id == jobs.c.id),
    )


def leave(transaction: Transaction, *which: ColumnElement[bool]) -> None:
    """The sessions of those files become leftovers; the caller erases them from their rows.

    Those that have ended by themselves are forgotten, whatever they were for, once there are many.
    """
    found = (
        select(files.c.job_id, *_NAMED, *_KEPT)
        .join(jobs, jobs.c.id == files.c.job_id)
        .where(HAS_SESSION, files.c.session_at.is_not(None), *which)
        .order_by(files.c.job_id, files.c.path)
    )
    columns = ["job_id", *(column.name for column in (*_NAMED, *_KEPT))]
    transaction.run(insert(leftovers).from_select(columns, found))
    newest = select(func.max(leftovers.c.id)).scalar_subquery()
    is_many = leftovers.c.id <= newest - _MOST_OLD
    transaction.run(delete(leftovers).where(_is_over(transaction), is_many))


def _is_over(transaction: Transaction) -> ColumnElement[bool]:
    return leftovers.c.session_at <= transaction.now - _LIFE


def leave_all(transaction: Transaction, job_ids: Sequence[int]) -> None:
    """The sessions of those jobs become leftovers."""
    theirs = files.c.job_id.in_(job_ids)
    leave(transaction, theirs)
    transaction.run(update(files).where(theirs, HAS_SESSION).values(ERASED))


def to_clean_up(transaction: Transaction, job: Job, account: str) -> Sequence[Any]:
    """The cancelled jobs for the model of ``job`` that left something open, or that are held.

    ``is_next``: is a worker cleaning up after that one, or about to?
    """
    now = transaction.now
    is_due = or_(jobs.c.not_before.is_(None), jobs.c.not_before <= now)
    # The row may have been written before the clock was set back.
    is_recent = jobs.c.updated_at.between(now - _CLEANED_WITHIN, now + _CLEANED_WITHIN)
    is_next = or_(jobs.c.lease_token.is_not(None), and_(is_due, is_recent)).label("is_next")
    query = select(jobs.c.id, jobs.c.delete_on_cancel, is_next).where(
        jobs.c.status == Status.CANCELLED,
        or_(TO_DELETE, HELD, has_sessions()),
        *others_for_its_model(job, account),
    )
    return transaction.connection.execute(query).all()


def refuse_strays(transaction: Transaction, job: WholeJob, created_at: datetime | None) -> None:
    """Raises JobRefused if another job may have sent files to the job's model that it has not.

    Once the model is READY, it would have those, too, unless it was told the names of its files,
    and the service does not always show what it was told. Whether a file has arrived is not always
    known: its row may only say that it was not seen. Of a job that was about to replace its model,
    the rows name the new files only. A job that is done has another model: that one was READY.
    ``created_at``, when the service created the model, tells it from another job's, also from one
    that the service had said was gone.
    """
    if created_at is not None and job.created_remotely and job.model_created_at == created_at:
        return  # nobody else has had it
    own = select(files.c.path).where(files.c.job_id == job.id)
    query = (
        select(jobs.c.id, jobs.c.replace_first, files.c.path)
        .join(jobs, jobs.c.id == files.c.job_id)
        .where(
            _may_be_its_model(created_at),
            jobs.c.status != Status.DONE,
            or_(jobs.c.replace_first, files.c.path.not_in(own)),
            *others_for_its_model(job, job.account),
        )
        .order_by(files.c.job_id, files.c.path)
        .limit(1)
    )
    if stray := transaction.connection.execute(query).first():
        like = "" if stray.replace_first else f", like {stray.path}"
        raise JobRefused(
            f"{job.model} exists, and may have files of job {stray.id} that job {job.id} has"
            f" not{like}",
            code=Code.EXISTS_DIFFERENTLY,
            hint=f"`uploader model delete {job.model}`, then `uploader retry {job.id}`; or choose"
            " another `model_id`",
        )


def _may_be_its_model(created_at: datetime | None) -> ColumnElement[bool]:
    """Of a job: may its model be the one that was created then?"""
    if created_at is None:
        return jobs.c.model_exists
    is_unknown = and_(jobs.c.model_exists, jobs.c.model_created_at.is_(None))
    around = created_at - A_MINUTE, created_at + A_MINUTE
    return or_(is_unknown, jobs.c.model_created_at.between(*around))


def left_for(transaction: Transaction, job: Job, account: str) -> tuple[list[Leftover], int]:
    """Some of those for the job's model, the oldest first; none if there are no more of them.

    And how many were forgotten, because they have no seal, or this program did not write them.
    """
    query = (
        select(*_TOLD, _is_over(transaction).label("is_over"))
        .where(
            leftovers.c.base_url == job.base_url,
            leftovers.c.account == account,
            leftovers.c.model_id == job.model_id,
        )
        .order_by(leftovers.c.id)
        .limit(_PORTION)
    )
    strayed, count = list[int](), 0
    read = partial(_leftover_of, transaction)

    def instead(leftover_id: int, why: str) -> None:
        del why
        strayed.append(leftover_id)

    while True:
        strayed.clear()
        believed = each(transaction.connection, query, leftovers.c.id, read, instead)
        if strayed:
            forget(transaction, strayed)
        count += len(strayed)
        if believed or not strayed:
            return believed, count


def _leftover_of(transaction: Transaction, row: Row[Any]) -> Leftover:
    """Raises ValueError for a row that somebody else wrote."""
    check(row, _TYPES)
    check_plain(row.path)
    address = row.job_id, row.path, row.session_uri
    if not transaction.seal.holds_address(*address, row.address_seal):
        raise ValueError("a session's address has no seal")
    return Leftover(row.id, row.job_id, row.path, SessionUri(row.session_uri), bool(row.is_over))


def forget(transaction: Transaction, ids: Sequence[int]) -> None:
    """Those are over, or nothing will end them."""
    transaction.run(delete(leftovers).where(leftovers.c.id.in_(ids)))


def cleaned_up(transaction: Transaction, job_ids: Collection[int]) -> list[int]:
    """Those of the jobs that are cancelled and have nothing left that anybody must end."""
    query = select(jobs.c.id).where(
        jobs.c.id.in_(job_ids),
        jobs.c.status == Status.CANCELLED,
        jobs.c.lease_token.is_(None),
        jobs.c.delete_on_cancel.is_(False),
        not_(has_sessions()),
    )
    return list(transaction.connection.scalars(query))


def forget_all(transaction: Transaction, job_id: int) -> None:
    """Those that the job opened are over, or nothing will end them."""
    transaction.run(delete(leftovers).where(leftovers.c.job_id == job_id))
