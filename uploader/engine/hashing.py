"""The SHA-256 of one file, computed over its blocks while they are sent.

A thread of its own follows the sender, which does not wait for it: of a block for which the bounded
queue has no room only the SHA-256 is kept. The follower reads it again; if it is not the same any
more, the file has changed, although CRC32C may not show that, and a file's time can be put back.
It also reads what an earlier transfer sent and did not hash. So memory does not grow, and what is
hashed is the file from its first byte to its last. That is proven at the end: the CRC32C of the
bytes that were hashed must be the one that was accepted for the file, or there is no digest.

A server that has kept less than was sent is sent the rest again, maybe other bytes. So the hash
goes back, too: a copy of it is kept for each of the last granules. If it cannot go back, or has to
read a part again without a proof, the digest does not count as that of what was sent.

What fits into one block needs no thread: it is hashed while its answer is on the way.
"""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum

import google_crc32c

from uploader.core.errors import NoThread, SourceChanged, UploaderError
from uploader.core.job import PrefixCrc
from uploader.core.resumable import GRANULE
from uploader.engine.prefix import QUEUED, Prefix, Unqueued
from uploader.runtime import Clock, StopToken
from uploader.sources import sha256
from uploader.sources.reader import BLOCK_BYTES, Reader
from uploader.store.marks import Mark
from uploader.threads import Spawn, give_way

#: The SHA-256 is kept of at most this many blocks that were not queued: 4 GiB of a file.
MOST_UNQUEUED = 16 * 1024
#: With `Digests.AUTO`, a hash that falls behind by more than this and a share of what is sent is
#: given up: it would not be ready in the time that its end is waited for, and takes the processor
#: that the sender needs.
FALLS_BEHIND_BYTES = 16 * 1024 * 1024
#: So is one that is further behind, for whatever reason: what was sent before may no longer be in
#: memory, and disks that are read twice slow what is sent.
MOST_BEHIND_BYTES = 256 * 1024 * 1024
#: With `Digests.AUTO`, its end is waited for: a share of the time the transfer took, or seconds.
_WAITS_SHARE = 0.03
_WAITS_S = 0.02
_TICK_S = 1.0
#: A hash can go back by this many granules: servers lose what is in buffers, and not more.
_MOST_BACK = 64


class Digests(StrEnum):
    """Whether SHA-256 is computed while files are sent."""

    OFF = "off"
    AUTO = "auto"  #: unless something would have to wait for it
    ON = "on"  #: always, whatever has to be read again or waited for


@dataclass(slots=True)
class _Shared:
    """What the thread that sends and the one that hashes know of each other."""

    #: Blocks for which the queue had no room, as in `Prefix`.
    unqueued: Unqueued
    queue: deque[tuple[int, bytes]] = field(default_factory=deque)
    #: The offset up to which there are bytes to hash. Written after those two, read before them.
    sent: int = 0
    #: Where the server had the transfer begin, or go on further ahead; and how many bytes before
    #: its beginning were not hashed.
    began: int = 0
    owed: int = 0
    #: For going back. The sender needs it for nothing else: who hashes has a lower priority.
    lock: threading.Lock = field(default_factory=threading.Lock)
    ending: bool = False
    over: bool = False
    #: A block that was read again was not the one that was sent.
    differs: bool = False
    news: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)


class Hashing:
    """The hash of one transfer, whose thread calls all of this but `run`."""

    def __init__(
        self,
        source: Reader,
        prefix: Prefix,
        mark: Mark,
        clock: Clock,
        stop: StopToken,
        *,
        patient: bool,
    ) -> None:
        """Go on after ``prefix``; ``patient``: as `Digests.ON`, not as `Digests.AUTO`."""
        self.prefix = prefix
        #: How many blocks may be queued: asked at each of them.
        self.room: Callable[[], int] = lambda: QUEUED
        self._source = source
        self._mark = mark
        self._clock = clock
        self._stop = stop
        self._patient = patient
        self._began_s = clock.boot_s()
        self._earlier = deque(prefix.earlier, _MOST_BACK)
        if not prefix.earlier:
            self._remember()
        self._shared = _Shared(dict(prefix.unqueued))
        self._shared.ended.set()

    # -- the sender's thread ---------------------------------------------------------------

    def start(self, spawn: Spawn, name: str) -> None:
        """Start the thread, if the file is larger than a block."""
        if self._source.size_bytes > BLOCK_BYTES:
            self._shared.ended.clear()
            try:
                spawn(name, self.run)
            except NoThread:
                self._shared.over = True
                self._shared.ended.set()

    def offer(self, start: int, block: bytes) -> None:
        """The bytes at ``start`` are being sent. Raises SourceChanged if others were written."""
        self._refuse_changed()
        shared = self._shared
        if start == shared.sent != 0:
            self._add(start, block)
        else:
            with shared.lock:
                self._begin_at(start)
                if not self._add(start, block) and not (shared.over and shared.queue):
                    shared.queue.append((start, b""))  # so that the hash goes back, too
        if not shared.news.is_set():
            shared.news.set()

    def _add(self, start: int, block: bytes) -> bool:
        """True if the queue had room."""
        shared = self._shared
        room = len(shared.queue) < self.room() or len(block) == self._source.size_bytes
        queued = room and not shared.over
        if queued:
            shared.queue.append((start, block))
        elif not shared.over and len(shared.unqueued) < MOST_UNQUEUED:
            shared.unqueued[start] = len(block), hashlib.sha256(block).digest()
        shared.sent = start + len(block)
        return queued

    def _begin_at(self, start: int) -> None:
        """The next bytes begin there, because the server says so: nothing beyond is known."""
        shared = self._shared
        if not shared.sent:
            shared.owed = max(0, start - self.prefix.pair.offset)
        if start > shared.sent:
            shared.began = start
        shared.queue = deque((at, one[: start - at]) for at, one in shared.queue if at < start)
        shared.unqueued = {
            at: known if at + known[0] <= start else (start - at, b"")  # half of it proves nothing
            for at, known in shared.unqueued.items()
            if at < start
        }
        self._mark.hash.forget_beyond(start)

    def answering(self) -> None:
        """Every byte of a PUT has been sent: there is time until its answer comes."""
        if self._shared.ended.is_set():
            self._catch_up()

    def digest(self, whole: PrefixCrc) -> str | None:
        """The SHA-256 of the file, in lower-case hexadecimal, if these are the bytes of ``whole``.

        None if it is not known, which only happens if it is not waited for; raises Stopped or
        LeaseLost while it is. Raises SourceChanged as `offer` does.
        """
        with self._shared.lock:
            if not self._shared.sent:
                self._begin_at(whole.offset)
            self._shared.sent = whole.offset
        self._shared.news.set()
        self.answering()
        took_s = self._clock.boot_s() - self._began_s
        self._wait(float("inf") if self._patient else max(_WAITS_S, _WAITS_SHARE * took_s))
        self.answering()  # what was sent again just when all was hashed
        self._refuse_changed()
        done = self.prefix
        return done.sha256.hexdigest() if done.pair == whole else None

    def _refuse_changed(self) -> None:
        if self._shared.differs:
            raise SourceChanged("the file was written to while it was sent, and its time put back")

    @property
    def as_sent(self) -> bool:
        """Whether it is that of the bytes that were sent, whoever wrote to the file meanwhile."""
        return self.prefix.as_sent

    def _wait(self, most_s: float) -> None:
        until_s = self._clock.boot_s() + most_s
        while not self._shared.ended.is_set() and (left_s := until_s - self._clock.boot_s()) > 0:
            if self._patient:
                self._stop.check()
            elif self._stop.stopped:
                return
            self._clock.wait(self._shared.ended, min(left_s, _TICK_S))

    def end(self) -> None:
        """Hash what is queued; nothing reads the source any longer once this returns."""
        self._shared.ending = True
        self._shared.news.set()
        while not self._shared.ended.is_set():
            self._clock.wait(self._shared.ended, _TICK_S)
        self._catch_up()
        queue = [(start, block) for start, block in self._shared.queue if block]
        digests = {at: (len(one), hashlib.sha256(one).digest()) for at, one in queue}
        unqueued = self._shared.unqueued | digests
        self.prefix = replace(self.prefix, unqueued=unqueued, earlier=tuple(self._earlier))

    def give_up(self) -> None:
        """There is to be no digest, and nobody says any more what is sent."""
        self._shared.over = True
        self.offer(0, b"")
        self._shared.news.set()

    # -- its own thread --------------------------------------------------------------------

    def run(self) -> None:
        """Follow the sender to the end of the file, or to `end`."""
        give_way()
        try:
            if not self.prefix.pair.offset:
                self.prefix = Prefix(sha256=sha256.started())  # what is small is never saved
            while self._catch_up():
                if not self._clock.wait(self._shared.news, _TICK_S):
                    self.save()  # who stands still is killed more often than who moves
                self._shared.news.clear()
        finally:
            # Once all is hashed, what is sent again is hashed by the thread that sends.
            self._shared.over |= self.prefix.pair.offset < self._source.size_bytes
            if self._shared.over and not self._shared.ending:
                self._clear()
            self._shared.ended.set()

    def _clear(self) -> None:
        """Keep no block, only where the hash has to go back to."""
        with self._shared.lock:
            if queue := self._shared.queue:
                first, _ = queue[0]
                queue.clear()
                queue.append((first, b""))

    def _catch_up(self) -> bool:
        """Hash what there is; is there more to come?"""
        try:
            while block := self._next():
                self._hash(block)
        except UploaderError:  # the file cannot be read: whoever sends it notices
            self._shared.over = True
        done = self._shared.over or self._shared.ending
        return not done and self.prefix.pair.offset < self._source.size_bytes

    def _next(self) -> bytes:
        """The bytes after those that are hashed; none if none were sent yet."""
        sent = self._shared.sent  # first: see there
        with self._shared.lock:
            block = self._queued()
            reads = not block and not self._shared.over
            again = self._to_read_again(min(sent, self._shared.sent)) if reads else None
        return block or (self._read_again(*again) if again else b"")

    def _queued(self) -> bytes:
        """The next block in the queue, or what follows in it; none if other bytes come first."""
        queue = self._shared.queue
        while queue and queue[0][0] <= self.prefix.pair.offset:
            start, block = queue.popleft()
            self._go_back(start)
            if rest := block[self.prefix.pair.offset - start :]:
                return rest
        return b""

    def _go_back(self, start: int) -> None:
        """To ``start``, if more is hashed; if that cannot be, it does not count as sent."""
        if start == self.prefix.pair.offset:
            return
        while self._earlier and self._earlier[-1][0].offset > start:
            self._earlier.pop()
        if not start:
            self.prefix = Prefix(sha256=sha256.started())
            return
        pair, known = self._earlier[-1] if self._earlier else (PrefixCrc(), b"")
        hashed = sha256.restored(known, start) if pair.offset == start else None
        if hashed is None:
            self.prefix = replace(self.prefix, as_sent=False)
        else:
            self.prefix = replace(self.prefix, pair=pair, sha256=hashed)

    def _to_read_again(self, sent: int) -> tuple[int, int, bytes] | None:
        """Where the block of the next byte begins, its length and, if it is known, its SHA-256."""
        shared, position = self._shared, self.prefix.pair.offset
        sent = min(sent, shared.queue[0][0]) if shared.queue else sent
        if position >= sent or shared.ending:
            return None
        if not self._patient and shared.sent - position > self._most_behind():
            shared.over = True
            return None
        start = self._start_of_unqueued(position)
        if (found := shared.unqueued.pop(start, None)) is not None:
            return start, *found
        shared.over = position >= shared.began
        return None if shared.over else (position, min(BLOCK_BYTES, sent - position), b"")

    def _read_again(self, start: int, count: int, digest: bytes) -> bytes:
        """The bytes after those that are hashed, if they are those that were sent; else it is over.

        Without a ``digest`` only CRC32C shows that, and the file's time.
        """
        block = self._source.block(start, count)
        if digest:
            self._shared.differs = self._shared.over = hashlib.sha256(block).digest() != digest
            return b"" if self._shared.over else block[self.prefix.pair.offset - start :]
        self._source.check()  # what was written after it was sent is not what was sent
        self.prefix = replace(self.prefix, as_sent=False)
        return block[self.prefix.pair.offset - start :]

    def _start_of_unqueued(self, position: int) -> int:
        """Where the block begins that has this byte: a server that goes back shifts the blocks."""
        unqueued = self._shared.unqueued
        if position in unqueued or position < self._shared.began:
            return position
        blocks = tuple(unqueued.items())
        starts = (start for start, (count, _) in blocks if start <= position < start + count)
        return next(starts, position)

    def _most_behind(self) -> float:
        falls = FALLS_BEHIND_BYTES + _WAITS_SHARE * self._shared.sent
        return min(MOST_BEHIND_BYTES, self._shared.owed + falls)

    def _hash(self, block: bytes) -> None:
        room = GRANULE - self.prefix.pair.offset % GRANULE
        for part in (block[:room], block[room:]):  # a block is no longer than a granule
            if part:
                self._extend(part)
        if self._mark.hash.due(self.prefix.pair.offset, self._clock.boot_s()):
            self.save()

    def _extend(self, part: bytes) -> None:
        pair, hashed = self.prefix.pair, self.prefix.sha256
        hashed.update(part)
        pair = PrefixCrc(pair.offset + len(part), google_crc32c.extend(pair.crc32c, part))
        self.prefix = replace(self.prefix, pair=pair)
        self._remember()

    def _remember(self) -> None:
        pair = self.prefix.pair
        if pair.offset % GRANULE == 0 and (known := sha256.snapshot(self.prefix.sha256)):
            self._earlier.append((pair, known))

    def save(self, kept_bytes: int | None = None) -> None:
        """For a process that comes after this one: up to ``kept_bytes``, if that is known."""
        saved = self._mark.hash
        here = self.prefix.pair, self.prefix.sha256.state()
        pair, state = next((one for one in self._earlier if one[0].offset == kept_bytes), here)
        with self._shared.lock:
            queue = self._shared.queue
            stands = not queue or pair.offset <= queue[0][0]  # else it is to go back first
            if isinstance(state, bytes) and pair.offset != saved.offset and stands:
                saved.forget_beyond(pair.offset)
                saved.write(pair.offset, pair.crc32c, state, self.prefix.as_sent)
