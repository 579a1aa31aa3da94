"""Sends one file: from the offset that the server names until it is stored.

Session: ask the server if there is doubt, send the rest in PUTs of limited length, believe only
what is proven. Put: one plain PUT of the whole file. Either way the file counts as stored only if
length and CRC32C, as far as the service returns them, are ours (docs/life.md §3.4). A transfer
writes two things only: that the session went on, and what it finds out about its source. The
deciding thread judges and writes how it ended (`engine/upload.py`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from http import HTTPStatus

from uploader.core.errors import RemoteError, Stopped, UploaderError
from uploader.core.events import EventKind
from uploader.core.job import FileState, Job, Mode, PrefixCrc
from uploader.core.reasons import Code
from uploader.core.redact import SessionUri
from uploader.core.resumable import (
    GRANULE,
    Agreement,
    Confirmed,
    Finished,
    ProtocolError,
    Reading,
    Unclear,
    compare,
    gets_further,
    next_put,
)
from uploader.core.upload import is_small
from uploader.core.verdict import Call, Verdict
from uploader.engine.body import Body
from uploader.engine.context import WorkerContext
from uploader.engine.crew import Errand, Lane
from uploader.engine.endings import mark_if_cut
from uploader.engine.hashing import Digests, Hashing
from uploader.engine.prefix import Prefix
from uploader.engine.progress import Progress
from uploader.engine.soon import soon
from uploader.engine.writes import noted
from uploader.model.fingerprint import written
from uploader.runtime import StopToken, bind
from uploader.sources.local import changed
from uploader.sources.reader import Reader, open_source
from uploader.store.held import Held
from uploader.store.held_files import StoredFile

#: What a PUT sends at least before it is another job's turn: the server keeps whole granules only.
_LEAST_TURN_BYTES = 4 * GRANULE
#: More bytes than sockets buffer: if this many went to a socket, some of them have left.
CERTAINLY_LEFT_BYTES = 64 * 1024 * 1024


class Transfer(Errand):
    """Sends one file until it has ``arrived``, or raises what prevented that.

    The file has a session or, in mode `put`, a URL. ``empty``: its session was opened just now,
    so there is nothing to ask about it.
    """

    def __init__(
        self,
        context: WorkerContext,
        job: Job,
        held: Held,
        file: FileState,
        lane: Lane,
        *,
        empty: bool = False,
    ) -> None:
        super().__init__(lane.stop, lane)
        self.job = job
        self.file = file
        self.arrived: StoredFile | None = None
        #: The object has moved to another path: whatever this transfer completes is lost.
        self.moved = False
        self.progress = Progress(file, context.clock.boot_s())
        #: The bytes of the last PUT, which may have failed; empty if the next one is judged anew.
        self.last_put = range(0)
        self._context = context
        self._held = held
        self._storage = lane.storage
        self._mark = context.marks.of(file)
        self._reading: Reading = Confirmed(0) if empty else Unclear()
        self._hashing: Hashing | None = None

    @property
    def confirmed_at_s(self) -> float:
        """When the server confirmed bytes last, in seconds since boot; at first when it began."""
        return self.progress.confirmed_at_s

    @property
    def confirmed_bytes(self) -> int:
        """How many bytes of the file the server has confirmed during this transfer."""
        at = self.file.size_bytes if self.arrived else self.progress.checkpoint.offset
        return max(0, at - self.progress.began_at.offset)

    @property
    def round_trip_s(self) -> float | None:
        """As `Errand.round_trip_s`."""
        return self.took_s if is_small(self.file) else None

    @property
    def prepares(self) -> bool:
        """Whether it still proves what an earlier one sent; a plain PUT has nothing to prove."""
        return not self.last_put and self.file.mode is not Mode.PUT

    def run(self) -> None:
        """Run the transfer. Raises RemoteError, JobError, LeaseLost, StoreError or Stopped."""
        bind(file=self.file.path, attempt=self.file.attempts, request_id=None)
        try:
            prefix = self._hashed_before()
            with self._opened(prefix) as source, self._hashed(source, prefix):
                self._send(source)
        finally:
            if self.arrived is not None:
                self._mark.forget()  # once nobody writes to it any more

    def _hashed_before(self) -> Prefix:
        """What earlier transfers hashed of the file while they sent it to this session."""
        known = self._context.kept.take if self._hashes else self._context.kept.drop
        return Prefix() if self._reading == Confirmed(0) else known(self._mark)

    @property
    def _hashes(self) -> bool:
        return self._context.limits.digests is not Digests.OFF and not self.file.unproven

    @contextlib.contextmanager
    def _opened(self, prefix: Prefix) -> Iterator[Reader]:
        private, proofs, file = self._context.private, self._context.kept.proofs, self.file
        try:
            source = open_source(self.job.source, file, self.stop, private, prefix.sent, proofs)
        except UploaderError:
            self._context.kept.put(self._mark, prefix)
            raise
        with source, noted(partial(self._note_writes, source)):
            yield source

    def _send(self, source: Reader) -> None:
        if marked := self._mark.read():
            if source.touched and source.crc_at(marked.offset) != marked:
                raise changed(self.file.path)
            source.pairs[marked.offset] = marked.crc32c
        try:
            session = self.file.session
            finished = self._finish_session(source, session) if session else self._put(source)
        except (Stopped, RemoteError):  # a socket that was shut down raises either
            if self.stop.event.is_set() and not (self.quiet or self.moved):
                with soon(self._context, self.stop, self.job.id) as token:
                    self.ask_once(source, token)
            raise
        self._arrive(source, finished)

    def _arrive(self, source: Reader, finished: Finished) -> None:
        """The server has the whole object: take it if it is the source's."""
        at_s, size_bytes = self._context.clock.boot_s(), self.file.size_bytes
        stored = self._compared(finished, source.crc_at(size_bytes))
        self._note_writes(source)
        self.progress.stored(size_bytes, at_s)
        self.arrived = stored

    def _compared(self, finished: Finished, whole: PrefixCrc) -> StoredFile:
        sent_bytes = 0 if self.progress.gap else max(self.progress.mark.offset, self._marked)
        agreement = compare(finished, whole.offset, whole.crc32c, sent_bytes)
        if agreement is Agreement.MISMATCH:
            message = f"{self.file.path}: the stored object differs from the source"
            raise RemoteError(Verdict.TRANSIENT, Call.DATA, message, code=Code.MISMATCH)
        sent, file, hashing = max(self.progress.bytes_sent, whole.offset), self.file, self._hashing
        digest = hashing.digest(whole) if hashing else None
        as_sent = bool(hashing and digest and hashing.as_sent)
        facts = agreement is Agreement.VERIFIED, finished.generation, digest, as_sent, file.place
        return StoredFile(file.path, whole.crc32c, sent, *facts)

    @property
    def _marked(self) -> int:
        """Up to where bytes went to a socket; after a kill the row knows of less."""
        return (self._mark.read() or PrefixCrc()).offset

    @contextlib.contextmanager
    def _hashed(self, source: Reader, prefix: Prefix) -> Iterator[None]:
        """Compute the file's SHA-256 alongside, if that is asked for and can be known."""
        if not self._hashes:
            yield
            return
        kept, clock = self._context.kept, self._context.clock
        patient = self._context.limits.digests is Digests.ON
        hashing = Hashing(source, prefix, self._mark, clock, self.stop, patient=patient)
        self._hashing = hashing
        hashing.room = kept.room
        kept.following.add(hashing)
        hashing.start(self._context.spawn, f"job {self.job.id} {self.file.path} sha256")
        try:
            yield
        finally:
            hashing.end()
            kept.following.discard(hashing)
            if self.arrived is None:
                hashing.save(self.progress.checkpoint.offset)
                kept.put(self._mark, hashing.prefix)

    # -- session ---------------------------------------------------------------------------

    def _finish_session(self, source: Reader, session: SessionUri) -> Finished:
        """The resumable loop: every step starts at the offset that the server named last."""
        if isinstance(self._reading, Unclear):
            self._reading = self._storage.query(session, self.file.size_bytes)
            self._resume(source, self._reading)
        else:
            self._adopt(source.fingerprint)
        bare = 0
        while True:
            if isinstance(self._reading, Finished):
                if self._reading != Finished():
                    return self._reading
                bare += 1
                if bare > 1:
                    return self._believed_bare()
                self._reading = Unclear()
            self._reading = self._step(source, session, self._reading)

    def _believed_bare(self) -> Finished:
        """The server said twice that the object exists, without describing it.

        Raises ProtocolError if its last byte was not sent on this session: a proxy answers then.
        """
        if self.progress.mark.offset < self.file.size_bytes:
            raise ProtocolError(
                f"the storage service says that {self.file.path} is complete, but its last bytes"
                " were never sent, and it gives neither length nor checksum",
                hint="check whether a proxy answers in the service's place",
            )
        return Finished()

    def _resume(self, source: Reader, reading: Reading) -> None:
        """Go on at the server's offset, unless a source of another time leaves bytes unproven.

        Raises SourceChanged if the server has bytes beyond every known CRC (docs/invariants.md §6);
        a finished object with a CRC is compared as a whole instead.
        """
        held = reading.offset if isinstance(reading, Confirmed) else self.file.size_bytes
        has_crc = isinstance(reading, Finished) and reading.crc32c is not None
        if source.rewritten and not has_crc and held > max(source.pairs):
            raise changed(self.file.path)
        self._adopt(source.fingerprint, unproven=source.touched and held > source.proven_bytes)
        message = f"the server has {held:,} of {self.file.size_bytes:,} bytes; going on there"
        self._held.add_event(EventKind.SESSION_RESUMED, message, self.file.path)

    def _adopt(self, found: str, *, unproven: bool = False) -> None:
        """Write a proven new fingerprint into the row; ``unproven``: as `FileState` has it."""
        if unproven and self._hashing is not None:
            self._hashing.give_up()
            self._hashing = None
        if found != self.file.fingerprint:
            file, rows = self.file, self._held.files
            self.file = rows.reidentify(file.path, file.size_bytes, found, unproven=unproven)

    def _note_writes(self, source: Reader) -> None:
        """What ``source`` has seen, or one before it whose row could not be written then."""
        owed, one = self._context.kept.owed, (self.job.id, self.file.path)
        if source.written_to or one in owed:
            owed.add(one)
            self._adopt(written(self.file.fingerprint))
            owed.discard(one)

    def _step(
        self, source: Reader, session: SessionUri, reading: Confirmed | Unclear | Finished
    ) -> Reading:
        """The next exchange, from what the server said last."""
        size_bytes = self.file.size_bytes
        if not isinstance(reading, Confirmed):
            return self._query(session)
        source.check()
        self._note_writes(source)
        self._confirm(source, reading)
        if reading.offset == size_bytes:
            return self._finish(session)
        if self.last_put and not gets_further(self.last_put.start, reading.offset, size_bytes):
            message = "the storage service kept none of the bytes that were sent, or just a few"
            raise RemoteError(Verdict.TRANSIENT, Call.DATA, message, code=Code.KEPT_NOTHING)
        if self.last_put and (self.slotless or self._context.slots.yields(self.job.id)):
            raise Stopped  # another file's turn: this one goes on later, at its offset
        most_bytes = self._context.most_put_bytes(self.job.id)
        start, stop_at = next_put(reading.offset, size_bytes, most_bytes)
        body, sent_before = self._body(source, start, stop_at), self.progress.bytes_sent
        self.last_put = range(start, stop_at)
        try:
            answer = self._storage.send(session, body, start, stop_at, size_bytes)
        except RemoteError as error:
            if error.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE and self._halve():
                return Unclear()
            mark_if_cut(error, self.progress.bytes_sent - sent_before)
            raise
        finally:
            self.progress.answered()
        if isinstance(answer, Finished) and stop_at < size_bytes:
            return Unclear()  # nothing is finished without its last byte, whatever an answer says
        return answer

    def _halve(self) -> bool:
        """Whoever says that a PUT is too large gets shorter ones, as long as that helps."""
        refused, self.last_put = self.last_put, range(0)
        return self._context.halve_puts(self._held, self.file.path, len(refused))

    def _confirm(self, source: Reader, reading: Confirmed) -> None:
        self._check_was_sent(reading.offset)
        at_s = self._context.clock.boot_s()
        if self.last_put and reading.offset == self.last_put.stop:
            puts, took_s = self._context.puts, at_s - self.confirmed_at_s
            puts.confirmed(self.job.id, len(self.last_put), took_s)
        self.progress.confirmed(source.confirm(reading.offset), at_s)

    def _check_was_sent(self, offset: int) -> None:
        """Raises ProtocolError if the server cannot hold that much, whoever sent it before.

        After a kill it may hold more than is known, but not beyond the PUT that comes after.
        """
        if offset <= self.progress.furthest or offset <= self._marked:
            return
        if self.last_put and offset > self.last_put.stop:
            raise ProtocolError("the storage service claims to hold bytes that were never sent")
        self.progress.found_gap()

    def _query(self, session: SessionUri) -> Reading:
        self._storage.close()  # a session never has two writers
        return self._storage.query(session, self.file.size_bytes)

    def _finish(self, session: SessionUri) -> Finished:
        """The server has all bytes: the query also finishes it (docs/gcs-resumable.md §1)."""
        if isinstance(reading := self._query(session), Finished):
            return reading
        message = "the storage service has every byte but has not created the object yet"
        raise RemoteError(Verdict.TRANSIENT, Call.QUERY, message, code=Code.UNFINISHED)

    def ask_once(self, source: Reader, token: StopToken) -> None:
        """Ask the server once what it holds, because this ends in the middle of a PUT.

        The row of a paused job then says what the server holds. The query has a connection of its
        own and a second: the others are shut down, and a drain waits. Else the row stays as it is.
        """
        if (session := self.file.session) is None:
            return
        self._storage.close()  # never two writers on a session
        storage = self._context.storage(token)
        try:
            reading = storage.query(session, self.file.size_bytes)
            if isinstance(reading, Confirmed):
                self._confirm(source, reading)
            elif reading != Finished():
                self._arrive(source, reading)
        except UploaderError:
            return
        finally:
            storage.close()

    def _put(self, source: Reader) -> Finished:
        self._adopt(source.fingerprint)
        if self.file.url is None:
            raise AssertionError("a transfer in mode put needs a URL")
        url, size_bytes, sent_before = self.file.url, self.file.size_bytes, self.progress.bytes_sent
        try:
            return self._storage.put(url, self._body(source, 0, size_bytes), size_bytes)
        except RemoteError as error:
            sent = self.progress.bytes_sent - sent_before
            if error.verdict is Verdict.TRANSIENT and sent > CERTAINLY_LEFT_BYTES:
                error.code = Code.CUT_SHORT  # whatever was answered, nothing is kept
            mark_if_cut(error, sent)
            raise
        finally:
            self.progress.answered()

    # -- both ------------------------------------------------------------------------------

    def _body(self, source: Reader, start: int, stop_at: int) -> Body:
        def read(pair: PrefixCrc, block: bytes) -> None:
            if not block:
                self.progress.awaiting(self._context.clock.now())
                if self._hashing is not None:
                    self._hashing.answering()
                return
            may_stop = self.file.mode is not Mode.PUT and pair.offset - start > _LEAST_TURN_BYTES
            if may_stop and self._context.slots.stops(self.job.id, self.file.path):
                raise Stopped  # it goes on later, where the server says
            if self._hashing is not None:
                self._hashing.offer(pair.offset - len(block), block)
            if self.file.mode is Mode.PUT:
                source.pairs = {0: 0}  # a plain PUT has no confirmations: keep only the last pair
            source.pairs[pair.offset] = pair.crc32c
            self.progress.read(pair, len(block))
            self.progress.handed(self._context.clock.now())
            if not self.progress.gap:  # no mark may close a gap that no row knows of yet
                self._mark.note(pair, self._context.clock.boot_s())

        take = partial(self._context.throttle.take, self.job.id, self.stop)
        done = partial(self.progress.handed, None)
        return Body(source, start, stop_at, take=take, stop=self.stop, on_block=read, on_taken=done)
