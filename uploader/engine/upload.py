"""The upload stage: every outstanding file of one job, a few at a time.

Theory of operation
===================

Threads. One thread *decides*: the job's own, in `Upload.run`. It asks `core/upload.next_step`
what comes next, carries that out, and sleeps until something has happened. It never waits for
the network. Whatever does is an errand in a thread of its own (`engine/crew.py`):

    Asking    asks for the whole map of URLs; at most one
    Opening   opens sessions for some files, ahead of their turn; at most `OPENERS`
    Transfer  sends one file, in one of the worker's slots

The worker's thread calls `stop` and `cut`, and nothing else of this file.

Who writes what. Only the deciding thread writes rows, moves files through the `Backlog` and
changes the gate. An errand fills its own fields and at last `error` and `ended`; a transfer
also writes its `Progress`, under a lock, and the row of a source that it has proven anew. So
nothing here needs a lock, and what a file's row says changes under nobody's hands.

Orders that matter.
1. A session is committed before its file can be sent (docs/invariants.md §1): `_commit_sessions`
   puts the row into the backlog, and only what is there is ever sent. Sessions and stored files
   that come in together are committed together: the more there are, the less each costs.
2. URLs are committed before they are used, so that a crash costs nothing while they live.
3. `wake` is cleared before the errands are looked at: what ends later sets it again.
4. What a transfer has sent is written before its end is judged: the judgement reads the row.
5. An errand's end is taken, and its slot given back, before the step is chosen that may use it.
6. `run` returns only after the last errand has ended: a session never has two writers.

A file's life: URL → session → sent → stored. The sessions of all files are opened within the
life of the first map of URLs, because nobody knows whether there is a second one
(docs/fireworks.md §13.4); from then on the upload needs neither URL nor key. Until the service has
accepted a first start, sessions are opened one at a time: it may have none to give.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from uploader.core.errors import (
    Corrupted,
    JobRefused,
    LeaseLost,
    RemoteError,
    Stopped,
    UploaderError,
)
from uploader.core.events import EventKind
from uploader.core.job import FileState, Job, Status
from uploader.core.reasons import Code
from uploader.core.resumable import UploadUrl
from uploader.core.retry import Block, Fail, RetryAt
from uploader.core.upload import (
    AskUrls,
    Backlog,
    Gate,
    GiveUp,
    Later,
    Need,
    Open,
    OpenSession,
    Room,
    Send,
    Shut,
    Sleep,
    Stored,
    next_step,
)
from uploader.core.verdict import Verdict
from uploader.engine.context import WorkerContext
from uploader.engine.crew import Crew, Errand
from uploader.engine.progress import Meter, unwritten
from uploader.engine.sessions import Asking, Opened, Opening
from uploader.engine.transfer import Transfer
from uploader.remote.fireworks import RemoteModel
from uploader.store.held import Held
from uploader.store.held_files import NewSession, StoredFile

#: Threads that open sessions, and how many each of them opens in a row.
OPENERS = 2
OPENED_IN_A_ROW = 16
#: What a URL that names no life is believed to have (docs/fireworks.md §13.3), in seconds.
DEFAULT_LIFE_S = 3600.0
#: A URL just received is used whatever its life.
_LEAST_LIFE_S = 5.0
_TICK_S = 1.0
MAX_MISMATCHES = 3
#: A session lives a week (docs/gcs-resumable.md §1.1); one lost this late was too short for the
#: link.
OLD_SESSION = timedelta(days=6)
MAX_OLD_SESSIONS = 2
#: Sessions of one file lost without getting further than before: told from then on, and the end.
MANY_SESSIONS_LOST = 2
MAX_SESSIONS_LOST = 5
MAX_RECREATIONS = 3

_log = logging.getLogger(__name__)


class Upload:
    """Runs the files of one claimed job until all are stored, or nothing more can be done."""

    def __init__(
        self, context: WorkerContext, job: Job, held: Held, lapsed: Callable[[], bool]
    ) -> None:
        """``lapsed``: has the lease ended? Then no block of any file leaves any more."""
        self._context = context
        self._held = held
        self._job = job
        self._files = Backlog(context.jobs.files(job.id))
        self._gate: Gate = Open()
        #: Until when the URLs of the files are good for a start, by boot-time seconds.
        self._urls_until_s = self._remembered_until_s()
        self._meter = Meter(sum(file.bytes_sent for file in self._files))
        self._crew = Crew(context, lapsed)

    def run(self) -> bool:
        """True once every file is stored; False if the rest waits, or the job was ended.

        Raises what keeps files from starting once no transfer runs any more; LeaseLost; Stopped.
        """
        try:
            while True:
                self._crew.wake.clear()
                self._collect(self._crew.take_ended())
                if self._meter.due(self._context.clock.boot_s()):
                    self._flush(self._crew.of(Transfer))
                    self._resume_if_healed()
                if (stored := self._go_on()) is not None:
                    return stored
        finally:
            self._join_transfers()

    def stop(self) -> None:
        """Every transfer stops at its next block; none starts. For any thread."""
        self._crew.stop()

    def cut(self) -> None:
        """As `stop`, and their sockets are shut down. For any thread."""
        self._crew.cut()

    # -- deciding --------------------------------------------------------------------------

    def _go_on(self) -> bool | None:
        """Start what may start, then rest; not None if the run is over, as `run` returns it."""
        full = False
        while not self._crew.stopped:
            room = self._room(full=full)
            now, fresh = self._context.clock.now(), self._urls_fresh()
            match next_step(self._files, self._gate, room, now, urls_fresh=fresh):
                case Send(path):
                    full = not self._spawn_transfer(path)
                case OpenSession():
                    self._spawn_opening()
                case AskUrls():
                    self._spawn_asking()
                case step:
                    return self._rest(step, now, running=room.running)
        if not self._crew.busy:
            raise Stopped
        self._context.clock.wait(self._crew.wake, _TICK_S)
        return None

    def _rest(self, step: Sleep | Stored | GiveUp, now: datetime, *, running: bool) -> bool | None:
        """Nothing may start now; None if something may later in this run."""
        match step:
            case Stored():
                return True
            case GiveUp(gate):
                if isinstance(gate, Shut) and gate.status is not None:
                    return False
                raise gate.error
            case Sleep(until) if until is not None and not running:
                self._held.wait_until(until)
                return False
            case Sleep(until):
                left_s = _TICK_S if until is None else (until - now).total_seconds()
                self._context.clock.wait(self._crew.wake, min(_TICK_S, left_s))
                return None

    def _room(self, *, full: bool) -> Room:
        most = OPENERS if self._job.start_accepted else 1
        return Room(
            running=self._crew.busy,
            send=not full,
            open=len(self._crew.of(Opening)) < most,
            ask=not self._crew.of(Asking),
        )

    def _remembered_until_s(self) -> float:
        if self._job.urls_until is None:
            return float("-inf")
        left = self._job.urls_until - self._context.clock.now()
        return self._context.clock.boot_s() + left.total_seconds()

    def _urls_fresh(self) -> bool:
        return self._context.clock.boot_s() <= self._urls_until_s

    def _resume_if_healed(self) -> None:
        """A blocked job that was healed meanwhile asks for URLs again."""
        if isinstance(self._gate, Shut) and self._gate.status is Status.BLOCKED:
            job = self._context.jobs.job(self._job.id)
            if job.status is Status.ACTIVE:
                self._job, self._gate = job, Open()

    # -- errands ---------------------------------------------------------------------------

    def _spawn_transfer(self, path: str) -> bool:
        """False if no slot is free."""
        if not self._context.slots.take(self._crew.wake):
            return False
        empty = self._files.is_empty(path)
        file = self._files.begin(path)
        transfer = Transfer(
            self._context, self._job, self._held, file, self._crew.lane(), empty=empty
        )
        name = f"job {self._job.id} {path}"
        self._crew.start(name, transfer, done=self._context.slots.give)
        return True

    def _spawn_opening(self) -> None:
        count = OPENED_IN_A_ROW if self._job.start_accepted else 1
        files = [self._files.begin(path) for path in self._files.some(Need.SESSION, count)]
        opening = Opening(self._job, files, self._crew.lane(), self._crew.wake)
        self._crew.start(f"job {self._job.id} sessions", opening)

    def _spawn_asking(self) -> None:
        sizes = {file.path: file.size_bytes for file in self._files}
        asking = Asking(self._context, self._job, sizes, self._crew.token())
        self._crew.start(f"job {self._job.id} URLs", asking)

    def _join_transfers(self) -> None:
        """No transfer outlives its run: a session never has two writers."""
        self._crew.join()

    # -- ends ------------------------------------------------------------------------------

    def _collect(self, ended: Sequence[Errand]) -> None:
        """Write and judge what has come of the errands. Raises LeaseLost, ModelUsedUp."""
        openings = [*self._crew.of(Opening), *(e for e in ended if isinstance(e, Opening))]
        self._commit_sessions([opened for opening in openings for opened in opening.take()])
        transfers = [errand for errand in ended if isinstance(errand, Transfer)]
        for transfer in transfers:
            self._meter.end(transfer)
        self._commit_stored([transfer for transfer in transfers if not transfer.moved])
        for errand in ended:
            match errand:
                case Transfer():
                    self._judge_transfer(errand)
                case Opening():
                    self._judge_opening(errand)
                case Asking():
                    self._judge_asking(errand)

    def _commit_sessions(self, opened: Sequence[Opened]) -> None:
        """Only what is in the backlog is ever sent (docs/invariants.md §1)."""
        wanted = [new for new in opened if self._still_wanted(new)]
        if wanted:
            sessions = [NewSession(new.path, new.session, new.object_path) for new in wanted]
            rows = self._held.files.open_sessions(sessions)
            for file, new in zip(rows, wanted, strict=True):
                self._files.put(file, empty=new.empty)
            self._job = replace(self._job, start_accepted=True)
        for new in opened:
            self._files.end(new.path)

    def _still_wanted(self, opened: Opened) -> bool:
        """Not if the job fell back to plain PUT meanwhile, or the object has moved."""
        url = self._files[opened.path].url
        moved = url is not None and url.object_path != opened.object_path
        return not (moved or self._job.plain_put)

    def _commit_stored(self, transfers: Sequence[Transfer]) -> None:
        stored = [
            StoredFile(t.file.path, t.arrived.crc32c, t.progress.bytes_sent, t.arrived.verified)
            for t in transfers
            if t.arrived is not None
        ]
        if stored:
            for file in self._held.files.mark_all_stored(stored):
                self._files.put(file)

    def _flush(self, transfers: Sequence[Transfer]) -> None:
        """Write the progress of those transfers in one transaction. Raises LeaseLost."""
        if progress := unwritten(transfers):
            rate_bps = self._meter.rate(self._crew.of(Transfer), self._context.clock.boot_s())
            for file in self._held.files.report_progress(progress, rate_bps):
                self._files.put(file)

    def _judge_transfer(self, transfer: Transfer) -> None:
        path = transfer.file.path
        try:
            if transfer.moved:
                self._move(path, transfer.progress.bytes_sent)
            elif transfer.error is not None:
                self._flush([transfer])
                file = replace(self._files[path], bytes_sent=transfer.progress.bytes_sent)
                self._files.put(file)
                self._judge(transfer.file, transfer.error, transfer.job)
        finally:
            self._files.end(path)

    def _judge_opening(self, opening: Opening) -> None:
        """The file at which it ended, if any; those after it have their turn another time."""
        left = opening.left
        try:
            if opening.error is not None and left:
                self._judge(left[0], opening.error, opening.job)
        finally:
            for file in left:
                self._files.end(file.path)

    def _judge(self, file: FileState, error: Exception, job: Job) -> None:
        """What follows if a file got no further; ``file`` and ``job`` as the errand knew them."""
        if isinstance(error, LeaseLost):
            raise error
        if isinstance(error, Stopped):
            return
        if isinstance(error, RemoteError) and self._falls_back_to_put(file, error, job):
            return
        if not isinstance(error, UploaderError):
            _log.error("job %d, %s: unexpected error", job.id, file.path, exc_info=error)
        error = self._started_over(file.path, error)
        failures = self._files[file.path].failures + 1
        decision = self._context.decide(error, failures, job.id, file.path)
        at = decision.at if isinstance(decision, RetryAt) else None
        sent = self._files[file.path].bytes_sent
        row = self._held.files.mark_failed(file.path, decision.reason, at, bytes_sent=sent)
        self._files.put(row)
        if isinstance(decision, Fail):
            self._fail(decision, error)

    def _falls_back_to_put(self, file: FileState, error: RemoteError, job: Job) -> bool:
        """A refused or expired URL; True if plain PUT is the answer to it."""
        if error.verdict not in (Verdict.START_REFUSED, Verdict.URL_EXPIRED):
            return False
        if file.url == self._files[file.path].url:  # else a newer map has come meanwhile
            self._urls_until_s = float("-inf")
        if error.verdict is Verdict.URL_EXPIRED or self._job.start_accepted or job.plain_put:
            return False
        if not self._job.plain_put:
            self._held.fall_back_to_put()
            self._job = replace(self._job, plain_put=True)
            self._files.forget_urls()
        return True

    def _started_over(self, path: str, error: Exception) -> Exception:
        """``error``, or what it has become if it was the last of its kind that a file may have."""
        if not isinstance(error, RemoteError):
            return error
        if error.code is Code.MISMATCH:
            why = "the stored object differs from the source; the file starts over"
            file = self._drop_session(path, why, mismatch=True)
            return damaged(file) if file.mismatches >= MAX_MISMATCHES else error
        if error.verdict is not Verdict.SESSION_GONE:
            return error
        opened_at = self._files[path].session_at
        old = opened_at is not None and self._context.clock.now() - opened_at > OLD_SESSION
        why = "the storage service no longer knows the session; the file starts over"
        file = self._drop_session(path, why, old=old, lost=True)
        if file.old_sessions_lost >= MAX_OLD_SESSIONS:
            return session_too_short(file)
        if file.sessions_lost >= MAX_SESSIONS_LOST:
            return lost_repeatedly(file)
        if file.sessions_lost >= MANY_SESSIONS_LOST:
            message = f"{file.sessions_lost} sessions in a row were lost without getting further"
            self._held.add_event(EventKind.SESSIONS_LOST, message, path)
        return error

    def _drop_session(
        self, path: str, why: str, *, old: bool = False, lost: bool = False, mismatch: bool = False
    ) -> FileState:
        before = self._files[path]
        file = self._held.files.drop_session(
            path,
            why,
            bytes_sent=before.bytes_sent,
            url=before.url if self._urls_fresh() else None,
            old=old,
            lost=lost,
            mismatch=mismatch,
        )
        self._files.put(file)
        return file

    def _fail(self, decision: Fail, error: Exception) -> None:
        """Nothing starts any more. The first reason is kept; so is that of a blocked job."""
        if not (isinstance(self._gate, Shut) and self._gate.status is not None):
            self._held.fail(decision.reason)
        self._gate = Shut(error, Status.FAILED)
        for errand in (*self._crew.of(Transfer), *self._crew.of(Opening)):
            errand.stop.stop()

    # -- URLs ------------------------------------------------------------------------------

    def _judge_asking(self, asking: Asking) -> None:
        error = asking.error
        if isinstance(error, LeaseLost):
            raise error
        if isinstance(error, Stopped) or asking.job.plain_put != self._job.plain_put:
            return
        if error is None:
            self._keep_urls(asking.urls, asking.received_s)
        elif asking.model is not None:
            self._without_urls(asking.model, error)
        else:
            self._postpone(error)

    def _keep_urls(self, urls: Mapping[str, UploadUrl], received_s: float) -> None:
        """A new map: commit it, and move the files whose objects it puts elsewhere."""
        clock, self._gate = self._context.clock, Open()
        life_s = min((url.life_s or DEFAULT_LIFE_S for url in urls.values()), default=0.0)
        now_s = clock.boot_s()
        self._urls_until_s = max(received_s + life_s * 0.75, now_s + _LEAST_LIFE_S)
        until = clock.now() + timedelta(seconds=self._urls_until_s - now_s)
        for file in self._held.files.keep_urls(urls, until):
            self._files.put(replace(file, url=urls[file.path]))
        running = {transfer.file.path: transfer for transfer in self._crew.of(Transfer)}
        for file in tuple(self._files):
            if file.object_path in (None, urls[file.path].object_path):
                continue
            if transfer := running.get(file.path):
                transfer.moved = True
                transfer.stop.cut()
            else:
                self._move(file.path, file.bytes_sent)

    def _move(self, path: str, bytes_sent: int) -> None:
        """The object lives elsewhere now: what an old session completes would be lost."""
        why = "the service moved the object to another path; the file starts over"
        self._files.put(self._held.files.drop_session(path, why, bytes_sent=bytes_sent))

    def _postpone(self, error: Exception) -> None:
        """No URL to be had: ask later, or not at all any more. Live sessions go on."""
        failures = (self._gate.failures if isinstance(self._gate, Later) else 0) + 1
        if isinstance(error, RemoteError) and error.verdict is Verdict.ABSENT:
            error = model_gone()
        before = self._context.jobs.job(self._job.id).failures
        decision = self._context.decide(error, before + failures, self._job.id)
        if isinstance(decision, RetryAt):
            self._gate = Later(decision.at, error, failures)
        elif isinstance(decision, Block):
            self._held.block(decision.reason)
            self._gate = Shut(error, Status.BLOCKED)
        else:
            self._gate = Shut(error)

    def _without_urls(self, model: RemoteModel, error: Exception) -> None:
        """The service gives no map for this model any more.

        Raises ModelUsedUp if the model can be deleted and created again, which costs nothing
        that is finished; else the files with a session are finished, and then the job fails.
        """
        nothing_stored = not any(file.stored for file in self._files)
        ours = self._context.limits.recreate and self._job.created_remotely
        again = self._job.recreations < MAX_RECREATIONS
        if ours and again and nothing_stored and model.state != "READY":
            raise ModelUsedUp("the service gives no more upload URLs for the model")
        self._gate = Shut(urls_refused(error))


class ModelUsedUp(Exception):
    """The model takes no more files and holds none: it is to be deleted and created again."""


def urls_refused(error: Exception) -> JobRefused:
    """What a refusal of getUploadEndpoint means for a job with outstanding files.

    See docs/life.md §3.5.
    """
    words = error.message if isinstance(error, UploaderError) else str(error)
    message = f"the service takes no more files for this model: {words}"
    return JobRefused(message, code=Code.URLS_REFUSED)


def model_gone() -> JobRefused:
    """404 on the model once it was created."""
    return JobRefused("the model no longer exists on the service", code=Code.MODEL_GONE)


def damaged(file: FileState) -> Corrupted:
    return Corrupted(f"{file.path} arrived damaged {file.mismatches} times")


def session_too_short(file: FileState) -> JobRefused:
    message = f"{file.path} cannot be sent within the week a session lives"
    return JobRefused(message, code=Code.SESSION_TOO_SHORT)


def lost_repeatedly(file: FileState) -> JobRefused:
    message = f"{file.path} lost {file.sessions_lost} upload sessions without getting further"
    return JobRefused(message, code=Code.SESSION_LOST_REPEATEDLY)
