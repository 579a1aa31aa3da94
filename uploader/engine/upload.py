"""The upload stage: every outstanding file of one job, a few at a time.

One thread decides here; transfers run beside it and report back. Files with a stored session go
first, since they need neither key nor URL; a file that must start needs a signed URL, and URLs
are only ever asked for as a whole map.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from uploader.core.errors import (
    JobError,
    JobRefused,
    LeaseLost,
    RemoteError,
    Stopped,
    UploaderError,
)
from uploader.core.job import FileState, Job, Status
from uploader.core.reasons import Code
from uploader.core.resumable import UploadUrl, UrlKind
from uploader.core.retry import Block, Fail, RetryAt
from uploader.core.verdict import Verdict
from uploader.engine.context import WorkerContext
from uploader.engine.progress import Rate
from uploader.engine.transfer import Transfer
from uploader.engine.urls import UrlBook
from uploader.remote.fireworks import Fireworks
from uploader.runtime import StopToken
from uploader.store.held import Held

_TICK_S = 1.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a transfer ended; ``error`` None means stored."""

    path: str
    error: Exception | None


class Upload:
    """Runs the files of one claimed job until all are stored, or nothing more can be done."""

    def __init__(
        self,
        context: WorkerContext,
        job: Job,
        held: Held,
        control: Fireworks,
        lapsed: Callable[[], bool],
    ) -> None:
        """``lapsed``: has the lease ended? Then no block of any file leaves any more."""
        self.wake = threading.Event()
        self._lapsed = lapsed
        self._context = context
        self._job = job
        self._held = held
        self._control = control
        self._files: dict[str, FileState] = {}
        self._running: dict[str, Transfer] = {}
        self._moved: set[str] = set()
        self._outcomes: list[Outcome] = []
        self._sent: dict[str, int] = {}
        self._urls = UrlBook()
        self._rate = Rate()
        self._stopped = False
        #: Why no further file may start; `_written` is the status the job's row was given for it.
        self._ending: Exception | None = None
        self._written: Status | None = None
        self._urls_error: Exception | None = None
        self._urls_after: datetime | None = None
        self._urls_failures = 0

    def run(self) -> bool:
        """True once every file is stored; False where the rest waits, or the job was ended.

        Raises what keeps files from starting once no transfer runs any more; LeaseLost; Stopped.
        """
        try:
            self._reload()
            while True:
                self.wake.clear()
                self._collect()
                self._look_again()
                self._start_ready()
                if not self._running and not self._ready():
                    return self._conclude()
                self._context.clock.wait(self.wake, _TICK_S)
        finally:
            self._quiet()

    def stop(self) -> None:
        """Every transfer stops at its next block; none starts."""
        self._stopped = True
        for transfer in tuple(self._running.values()):
            transfer.stop.stop()
        self.wake.set()

    def cut(self) -> None:
        """As `stop`, and their sockets are shut down."""
        self.stop()
        for transfer in tuple(self._running.values()):
            transfer.stop.cut()

    def flush(self) -> None:
        """Write the progress of all running files in one transaction. Raises LeaseLost."""
        running = dict(self._running)
        rows = [row for transfer in running.values() if (row := transfer.progress.take())]
        if not rows:
            return
        resting = (file for path, file in self._files.items() if path not in running)
        sent = sum(file.bytes_sent for file in resting)
        sent += sum(transfer.progress.bytes_sent for transfer in running.values())
        rate_bps = self._rate.add(self._context.clock.boot_s(), sent)
        self._held.files.report_progress(rows, rate_bps)

    # -- starting --------------------------------------------------------------------------

    def _ready(self) -> list[FileState]:
        """Files that may start now, those on a live session first."""
        if self._stopped or self._written:
            return []
        now = self._context.clock.now()
        may_ask = self._ending is None and (self._urls_after is None or self._urls_after <= now)
        ready = [
            file
            for path, file in self._files.items()
            if not file.stored
            and path not in self._running
            and (file.not_before is None or file.not_before <= now)
            and (file.session is not None or may_ask)
        ]
        return sorted(ready, key=lambda file: file.session is None)

    def _start_ready(self) -> None:
        for file in self._ready():
            if not self._context.slots.take():
                return
            started = False
            try:
                started = self._start(file)
            finally:
                if not started:
                    self._context.slots.give()
            if not started:
                return

    def _start(self, file: FileState) -> bool:
        """True where a transfer was started, which gives the slot back; False where none may."""
        url = self._url_for(file.path) if file.session is None else None
        if self._stopped or (file.session is None and url is None):
            return False
        if url is not None and url.kind is UrlKind.PUT:
            file = self._held.files.start_put(file.path)
        stop = StopToken(self._lapsed)
        self._send_off(Transfer(self._context, self._job, self._held, file, url, stop))
        return True

    def _send_off(self, transfer: Transfer) -> None:
        name = f"job {self._job.id} {transfer.file.path}"
        self._context.spawn(name, lambda: self._carry(transfer))
        self._running[transfer.file.path] = transfer
        if self._stopped:  # `stop` may have looked just before it was there to be seen
            transfer.stop.stop()

    def _carry(self, transfer: Transfer) -> None:
        """A transfer's thread."""
        error: Exception | None = None
        try:
            transfer.run()
        except Exception as caught:  # noqa: BLE001 - judged by the thread that decides
            error = caught
        finally:
            self._context.slots.give()
            self._outcomes.append(Outcome(transfer.file.path, error))
            self.wake.set()

    # -- URLs ------------------------------------------------------------------------------

    def _url_for(self, path: str) -> UploadUrl | None:
        """A usable URL, or None where none can be had now, or no file may start."""
        if not self._urls.fresh(path, self._context.clock.boot_s()):
            try:
                self._refresh_urls()
            except (RemoteError, JobError) as error:
                self._postpone(error)
                return None
        return self._urls.take(path)

    def _refresh_urls(self) -> None:
        job = self._job
        sizes = {file.path: file.size_bytes for file in self._files.values()}
        urls = self._control.upload_urls(
            job.account, job.model_id, sizes, resumable=not job.plain_put
        )
        self._urls.fill(urls, self._context.clock.boot_s())
        self._urls_error, self._urls_after, self._urls_failures = None, None, 0
        self._reload()  # a session may have been opened since the last look
        for path, file in self._files.items():
            if file.object_path not in (None, urls[path].object_path):
                self._move(path)
        self._reload()

    def _move(self, path: str) -> None:
        """The object lives elsewhere now: what an old session completes would be lost."""
        if path in self._running:
            self._moved.add(path)
            self._running[path].stop.cut()
            return
        why = "the service moved the object to another path; the file starts over"
        sent = self._files[path].bytes_sent
        self._held.files.drop_session(path, why, bytes_sent=sent)

    def _postpone(self, error: RemoteError | JobError) -> None:
        """No URL to be had: ask later, or start nothing any more."""
        self._urls_failures += 1
        failures = self._job.failures + self._urls_failures
        decision = self._context.decide(_urls_error(error), failures, self._job.id)
        if isinstance(decision, RetryAt):
            self._urls_error, self._urls_after = error, decision.at
        elif isinstance(decision, Block):
            self._held.block(decision.reason)
            self._ending, self._written = error, Status.BLOCKED
        else:
            self._ending = _urls_error(error)

    def _look_again(self) -> None:
        """A blocked job that was healed meanwhile starts files again, beside those that run."""
        if self._written is not Status.BLOCKED:
            return
        self._reload()
        if self._job.status is Status.ACTIVE:
            self._ending = self._written = None

    # -- outcomes --------------------------------------------------------------------------

    def _collect(self) -> None:
        while self._outcomes:
            outcome = self._outcomes[0]
            self.flush()
            self._reload()
            del self._outcomes[0]
            ended = self._running.pop(outcome.path)
            self._sent[outcome.path] = ended.progress.bytes_sent
            if outcome.path in self._moved:
                self._moved.discard(outcome.path)
                self._move(outcome.path)
            elif outcome.error is not None:
                self._judge(self._files[outcome.path], outcome.error, ended)
            self._reload()

    def _judge(self, file: FileState, error: Exception, ended: Transfer) -> None:
        """What follows from a transfer that did not store its file."""
        if isinstance(error, LeaseLost):
            raise error
        if isinstance(error, Stopped):
            return
        if isinstance(error, RemoteError) and self._urls_at_fault(error, ended.job):
            return
        if not isinstance(error, UploaderError):
            _log.error("job %d, %s: unexpected error", self._job.id, file.path, exc_info=error)
        decision = self._context.decide(error, file.failures + 1, self._job.id, file.path)
        at = decision.at if isinstance(decision, RetryAt) else None
        sent = ended.progress.bytes_sent
        self._held.files.mark_failed(file.path, decision.reason, at, bytes_sent=sent)
        if isinstance(decision, Fail):
            self._fail(decision, error)

    def _urls_at_fault(self, error: RemoteError, began: Job) -> bool:
        """A refused or expired URL; True where falling back to plain PUT is the answer."""
        if error.verdict not in (Verdict.START_REFUSED, Verdict.URL_EXPIRED):
            return False
        self._urls.drop()
        if error.verdict is Verdict.URL_EXPIRED or self._job.start_accepted or began.plain_put:
            return False
        if not self._job.plain_put:
            self._held.fall_back_to_put()
            self._reload()
        return True

    def _fail(self, decision: Fail, error: Exception) -> None:
        if self._written is not None:  # once is enough; a user may have asked for a retry since
            return
        self._held.fail(decision.reason)
        self._ending, self._written = error, Status.FAILED
        for transfer in self._running.values():
            transfer.stop.stop()

    # -- ending ----------------------------------------------------------------------------

    def _conclude(self) -> bool:
        """Nothing runs and nothing may start: say what that means."""
        if self._stopped:
            raise Stopped
        if self._written:
            return False
        outstanding = [file for file in self._files.values() if not file.stored]
        if not outstanding:
            return True
        error = self._ending or self._urls_error
        waiting = [
            file.not_before
            for file in outstanding
            if file.not_before is not None and (error is None or file.session is not None)
        ]
        if error is not None and not waiting:  # else a live session has its turn first
            raise error
        self._held.wait_until(min(waiting))
        return False

    def _quiet(self) -> None:
        """No transfer outlives its run: a session never has two writers."""
        if self._running and not self._stopped:
            self.cut()
        while len(self._outcomes) < len(self._running):
            self._context.clock.wait(self.wake, _TICK_S)
            self.wake.clear()

    def _reload(self) -> None:
        self._job = self._context.jobs.job(self._job.id)
        self._files = {
            file.path: self._counted(file) for file in self._context.jobs.files(self._job.id)
        }

    def _counted(self, file: FileState) -> FileState:
        """With what was sent in this run: the worker's thread may write a row late."""
        return replace(file, bytes_sent=max(file.bytes_sent, self._sent.get(file.path, 0)))


def _urls_error(error: RemoteError | JobError) -> RemoteError | JobError:
    """What a refusal of getUploadEndpoint means for a job with outstanding files (design §3)."""
    verdict = error.verdict if isinstance(error, RemoteError) else None
    if verdict is Verdict.EXISTS:
        return JobRefused(
            f"the service takes no more files for this model: {error.message}",
            code=Code.URLS_REFUSED,
        )
    if verdict is Verdict.ABSENT:
        return model_gone()
    return error


def model_gone() -> JobRefused:
    """404 on the model once it was created."""
    return JobRefused("the model no longer exists on the service", code=Code.MODEL_GONE)
