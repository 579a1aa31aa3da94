"""The SHA-256 of one file, computed over its blocks while they are sent.

A thread of its own follows the sender, which does not wait for it: of a block for which the bounded
queue has no room only the SHA-256 is kept. The follower reads it again, and gives up if it is not
the same any more: CRC32C does not show every change, and a file's time can be put back.
It also reads what an earlier transfer sent and did not hash. So memory does not grow, and what is
hashed is the file from its first byte to its last. That is proven at the end: the CRC32C of the
bytes that were hashed must be the one that was accepted for the file, or there is no digest.

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

from uploader.core.errors import NoThread, UploaderError
from uploader.core.job import PrefixCrc
from uploader.runtime import Clock, Spawn, StopToken, give_way
from uploader.sources import sha256
from uploader.sources.reader import BLOCK_BYTES, Reader, Sent
from uploader.store.marks import Mark

#: How many blocks wait to be hashed, of one file and of all. With many files in flight none wait:
#: each is read again while the machine still has it in memory.
QUEUED, QUEUED_IN_ALL = 8, 32
#: Of so many blocks that were not queued the SHA-256 is kept: 4 GiB of a file.
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
_MOST_KEPT = 1024


Unqueued = dict[int, tuple[int, bytes]]


class Digests(StrEnum):
    """Whether SHA-256 is computed while files are sent."""

    OFF = "off"
    AUTO = "auto"  #: unless something would have to wait for it
    ON = "on"  #: always, whatever has to be read again or waited for


@dataclass(frozen=True, slots=True)
class Prefix:
    """The hash of a file's first bytes, and their CRC32C.

    ``unqueued``: of blocks after them that were sent and not hashed, by their offset, the length
    and SHA-256.
    """

    pair: PrefixCrc = field(default_factory=PrefixCrc)
    sha256: sha256.Sha256 = field(default_factory=sha256.Plain)
    unqueued: Unqueued = field(default_factory=dict)

    @property
    def sent(self) -> Sent | None:
        """What proves that a file still begins with them; None if there are none."""
        return Sent(self.pair, self.sha256.hexdigest()) if self.pair.offset else None


class Kept:
    """The hashes of files whose transfers ended early, for their next transfer in this process."""

    def __init__(self) -> None:
        self._prefixes: dict[bytes, Prefix] = {}
        #: Those at work; any thread adds its own and takes it away.
        self.following: set[Hashing] = set()

    def room(self) -> int:
        """How many blocks one of those at work may queue."""
        return min(QUEUED, QUEUED_IN_ALL // max(1, len(self.following)))

    def take(self, mark: Mark) -> Prefix:
        """How far the file of that mark was hashed, in this process or in one that was killed."""
        if (kept := self._prefixes.pop(mark.key, None)) is not None:
            mark.hash.exists = True  # it was saved, too
            return kept
        if (saved := mark.hash.read()) is not None:
            offset, crc32c, state = saved
            if (resumed := sha256.resumed(state, offset)) is not None:
                return Prefix(PrefixCrc(offset, crc32c), resumed)
        return Prefix()

    def put(self, mark: Mark, prefix: Prefix) -> None:
        """Keep it; the oldest is forgotten first."""
        if mark.key and prefix.pair.offset:
            self._prefixes[mark.key] = prefix
        while len(self._prefixes) > _MOST_KEPT:
            self._prefixes.pop(next(iter(self._prefixes)), None)


@dataclass(slots=True)
class _Shared:
    """What the thread that sends and the one that hashes know of each other."""

    #: Blocks for which the queue had no room, as in `Prefix`.
    unqueued: Unqueued
    queue: deque[tuple[int, bytes]] = field(default_factory=deque)
    #: The offset up to which there are bytes to hash. Written after those two, read before them.
    sent: int = 0
    #: The offset at which the transfer began, and how many bytes before it were not hashed.
    began: int = 0
    owed: int = 0
    ending: bool = False
    over: bool = False
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
        self._saved = 0
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
        """The bytes at ``start`` are being sent."""
        if self._shared.over:
            return
        self._begin(start)
        if len(self._shared.queue) < self.room() or len(block) == self._source.size_bytes:
            self._shared.queue.append((start, block))
        elif len(self._shared.unqueued) < MOST_UNQUEUED:
            self._shared.unqueued[start] = len(block), hashlib.sha256(block).digest()
        self._shared.sent = max(self._shared.sent, start + len(block))
        if not self._shared.news.is_set():
            self._shared.news.set()

    def _begin(self, start: int) -> None:
        if not self._shared.sent:
            self._shared.began, self._shared.owed = start, start - self.prefix.pair.offset

    def answering(self) -> None:
        """Every byte of a PUT has been sent: there is time until its answer comes."""
        if self._shared.ended.is_set():
            self._catch_up()

    def digest(self, whole: PrefixCrc) -> str | None:
        """The SHA-256 of the file, in lower-case hexadecimal, if these are the bytes of ``whole``.

        None if it is not known, which only happens if it is not waited for; raises Stopped or
        LeaseLost while it is.
        """
        self._begin(whole.offset)
        self._shared.sent = whole.offset
        self._shared.news.set()
        self.answering()
        took_s = self._clock.boot_s() - self._began_s
        self._wait(float("inf") if self._patient else max(_WAITS_S, _WAITS_SHARE * took_s))
        done = self.prefix
        return done.sha256.hexdigest() if done.pair == whole else None

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
        self.answering()
        while not self._shared.ended.is_set():
            self._clock.wait(self._shared.ended, _TICK_S)
        self.prefix = replace(self.prefix, unqueued=self._shared.unqueued)

    def give_up(self) -> None:
        """There is to be no digest."""
        self._shared.over = True
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
            self._shared.over = True
            self._shared.queue.clear()
            self._shared.ended.set()

    def _catch_up(self) -> bool:
        """Hash what there is; is there more to come?"""
        try:
            while not self._shared.over and (block := self._next()):
                self._hash(block)
        except UploaderError:  # the file cannot be read: whoever sends it notices
            self._shared.over = True
        done = self._shared.over or self._shared.ending
        return not done and self.prefix.pair.offset < self._source.size_bytes

    def _next(self) -> bytes:
        """The bytes after those that are hashed; none if none were sent yet."""
        sent, position = self._shared.sent, self.prefix.pair.offset  # in this order: see `sent`
        while self._shared.queue:
            start, block = self._shared.queue[0]
            if start > position:
                sent = start
                break
            self._shared.queue.popleft()
            if start + len(block) > position:
                return block[position - start :]
        if position >= sent or self._shared.ending:
            return b""
        if not self._patient and self._shared.sent - position > self._most_behind():
            self._shared.over = True
            return b""
        return self._read_again(position, sent)

    def _read_again(self, position: int, sent: int) -> bytes:
        """The bytes from ``position`` on, if they are those that were sent; else it is over."""
        start = self._start_of_unqueued(position)
        if (found := self._shared.unqueued.pop(start, None)) is not None:
            count, digest = found
            block = self._source.block(start, count)
            self._shared.over = hashlib.sha256(block).digest() != digest
            return b"" if self._shared.over else block[position - start :]
        if position >= self._shared.began:
            self._shared.over = True
            return b""
        block = self._source.block(position, min(BLOCK_BYTES, sent - position))
        self._source.check()  # what was written after it was sent is not what was sent
        return block

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
        pair, hashed = self.prefix.pair, self.prefix.sha256
        hashed.update(block)
        pair = PrefixCrc(pair.offset + len(block), google_crc32c.extend(pair.crc32c, block))
        self.prefix = Prefix(pair, hashed)
        record = self._mark.hash
        if record.due(pair.offset, self._clock.boot_s()):
            self.save()

    def save(self) -> None:
        """For a process that comes after this one."""
        pair, state = self.prefix.pair, self.prefix.sha256.state()
        if state is not None and pair.offset > self._saved:
            self._saved = pair.offset
            self._mark.hash.write(pair.offset, pair.crc32c, state)
