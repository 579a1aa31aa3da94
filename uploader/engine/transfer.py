"""One run over one file: from wherever the server says it stands to stored.

Session: ask the server where doubt is, send the rest in capped PUTs, believe each answer.
Put: one plain PUT of the whole file. Either way the file counts as stored only where length and
CRC32C, as far as the service returns them, are ours (design §3 "stored").
"""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta

from uploader.core.errors import Corrupted, JobRefused, RemoteError
from uploader.core.events import EventKind
from uploader.core.job import FileState, Job, Mode, PrefixCrc
from uploader.core.reasons import Code
from uploader.core.redact import SessionUri
from uploader.core.resumable import (
    Agreement,
    Confirmed,
    Finished,
    Reading,
    Unclear,
    UploadUrl,
    UrlKind,
    compare,
    next_put,
)
from uploader.core.verdict import Call, Verdict
from uploader.engine.body import Body
from uploader.engine.context import WorkerContext
from uploader.engine.progress import Progress
from uploader.remote.storage import Storage
from uploader.runtime import StopToken
from uploader.sources.local import changed
from uploader.sources.reader import Reader, open_source
from uploader.store.held import Held

MAX_MISMATCHES = 3
#: A session lives a week (gcs §1.1); one lost this late was too short for the link.
OLD_SESSION = timedelta(days=6)
MAX_OLD_SESSIONS = 2


class Transfer:
    """Brings one file to stored, or raises what kept it from getting there.

    ``url`` is needed only where the file must start: it has no session, or is a plain PUT.
    ``stop`` is this transfer's own.
    """

    def __init__(
        self,
        context: WorkerContext,
        job: Job,
        held: Held,
        file: FileState,
        url: UploadUrl | None,
        stop: StopToken,
    ) -> None:
        self.job = job
        self.file = file
        self.stop = stop
        self.progress = Progress(file)
        self._context = context
        self._held = held
        self._url = url
        self._sent_from: int | None = None

    def run(self) -> None:
        """Raises RemoteError, JobError, LeaseLost, StoreError or Stopped."""
        with (
            open_source(self.job.path, self.file, self.stop) as source,
            closing(self._context.storage(self.stop)) as storage,
        ):
            if self._url is not None and self._url.kind is UrlKind.PUT:
                finished = self._put(self._url, source, storage)
            else:
                finished = self._send(source, storage)
            self._settle(finished, source.crc_at(self.file.size_bytes))

    # -- session ---------------------------------------------------------------------------

    def _send(self, source: Reader, storage: Storage) -> Finished:
        """The resumable loop: every step starts at the offset the server named last."""
        try:
            session, reading = self._stand(source, storage)
            while not isinstance(reading, Finished):
                reading = self._step(source, storage, session, reading)
        except RemoteError as error:
            if error.verdict is Verdict.SESSION_GONE:
                self._lose_session()
            raise
        return self._facts(storage, session, reading)

    def _stand(self, source: Reader, storage: Storage) -> tuple[SessionUri, Reading]:
        """A session, and where the server stands in it."""
        if self.file.session is not None:
            reading = storage.query(self.file.session, self.file.size_bytes)
            self._resume(source, reading)
            return self.file.session, reading
        url = self._needed_url()
        if url.kind is UrlKind.SESSION:
            session = SessionUri(url.url.reveal())
            self._open(source, session, url)
            return session, storage.query(session, self.file.size_bytes)
        session = storage.start(url, self.file.size_bytes)
        self._open(source, session, url)
        return session, Confirmed(0)

    def _resume(self, source: Reader, reading: Reading) -> None:
        """Go on where the server stands, unless a touched source leaves bytes unproven.

        Raises SourceChanged where the server holds bytes beyond every pair (invariant 6); a
        finished object that tells its CRC is compared as a whole instead.
        """
        held = reading.offset if isinstance(reading, Confirmed) else self.file.size_bytes
        told = isinstance(reading, Finished) and reading.crc32c is not None
        if source.touched and not told and held > max(source.pairs):
            raise changed(self.file.path)
        self._adopt(source)
        message = f"the server holds {held:,} of {self.file.size_bytes:,} bytes; going on there"
        self._held.add_event(EventKind.SESSION_RESUMED, message, self.file.path)

    def _adopt(self, source: Reader) -> None:
        """Take a proven new fingerprint into the row."""
        if source.fingerprint != self.file.fingerprint:
            self.file = self._held.files.reidentify(self.file.path, source.fingerprint)

    def _needed_url(self) -> UploadUrl:
        if self._url is None:
            raise AssertionError("a file that must start was given no URL")
        return self._url

    def _open(self, source: Reader, session: SessionUri, url: UploadUrl) -> None:
        """Commit the session before the first byte leaves (invariant 1)."""
        self._adopt(source)
        self.file = self._held.files.open_session(self.file.path, session, url.object_path)
        self.progress.opened(self.file)

    def _step(
        self, source: Reader, storage: Storage, session: SessionUri, reading: Confirmed | Unclear
    ) -> Reading:
        """One exchange further, from what the server said last."""
        size_bytes = self.file.size_bytes
        if isinstance(reading, Unclear):
            return self._query(storage, session)
        source.check()
        self.progress.confirmed(source.confirm(reading.offset))
        if reading.offset == size_bytes:
            return self._finish(storage, session)
        if self._sent_from is not None and reading.offset <= self._sent_from:
            raise _kept_nothing()  # so that the next try waits
        self._sent_from = reading.offset
        start, stop_at = next_put(reading.offset, size_bytes, self._context.limits.max_put_bytes)
        body = self._body(source, start, stop_at)
        return storage.send(session, body, start, stop_at, size_bytes)

    def _query(self, storage: Storage, session: SessionUri) -> Reading:
        storage.close()  # never two writers on a session
        return storage.query(session, self.file.size_bytes)

    def _finish(self, storage: Storage, session: SessionUri) -> Finished:
        """All bytes are held: the status query is also the word that ends the upload (gcs §1)."""
        reading = self._query(storage, session)
        if isinstance(reading, Finished):
            return reading
        message = "the storage service holds every byte but has not made the object yet"
        raise RemoteError(Verdict.TRANSIENT, Call.QUERY, message, code=Code.UNFINISHED)

    def _facts(self, storage: Storage, session: SessionUri, finished: Finished) -> Finished:
        """Neither length nor CRC came with the answer: ask once more, then believe it."""
        if finished != Finished():
            return finished
        try:
            return self._finish(storage, session)
        except RemoteError:
            return finished

    def _lose_session(self) -> None:
        """That file alone starts over; twice after six days, the link is too slow for it."""
        now = self._context.clock.now()
        opened_at = self.file.session_at
        old = opened_at is not None and now - opened_at > OLD_SESSION
        why = "the storage service no longer knows the session; the file starts over"
        self.file = self._held.files.drop_session(
            self.file.path, why, bytes_sent=self.progress.bytes_sent, old=old
        )
        if self.file.old_sessions_lost >= MAX_OLD_SESSIONS:
            raise JobRefused(
                f"{self.file.path} cannot be sent within the week a session lives",
                code=Code.SESSION_TOO_SHORT,
            )

    # -- put -------------------------------------------------------------------------------

    def _put(self, url: UploadUrl, source: Reader, storage: Storage) -> Finished:
        self._adopt(source)
        self.progress.opened(self.file)
        return storage.put(url, self._body(source, 0, self.file.size_bytes), self.file.size_bytes)

    # -- both ------------------------------------------------------------------------------

    def _body(self, source: Reader, start: int, stop_at: int) -> Body:
        def read(pair: PrefixCrc, count: int) -> None:
            if self.file.mode is Mode.PUT:
                source.pairs = {0: 0}  # one PUT has no confirmations: keep only the last pair
            source.pairs[pair.offset] = pair.crc32c
            self.progress.read(pair, count)

        return Body(
            source,
            start,
            stop_at,
            throttle=self._context.throttle,
            stop=self.stop,
            on_block=read,
        )

    def _settle(self, finished: Finished, whole: PrefixCrc) -> None:
        """Stored, or a mismatch that starts the file over and, the third time, fails the job."""
        files, path, sent = self._held.files, self.file.path, self.progress.bytes_sent
        agreement = compare(finished, whole.offset, whole.crc32c)
        if agreement is not Agreement.MISMATCH:
            verified = agreement is Agreement.VERIFIED
            self.file = files.mark_stored(path, whole.crc32c, bytes_sent=sent, verified=verified)
            return
        why = "the stored object differs from the source; the file starts over"
        self.file = files.drop_session(path, why, bytes_sent=sent, mismatch=True)
        if self.file.mismatches >= MAX_MISMATCHES:
            raise Corrupted(f"{path} arrived damaged {self.file.mismatches} times")
        raise RemoteError(Verdict.TRANSIENT, Call.DATA, f"{path}: {why}", code=Code.MISMATCH)


def _kept_nothing() -> RemoteError:
    message = "the storage service kept nothing of what was sent"
    return RemoteError(Verdict.TRANSIENT, Call.DATA, message, code=Code.KEPT_NOTHING)
