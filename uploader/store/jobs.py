"""What users do with jobs.

Their verbs change a job's status only; a lease stays with its worker until the worker has stopped
(docs/life.md §5).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import datetime

from sqlalchemy import (
    ColumnElement,
    Engine,
    TextClause,
    delete,
    func,
    or_,
    select,
    update,
)

from uploader.core.errors import NotFound, UnreadableRow, UsageError, VerbRefused
from uploader.core.events import EventKind
from uploader.core.job import (
    OPEN_STATUSES,
    Event,
    FileState,
    Job,
    LivingWorker,
    NewJob,
    Scope,
    Stage,
    Status,
)
from uploader.core.lifecycle import Verb, advance, already, hint_of
from uploader.core.seal import NO_SEAL, Seal, SealedJob
from uploader.core.whole_job import WholeJob
from uploader.store.attended import as_attended
from uploader.store.conditions import any_of, model_is, shown_of
from uploader.store.enqueue import insert_job, known_job
from uploader.store.journal import Journal, no_listener, reason_columns
from uploader.store.leftovers import leave
from uploader.store.limits import Limits
from uploader.store.lineage import Lineage
from uploader.store.restart import restart, restartable
from uploader.store.rows import file_of, read_job, reading_job
from uploader.store.sealed import cancelled_by_others, check_files, check_job, sealed_job
from uploader.store.tables import ENDED, HELD, OPEN, events, files, jobs
from uploader.store.unreadable import check_unheld, earliest, events_of, readable, shown
from uploader.store.uploaded import Uploaded, uploads
from uploader.store.verb_rules import check_deletable, check_removable, forgive

#: The event of each user verb: its kind and its message.
_TOLD: dict[Verb, tuple[EventKind, str]] = {
    Verb.PAUSE: (EventKind.PAUSED, "paused by the user"),
    Verb.RESUME: (EventKind.RESUMED, "resumed by the user"),
    Verb.CANCEL: (EventKind.CANCELLED, "cancelled by the user"),
    Verb.RETRY: (EventKind.RETRIED, "the user asked for another try"),
}
#: Longer numbers cannot be ids, and SQLite cannot store them.
_MAX_ID_DIGITS = 18
#: How many jobs are read at once.
_PAGE = 500


class Jobs:
    """The job table as commands see it. Every method raises StoreError.

    A list of jobs to show also has those that cannot be read, as failed ones (`unreadable.py`); a
    job that is asked for by itself is an error then.
    """

    def __init__(
        self,
        engine: Engine,
        on_event: Callable[[Event], None] = no_listener,
        living: Callable[[], Mapping[str, Scope]] | None = None,
        seal: Seal = NO_SEAL,
        *,
        wary: bool = False,
    ) -> None:
        """``on_event`` is called with each event after its commit.

        ``living`` names the owners that live, and what each takes: if a job's holder is dead,
        nothing is reported that only a worker at work makes true. A worker's own table does not
        ask. ``wary``: a job without its ``seal`` is an error, as a worker needs it.
        """
        self._journal = Journal(engine, on_event, seal)
        self._wary = wary
        self._living = living
        self.limits = Limits(self._journal)
        self.lineage = Lineage(self._journal)

    def enqueue(self, new: NewJob, now: datetime) -> tuple[int, bool]:
        """Returns the job's id, and whether it was created now.

        Idempotent (docs/life.md §1): the same real path, manifest and options give the same id,
        even if that job is done. Raises UsageError "conflict" if an open job of that model differs.
        """
        with self._journal.writing(now) as transaction:
            known = known_job(transaction.connection, new)
            if known is not None:
                return known, False
            return insert_job(transaction, new), True

    def same_as(self, new: NewJob) -> int | None:
        """The job that `enqueue` would return, None if it would make one; raises what it would."""
        with self._journal.reading() as connection:
            return known_job(connection, new)

    def job(self, job_id: int) -> WholeJob:
        """Raises NotFound."""
        with self._journal.reading() as connection:
            found = read_job(connection, job_id)
        if self._wary:
            check_job(self._journal.seal, found)
        return as_attended([found], self._living)[0]

    def find(self, ref: str) -> WholeJob:
        """The job a user means by its id, its model's id or its model's resource name.

        If a model has several jobs, the one that has not ended is meant. Raises NotFound, also if
        several have ended and none is open, and UsageError if several are open.
        """
        if not ref.isprintable():  # nor can every database be asked for it
            raise NotFound("there is no job of that name", hint="`uploader status` lists the jobs")
        if ref.isdecimal() and len(ref) <= _MAX_ID_DIGITS:
            return self.job(int(ref))
        found = self.of_model(ref)
        still_open = [job for job in found if job.status in OPEN_STATUSES]
        meant = still_open or found
        if not meant:
            raise NotFound(f"there is no job {ref}", hint="`uploader status` lists the jobs")
        if len(meant) == 1:
            return self.job(meant[0].id)
        if still_open:
            ids = ", ".join(str(job.id) for job in still_open)
            raise UsageError(f"{ref} is the model of several jobs: {ids}", hint="give the id")
        ended = ", ".join(f"{job.id} ({job.status})" for job in found)
        raise NotFound(f"every job of {ref} has ended: {ended}", hint="give the id")

    def of_model(self, ref: str) -> list[Job]:
        """The jobs of a model that can be read, given by its id or its resource name, by id."""
        return self._readable(model_is(ref))

    def these(self, ids: Collection[int]) -> list[Job]:
        """Those of the jobs with these ids that are there, by id."""
        wanted, found = sorted(ids), []
        for at in range(0, len(wanted), _PAGE):
            found += self._where(jobs.c.id.in_(wanted[at : at + _PAGE]))
        return found

    def uploading(self) -> list[Job]:
        """The active jobs in stage upload that a worker holds, by id."""
        return self._readable(HELD, jobs.c.status == Status.ACTIVE, jobs.c.stage == Stage.UPLOAD)

    def active_elsewhere(self, base_url: str) -> list[Job]:
        """The active jobs that are not for ``base_url``, by id."""
        return self._readable(OPEN, jobs.c.status == Status.ACTIVE, jobs.c.base_url != base_url)

    def needing_secret(self, base_url: str) -> list[Job]:
        """The active jobs of ``base_url`` with a seal, by id, if there is no secret here for it."""
        if self._journal.seal.secret is not None:
            return []
        sealed = jobs.c.status == Status.ACTIVE, jobs.c.seal.is_not(None)
        return self._readable(OPEN, jobs.c.base_url == base_url, *sealed)

    def jobs(self, ended: int | None = None, statuses: Collection[Status] = ()) -> list[Job]:
        """As `stream`, at once."""
        return list(self.stream(ended, statuses))

    def stream(self, ended: int | None = None, statuses: Collection[Status] = ()) -> Iterator[Job]:
        """Every open job and the ``ended`` newest ones that have ended, or all of them; by id.

        With ``statuses``, only jobs that have one of them. They are read a page at a time, so that
        memory stays small and no lock is held meanwhile.
        """
        shown, last = shown_of(ended, statuses), 0
        while True:
            page = self._where(jobs.c.id > last, shown, most=_PAGE)
            yield from page
            if len(page) < _PAGE:
                return
            last = page[-1].id

    def count_ended(self, statuses: Collection[Status] = ()) -> int:
        """How many jobs are done or cancelled, and have one of ``statuses`` if any are given."""
        with self._journal.reading() as connection:
            query = select(func.count()).select_from(jobs).where(ENDED, any_of(statuses))
            return connection.execute(query).scalar_one()

    def _where(
        self, *conditions: ColumnElement[bool] | TextClause, most: int | None = None
    ) -> list[Job]:
        """By id. The ids come first, or SQLite would walk over all jobs to have them in order."""
        ids = select(jobs.c.id).where(*conditions)
        if most is not None:
            ids = ids.order_by(jobs.c.id).limit(most)
        with self._journal.reading() as connection:
            found = shown(connection, ids)
        return as_attended(found, self._living)

    def _readable(self, *conditions: ColumnElement[bool] | TextClause) -> list[Job]:
        with self._journal.reading() as connection:
            found = readable(connection, select(jobs.c.id).where(*conditions))
        return as_attended(found, self._living)

    def page(self, after: int, limit: int) -> list[Job]:
        """At most ``limit`` jobs with ids above ``after``, by id."""
        return self._where(jobs.c.id > after, most=limit)

    def uploads(self, ended: int) -> list[Uploaded]:
        """What those of the jobs took that were uploaded: of the open and the ``ended`` newest."""
        with self._journal.reading() as connection:
            return uploads(connection, ended)

    def counts(self) -> dict[tuple[str, str], int]:
        """How many jobs there are by stage and status."""
        both = (jobs.c.stage, jobs.c.status)
        query = select(*both, func.count()).group_by(*both)
        with self._journal.reading() as connection:
            return {(stage, status): count for stage, status, count in connection.execute(query)}

    def oldest_waiting(self) -> datetime | None:
        """When the active job that waits longest for a worker was last written."""
        waiting = (jobs.c.status == Status.ACTIVE, jobs.c.lease_owner.is_(None))
        query = select(jobs.c.updated_at).where(OPEN, *waiting)
        with self._journal.reading() as connection:
            return earliest(connection, query, jobs.c.updated_at, jobs.c.id)

    def last_event(self) -> int:
        """The number of the newest event, 0 if there is none."""
        with self._journal.reading() as connection:
            return connection.execute(select(func.max(events.c.seq))).scalar() or 0

    def workers(self) -> list[LivingWorker]:
        """The running workers, each with the jobs that it holds."""
        owners = sorted(self._living()) if self._living else []
        query = select(jobs.c.lease_owner, jobs.c.id).where(HELD, jobs.c.lease_owner.in_(owners))
        with self._journal.reading() as connection:
            leases = sorted(connection.execute(query), key=lambda row: row.id)
        return [
            LivingWorker(owner, tuple(row.id for row in leases if row.lease_owner == owner))
            for owner in owners
        ]

    def files(self, job_id: int) -> list[FileState]:
        """The job's files by path."""
        query = select(files).where(files.c.job_id == job_id).order_by(files.c.path)
        with self._journal.reading() as connection, reading_job(job_id):
            return [file_of(row) for row in connection.execute(query)]

    def sealed_files(self, job: Job) -> list[FileState]:
        """As `files`, of the run that ``job`` is in; raises StoreError for one without its seal."""
        check_files(self._journal.seal.run_of(job), found := self.files(job.id))
        return found

    def files_to_show(self, job_id: int) -> list[FileState]:
        """As `files`; none if they cannot be read, for a document about several jobs."""
        try:
            return self.files(job_id)
        except UnreadableRow:
            return []

    def snapshots(self) -> list[str]:
        """The snapshots in use: of jobs that may still send, or that a worker holds."""
        used = or_(jobs.c.status.in_(OPEN_STATUSES), jobs.c.lease_owner.is_not(None))
        query = select(jobs.c.snapshot).where(jobs.c.snapshot.is_not(None), used)
        with self._journal.reading() as connection:
            return list(connection.scalars(query))

    def events(
        self, job_id: int | None = None, since: int = 0, limit: int | None = None
    ) -> list[Event]:
        """History after sequence number ``since``, oldest first, at most ``limit`` lines."""
        query = select(events).where(events.c.seq > since).order_by(events.c.seq).limit(limit)
        if job_id is not None:
            query = query.where(events.c.job_id == job_id)
        with self._journal.reading() as connection:
            return events_of(connection, query)

    def last_events(self, job_id: int, count: int) -> list[Event]:
        """The ``count`` newest events of a job, oldest first."""
        query = select(events).where(events.c.job_id == job_id).order_by(events.c.seq.desc())
        with self._journal.reading() as connection:
            return events_of(connection, query.limit(count))[::-1]

    def apply(self, job_id: int, verb: Verb, now: datetime, *, delete_remote: bool = False) -> Job:
        """Carry out pause, resume, cancel or retry as `core/lifecycle.py` allows.

        A job that is already what ``verb`` asks for is left as it is. ``delete_remote`` goes with
        cancel and only for a model this job created. Raises NotFound, VerbRefused for an illegal
        move, and UsageError for a model that is not ours; then nothing is changed.
        """
        kind, message = _TOLD[verb]
        with self._journal.writing(now) as transaction:
            job = read_job(transaction.connection, job_id)
            status = advance(job.status, verb)
            if delete_remote:
                check_deletable(job, verb)
            known = cancelled_by_others(transaction.seal, job) or job
            if already(known.status, verb):
                return job
            transaction.run(
                update(jobs)
                .where(jobs.c.id == job_id)
                .values(
                    status=status,
                    seal=transaction.seal.after(known, status=status),
                    delete_on_cancel=delete_remote,
                    not_before=None,
                    updated_at=now,
                    **reason_columns(None),
                )
            )
            if verb is Verb.RETRY:
                forgive(transaction, job_id)
            if verb is Verb.CANCEL:  # sessions are ended remotely first, URLs only expire
                ours = update(files).where(files.c.job_id == job_id)
                transaction.run(ours.values(upload_url=None))
            transaction.add_event(job_id, kind, message)
            return read_job(transaction.connection, job_id)

    def sealed(self, job: WholeJob) -> SealedJob:
        """That very value, which may be planned from. Raises UsageError for one without a seal."""
        return sealed_job(self._journal.seal, job)

    def check_restart(self, job: SealedJob, new: NewJob, *, replace: bool = False) -> None:
        """Raises what `restart` would raise now."""
        with self._journal.reading() as connection:
            restartable(connection, job, new, self._journal.seal, replace=replace)

    def restart(
        self,
        job: SealedJob,
        new: NewJob,
        now: datetime,
        *,
        replace: bool = False,
        kept: Iterable[FileState] = (),
    ) -> Job:
        """Start over with the folder as ``new`` saw it: stage create, nothing sent, events kept.

        Of ``new``, only the files, the create body, the findings and the snapshot are taken. If the
        model already exists, its files cannot be changed: other files need ``replace``, which makes
        the worker delete the model first, and only if this job created it. Raises NotFound,
        UsageError for other files without that, VerbRefused if a worker is working on the job, the
        job is closed, or it is no longer the ``job`` that ``new`` was planned from; then nothing
        is changed. ``kept``: stored files whose bytes are known to be the same in ``new``.
        """
        with self._journal.writing(now) as transaction:
            restart(transaction, job, new, kept, replace=replace)
            return read_job(transaction.connection, job.id)

    def prioritize(self, job_id: int, priority: int, now: datetime) -> Job:
        """Give the job that priority; the one it has changes nothing.

        Raises NotFound, VerbRefused for a job that has ended.
        """
        with self._journal.writing(now) as transaction:
            job = read_job(transaction.connection, job_id)
            if job.status not in OPEN_STATUSES:
                raise VerbRefused(
                    f"job {job_id} is {job.status}: a priority would change nothing",
                    hint=hint_of(job.status),
                )
            if job.priority == priority:
                return job
            values = {"priority": priority, "updated_at": now}
            transaction.run(update(jobs).where(jobs.c.id == job_id).values(values))
            message = f"priority {priority} instead of {job.priority}"
            transaction.add_event(job_id, EventKind.EDITED, message)
            return read_job(transaction.connection, job_id)

    def remove(self, job_id: int, now: datetime) -> None:
        """Forget a done, cancelled or failed job that no worker holds, or one that cannot be read.

        Raises NotFound, and VerbRefused for any other job.
        """
        with self._journal.writing(now) as transaction:
            try:
                check_removable(read_job(transaction.connection, job_id))
            except UnreadableRow:
                check_unheld(transaction.connection, job_id)
            leave(transaction, files.c.job_id == job_id)
            for table in (events, files):
                transaction.run(delete(table).where(table.c.job_id == job_id))
            transaction.run(delete(jobs).where(jobs.c.id == job_id))
