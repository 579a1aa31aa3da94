"""The upload stage: every outstanding file of one job, a few at a time.

Theory of operation
============
Threads. One thread *decides*: the job's own, in `Upload.run`. It asks `core/upload.next_step` what
comes next, carries that out, and sleeps until something has happened. It never waits for the
network. Work that does is an errand in a thread of its own (`engine/crew.py`):

    Asking    asks for the whole map of URLs; at most one
    Opening   opens sessions for some files, ahead of their turn; at most `OPENERS`
    Transfer  sends one file, in one of the worker's slots

The worker's thread calls `stop` and `cut`, and nothing else of this file.

Who writes what. The deciding thread writes rows, moves files through the `Backlog` and changes the
gate. An errand fills its own fields and finally `error` and `ended`; a transfer also writes its
`Progress`, under a lock, and two rows of its own file: that its session went on, and the
fingerprint of a source that it has proven again. So nothing here needs a lock.

Orders that matter.
1. A session is committed before its file can be sent (docs/invariants.md §1): `Commits.sessions`
   puts the row into the backlog, and only what is there is ever sent. Sessions and stored files
   wait for others, to be committed with them; until then their files count as on their way.
2. URLs are committed before they are used: a crash costs nothing while they live.
3. `wake` is cleared before the errands are looked at: what ends later sets it again.
4. What a transfer has sent is written before its end is judged: the judgement reads the row.
5. An errand's end is taken, and its slot given back, before the step is chosen that may use it.
6. `run` returns only after the last errand has ended: a session never has two writers.

A file's life: URL → session → sent → stored. The sessions of all files are opened within the
life of the first map of URLs, because nobody knows whether there is a second one
(docs/fireworks.md §13.4); from then on the upload needs neither URL nor key. Until a first start
was accepted, sessions are opened one at a time: the service may have none to give.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from uploader.core.errors import LeaseLost, RemoteError, SourceAway, Stopped
from uploader.core.events import EventKind
from uploader.core.job import FileState, Job, Mode, Status, is_costly_put
from uploader.core.resumable import UploadUrl, session_key
from uploader.core.retry import Fail, reason_of
from uploader.core.text import size
from uploader.core.upload import (
    AskUrls,
    Backlog,
    GiveUp,
    Need,
    Open,
    OpenSession,
    Room,
    Send,
    Shut,
    Sleep,
    Stored,
    is_small,
    next_step,
)
from uploader.core.verdict import Verdict
from uploader.engine.commits import Commits
from uploader.engine.context import WorkerContext
from uploader.engine.crew import Crew, Errand
from uploader.engine.endings import after_waste
from uploader.engine.last_words import LastWords
from uploader.engine.progress import Meter, unwritten
from uploader.engine.restarts import Restarts
from uploader.engine.sessions import Asking, Opening
from uploader.engine.transfer import Transfer
from uploader.engine.urls import Urls
from uploader.runtime import StopToken
from uploader.store.held import Held

_TICK_S = 1.0


class Upload:
    """Runs the files of one claimed job until all are stored or nothing more can be done."""

    def __init__(
        self, context: WorkerContext, job: Job, held: Held, lapsed: Callable[[], bool]
    ) -> None:
        """``lapsed``: has the lease ended? If so, no block of any file is sent any longer."""
        self._context = context
        self._held = held
        self._job = job
        self._files = Backlog(context.jobs.sealed_files(job))
        self._owners = {session_key(f.session): f.path for f in self._files if f.session}
        self._urls = Urls(context, held, job)
        self._restarts = Restarts(context, held, self._files, self._urls)
        self._meter = Meter()
        self._crew = Crew(context, job.id, lapsed)
        self._last_words = LastWords(context, held, self._files, self._crew)
        self._commits = Commits(held, self._files)

    def run(self) -> bool:
        """True once every file is stored; False if the rest waits, or the job was ended.

        Once no transfer is running, raises what keeps files from starting; SourceAway if none can
        be sent, so that the job waits as a whole; LeaseLost; Stopped.
        """
        try:
            while True:
                self._crew.wake.clear()
                self._collect(self._crew.take_ended())
                if self._meter.due(self._context.clock.boot_s()):
                    self._flush(self._crew.of(Transfer))
                    self._context.auto.look()
                    self._resume_if_healed()
                if (stored := self._go_on()) is not None:
                    return stored
        except SourceAway:
            self._commit_stored()
            raise
        finally:
            self._crew.join()  # no transfer outlives its run: a session never has two writers

    @property
    def tokens(self) -> tuple[StopToken, ...]:
        """The stop tokens of all that is running. For any thread."""
        return self._crew.tokens

    def stop(self) -> None:
        """Every transfer stops at its next block, and none starts. For any thread."""
        self._crew.stop()

    def cut(self) -> None:
        """Like `stop`, but also shut their sockets down. For any thread."""
        self._crew.cut()

    # -- deciding --------------------------------------------------------------------------

    def _go_on(self) -> bool | None:
        """Start what may start, then sleep; not None if the run is over, as `run` returns it."""
        full = False
        while not self._crew.stopped:
            room = self._room(full=full)
            now, urls = self._context.clock.now(), self._urls
            match next_step(self._files, urls.gate, room, now, urls_fresh=urls.fresh):
                case Send(path):
                    full = not self._spawn_transfer(path)
                case OpenSession():
                    self._spawn_opening()
                case AskUrls():
                    self._spawn_asking()
                case _ if not room.running and self._commit_stored():
                    pass  # what comes next is judged by what is stored
                case step:
                    return self._rest(step, now, running=room.running)
        if not self._crew.busy:
            self._commit_stored()
            if not self._last_words.ask(self._job):
                raise Stopped
        self._pause(_TICK_S)
        return None

    def _pause(self, most_s: float) -> None:
        """Until something has happened, or what waits to be written is due."""
        left_s = self._commits.left_s(self._context.clock.boot_s())
        self._context.clock.wait(self._crew.wake, min(most_s, left_s))

    def _rest(self, step: Sleep | Stored | GiveUp, now: datetime, *, running: bool) -> bool | None:
        """Nothing may start now; None if something may later in this run."""
        match step:
            case Stored():
                return True
            case GiveUp(gate):
                if isinstance(gate, Shut) and gate.status is not None:
                    self._context.forget(self._job.id)
                    return False
                raise gate.error
            case Sleep(until) if until is not None and not running:
                self._held.wait_until(until, self._restarts.why)
                return False
            case Sleep(until):
                left_s = _TICK_S if until is None else (until - now).total_seconds()
                self._pause(min(_TICK_S, left_s))
                return None

    def _room(self, *, full: bool) -> Room:
        most = self._crew.berths.openers if self._job.start_accepted else 1
        threads = not self._crew.crowded
        return Room(
            running=self._crew.busy,
            send=threads and not full and not self._crew.holds_back,
            open=threads and len(self._crew.of(Opening)) < most,
            ask=threads and not self._crew.of(Asking),
        )

    def _resume_if_healed(self) -> None:
        """If a blocked job has become active again meanwhile, ask for URLs again."""
        gate = self._urls.gate
        if isinstance(gate, Shut) and gate.status is Status.BLOCKED:
            job = self._context.jobs.job(self._job.id)
            if job.status is Status.ACTIVE:
                self._job, self._urls.gate = job, Open()

    # -- errands ---------------------------------------------------------------------------

    def _spawn_transfer(self, path: str) -> bool:
        """False if no slot is free."""
        give = self._crew.berths.take(small=is_small(self._files[path]))
        if give is None:
            return False
        try:
            lane, empty = self._crew.lane(), self._files.is_empty(path)
        except BaseException:
            give()
            raise
        file = self._files.begin(path)
        transfer = Transfer(self._context, self._job, self._held, file, lane, empty=empty)
        self._context.auto.watch(transfer)
        self._crew.start(f"job {self._job.id} {path}", transfer, give)
        return True

    def _spawn_opening(self) -> None:
        count = self._crew.berths.opened_in_a_row if self._job.start_accepted else 1
        files = [self._files.begin(path) for path in self._files.some(Need.SESSION, count)]
        lane, wake = self._crew.lane(), self._crew.wake
        opening = Opening(self._context.clock, self._job, files, lane, wake, self._owners)
        self._crew.start(f"job {self._job.id} sessions", opening)

    def _spawn_asking(self) -> None:
        sizes = {file.path: file.size_bytes for file in self._files}
        asking = Asking(self._context, self._job, sizes, self._crew.token())
        self._crew.start(f"job {self._job.id} URLs", asking)

    # -- ends ------------------------------------------------------------------------------

    def _collect(self, ended: Sequence[Errand]) -> None:
        """Write and judge the results of the errands. Raises LeaseLost, ModelUsedUp, SourceAway."""
        now_s, opening = self._context.clock.boot_s(), self._crew.of(Opening)
        openings = [*opening, *(e for e in ended if isinstance(e, Opening))]
        self._crew.berths.saw(errand.round_trip_s for errand in (*openings, *ended))
        opened = [opened for one in openings for opened in one.take()]
        put = self._job.plain_put
        if self._commits.sessions(opened, now_s, more=bool(opening), plain_put=put):
            self._job = replace(self._job, start_accepted=True)
        transfers = [errand for errand in ended if isinstance(errand, Transfer)]
        for transfer in transfers:
            self._meter.end(transfer)
        arrived = [t.arrived for t in transfers if t.arrived is not None and not t.moved]
        self._commits.stored(arrived, now_s, more=not any(map(_is_urgent, ended)))
        self._flush([t for t in transfers if t.error is not None and not t.moved])
        for errand in sorted(ended, key=_found_no_source):
            match errand:
                case Transfer(arrived=None) | Transfer(moved=True):
                    self._judge_transfer(errand)
                case Opening():
                    self._judge_opening(errand)
                case Asking():
                    self._judge_asking(errand)

    def _commit_stored(self) -> bool:
        """Write what waits for others to be written with; True if there was anything."""
        return self._commits.stored((), self._context.clock.boot_s(), more=False)

    def _flush(self, transfers: Sequence[Transfer]) -> None:
        """Write the progress of those transfers in one transaction. Raises LeaseLost."""
        rate_bps = self._meter.rate(self._crew.of(Transfer), self._context.clock.boot_s())
        progress = unwritten(transfers, self._context.clock.now())
        if any(row.advanced for row in progress):
            self._context.slots.kept(self._job.id)
        if progress or (transfers and self._meter.changed(rate_bps)):
            for file in self._held.files.report_progress(progress, rate_bps):
                self._put_sent(file)

    def _put_sent(self, file: FileState) -> None:
        """Record a file of which more was sent; that ends the job if it was too much."""
        end = after_waste(self._files[file.path], file)
        self._files.put(file)
        if end is not None:
            self._fail(Fail(reason_of(end)), end)

    def _judge_transfer(self, transfer: Transfer) -> None:
        path = transfer.file.path
        self._last_words.heard(path)
        try:
            file = replace(self._files[path], bytes_sent=transfer.progress.bytes_sent)
            self._put_sent(file)
            if transfer.moved:
                url = file.url if self._urls.fresh else None
                self._start_over_elsewhere(path, file.bytes_sent, url)
            elif transfer.error is not None:
                self._judge(transfer.file, transfer.error, transfer.job)
                self._restarts.after_vain_put(transfer)
        finally:
            self._files.end(path)

    def _judge_opening(self, opening: Opening) -> None:
        """The file at which it ended, if any; the files after it are opened another time."""
        left = opening.left
        try:
            if opening.error is not None and left:
                self._judge(left[0], opening.error, opening.job)
        finally:
            for file in left:
                self._files.end(file.path)

    def _judge(self, file: FileState, error: Exception, job: Job) -> None:
        """Handle a file that got no further; ``file`` and ``job`` are as the errand knew them."""
        if isinstance(error, LeaseLost | SourceAway):
            raise error
        if isinstance(error, Stopped):
            return
        if isinstance(error, RemoteError) and self._falls_back_to_put(file, error, job):
            return
        decision = self._restarts.failed(file.path, error)
        if isinstance(decision, Fail):
            self._fail(decision, error)

    def _falls_back_to_put(self, file: FileState, error: RemoteError, job: Job) -> bool:
        """A refused or expired URL; True if plain PUT is the answer to it."""
        if error.verdict not in (Verdict.START_REFUSED, Verdict.URL_EXPIRED):
            return False
        if file.url == self._files[file.path].url:  # otherwise a newer map has come meanwhile
            self._urls.expire()
        if error.verdict is Verdict.URL_EXPIRED or self._job.start_accepted or job.plain_put:
            return False
        if not self._job.plain_put:
            self._held.fall_back_to_put()
            self._job = replace(self._job, plain_put=True)
            self._files.forget_urls()
        return True

    def _fail(self, decision: Fail, error: Exception) -> None:
        """Nothing more starts. The first reason is kept, and so is that of a blocked job."""
        if not self._urls.given_up:
            self._held.fail(decision.reason)
        self._urls.gate = Shut(error, Status.FAILED)
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
            any_stored = any(file.stored for file in self._files)
            self._urls.refused(asking.model, error, self._job, any_stored=any_stored)
        else:
            self._urls.postpone(error, self._job.id)

    def _keep_urls(self, urls: Mapping[str, UploadUrl], received_s: float) -> None:
        """Commit a new map, and start over the files whose objects it puts elsewhere.

        Those come first: if it ends in between, the next worker needs a map for them.
        """
        until = self._urls.receive(urls, received_s)
        running = {transfer.file.path: transfer for transfer in self._crew.of(Transfer)}
        for file in tuple(self._files):
            transfer = running.get(file.path)
            place = transfer.file.place if transfer else file.object_path
            if place in (None, urls[file.path].object_path):
                continue
            if transfer:
                transfer.moved = True
                transfer.cut()
            else:
                self._start_over_elsewhere(file.path, file.bytes_sent, None)
        for file in self._held.files.keep_urls(urls, until):
            self._warn_of_costly_put(file)
            self._files.put(replace(file, url=urls[file.path]))

    def _start_over_elsewhere(self, path: str, bytes_sent: int, url: UploadUrl | None) -> None:
        if (end := self._restarts.moved(path, bytes_sent, url)) is not None:
            self._judge(self._files[path], end, self._job)

    def _warn_of_costly_put(self, file: FileState) -> None:
        """Say it once, when the service first gives such a file no session."""
        if is_costly_put(file) and self._files[file.path].mode is not Mode.PUT:
            message = f"only a plain PUT is offered: a cut costs all of its {size(file.size_bytes)}"
            self._held.add_event(EventKind.COSTLY_PUT, message, file.path)


def _found_no_source(ended: Errand) -> bool:
    """Does the whole job wait for its folder? Whatever else has ended is judged first."""
    return isinstance(ended.error, SourceAway)


def _is_urgent(ended: Errand) -> bool:
    """Does the end of this errand need every stored file in its row?

    A crash would send a large file again that went by plain PUT; a new map of URLs, or none, is
    judged by what is stored.
    """
    if isinstance(ended, Transfer):
        return ended.file.mode is Mode.PUT and not is_small(ended.file)
    return isinstance(ended, Asking)
