"""Opening sessions and asking for URLs: what precedes the first byte of a file."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from uploader.core.errors import JobRefused, RemoteError
from uploader.core.job import FileState, Job
from uploader.core.reasons import Code
from uploader.core.redact import SessionUri
from uploader.core.remote_model import RemoteModel
from uploader.core.resumable import Confirmed, UploadUrl, UrlKind, answers, read_url, session_key
from uploader.core.upload import EXCHANGE_EVERY_S
from uploader.core.verdict import Call, Verdict
from uploader.engine.context import WorkerContext
from uploader.engine.crew import Errand, Lane
from uploader.engine.endings import check_gone
from uploader.remote.fireworks import Fireworks
from uploader.remote.refusals import malformed
from uploader.runtime import Clock, StopToken


@dataclass(frozen=True, slots=True)
class Opened:
    """A session that is open but not committed yet. ``empty``: we opened it, so it has no bytes."""

    path: str
    session: SessionUri
    object_path: str
    empty: bool


class Opening(Errand):
    """Opens sessions for some files, one after the other; each can be used as soon as it is open.

    It ends at the first one that fails, with RemoteError, JobRefused, LeaseLost or Stopped.
    """

    def __init__(
        self,
        clock: Clock,
        job: Job,
        files: Sequence[FileState],
        lane: Lane,
        wake: threading.Event,
        owners: dict[str, str],
    ) -> None:
        """``wake`` is set after a session that took long: the rest of a quick row is waited for.

        ``owners``: the file of each `session_key` of the job, shared with the other openings.
        """
        super().__init__(lane.stop, lane)
        self._clock = clock
        self.job = job
        #: Without those whose sessions were taken.
        self.left = list(files)
        self._files = files
        self._opened: deque[Opened] = deque()  # filled by this errand's thread
        self._lane = lane
        self._wake = wake
        self._owners = owners
        self._round_trip_s: float | None = None

    @property
    def round_trip_s(self) -> float | None:
        """As `Errand.round_trip_s`: of the last session that it opened."""
        return self._round_trip_s

    def run(self) -> None:
        """Open one session after another; each may be taken as soon as it is open."""
        for file in self._files:
            self.stop.check()
            self._opened.append(self._open(file))
            if self._round_trip_s is not None and self._round_trip_s > EXCHANGE_EVERY_S:
                self._wake.set()

    def take(self) -> list[Opened]:
        """Take the sessions that were opened since the last call."""
        taken = [self._opened.popleft() for _ in range(len(self._opened))]
        del self.left[: len(taken)]
        return taken

    def _open(self, file: FileState) -> Opened:
        url = file.url
        if url is None:
            raise AssertionError("a session is opened by a URL")
        if url.kind is UrlKind.SESSION:  # the service has opened it for us
            session = SessionUri(url.url.reveal())
            self._own(session, file.path)
            return Opened(file.path, session, url.object_path, empty=False)
        began_s = self._clock.boot_s()
        session = self._lane.storage.start(url, file.size_bytes)
        self._round_trip_s = self._clock.boot_s() - began_s
        self._own(session, file.path)
        if not answers(url, read_url(session.reveal())):
            self._check_unused(session, file.size_bytes)
        return Opened(file.path, session, url.object_path, empty=True)

    def _own(self, session: SessionUri, path: str) -> None:
        if self._owners.setdefault(session_key(session), path) != path:
            raise malformed(Call.START, "names the session of another file")

    def _check_unused(self, session: SessionUri, size_bytes: int) -> None:
        """It may be that of a file that is stored, or of another job; no row says so."""
        # a query would finish an empty one
        if size_bytes and self._lane.storage.query(session, size_bytes) != Confirmed(0):
            raise malformed(Call.START, "names a session that was used before")


_NOT_PLAIN = "the service refuses resumable uploads, and then gives URLs for nothing else"


class Asking(Errand):
    """Asks for the whole map of URLs; if that is refused for good, reads the model's state.

    Raises RemoteError, JobError, LeaseLost or Stopped.
    """

    def __init__(
        self, context: WorkerContext, job: Job, sizes: Mapping[str, int], stop: StopToken
    ) -> None:
        super().__init__(stop)
        self.job = job
        self.urls: Mapping[str, UploadUrl] = {}
        self.received_s = 0.0
        #: The model, if the service gives no map for it.
        self.model: RemoteModel | None = None
        self._context = context
        self._sizes = sizes

    def run(self) -> None:
        """Ask for the map; ``received_s`` is when it came, in seconds by `Clock.boot_s`."""
        with closing(self._context.control(self.stop)) as control:
            try:
                self._ask(control)
            except RemoteError as error:
                if error.verdict is Verdict.ABSENT:
                    check_gone(self.job, control)
                raise

    def _ask(self, control: Fireworks) -> None:
        job = self.job
        try:
            self.urls = control.upload_urls(
                job.account, job.model_id, self._sizes, resumable=not job.plain_put
            )
        except RemoteError as error:
            if error.verdict is Verdict.EXISTS:
                self.model = control.get(job.account, job.model_id)
            raise
        if job.plain_put and any(url.kind is not UrlKind.PUT for url in self.urls.values()):
            raise JobRefused(_NOT_PLAIN, code=Code.URL_UNUSABLE)
        self.received_s = self._context.clock.boot_s()
