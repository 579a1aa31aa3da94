"""What the upload of one job does next. Pure: no thread, no clock, no request.

`Backlog` keeps the job's files by what each of them needs next, so that an event costs the same
however many files there are; `next_step` reads it and decides. The caller carries the step out,
records the result in the backlog, and asks again.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import islice

from uploader.core.job import FileState, Status
from uploader.core.resumable import GRANULE, UrlKind

# -- the gate: may getUploadEndpoint be asked? ---------------------------------------------------


@dataclass(frozen=True, slots=True)
class Open:
    """The map of URLs may be asked for."""


@dataclass(frozen=True, slots=True)
class Later:
    """``error`` was the last answer, the ``failures``-th in a row: ask again at ``at``."""

    at: datetime
    error: Exception
    failures: int


@dataclass(frozen=True, slots=True)
class Shut:
    """No URL can be had, because of ``error``. Open sessions need none and go on.

    ``status`` is the status that the job got for it; None if it has not got one yet. A failed job
    starts nothing at all.
    """

    error: Exception
    status: Status | None = None


Gate = Open | Later | Shut

# -- the steps -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OpenSession:
    """Open a session for this file by its URL."""

    path: str


@dataclass(frozen=True, slots=True)
class Send:
    """Send this file in its session or, if its URL is for a plain PUT, in one."""

    path: str


@dataclass(frozen=True, slots=True)
class AskUrls:
    """Ask for the whole map of URLs."""


@dataclass(frozen=True, slots=True)
class Sleep:
    """Nothing to do before ``until`` (None: nothing at all) unless something else happens."""

    until: datetime | None


@dataclass(frozen=True, slots=True)
class Stored:
    """Every file is stored."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Nothing runs, waits or may start: the ``gate`` says why."""

    gate: Later | Shut


Step = OpenSession | Send | AskUrls | Sleep | Stored | GiveUp


@dataclass(frozen=True, slots=True)
class Room:
    """How much more may start; ``running``: does anything run already?"""

    running: bool = False
    send: bool = True
    open: bool = True
    ask: bool = True


#: A round trip is hidden by other exchanges, one for each period of this many seconds.
EXCHANGE_EVERY_S = 0.003


def abreast(round_trip_s: float, most: int) -> int:
    """How many small exchanges at once keep a link of this round trip busy."""
    return max(1, min(most, round(round_trip_s / EXCHANGE_EVERY_S)))


def is_small(file: FileState) -> bool:
    """Is the file sent in about the time of a round trip? Several of those share a slot."""
    return file.size_bytes <= GRANULE


def next_step(files: Backlog, gate: Gate, room: Room, now: datetime, *, urls_fresh: bool) -> Step:
    """The one thing to do next.

    Sending comes first, because it is what everything else is for. Then sessions are opened for
    the files whose turn comes later, as long as the URLs live: a session lives for a week and
    needs neither URL nor key. The map of URLs is asked for only if a file cannot do without.
    """
    files.wake(now)
    if not files.unstored and not room.running:
        return Stored()
    if not _failed(gate):
        sendable = (Need.SLOT, Need.PUT) if urls_fresh else (Need.SLOT,)
        urlless = (Need.URL,) if urls_fresh else (Need.URL, Need.PUT, Need.SESSION)
        if room.send and (path := files.first(*sendable)) is not None:
            return Send(path)
        if urls_fresh and room.open and (path := files.first(Need.SESSION)) is not None:
            return OpenSession(path)
        if room.ask and _may_ask(gate, now) and files.first(*urlless) is not None:
            return AskUrls()
    return _rest(files, gate, room, urls_fresh=urls_fresh)


def _rest(files: Backlog, gate: Gate, room: Room, *, urls_fresh: bool) -> Step:
    """Nothing may start now: sleep until something may."""
    with_session = files.first_wait(with_session=True)
    waits = [with_session, files.first_wait(with_session=False)]
    if room.running:
        asked_again = gate.at if room.ask and isinstance(gate, Later) else None
        return Sleep(_first(*waits, asked_again))
    if isinstance(gate, Shut) and gate.status is not None:
        return GiveUp(gate)
    startable = (Need.SLOT, Need.PUT, Need.SESSION) if urls_fresh else (Need.SLOT,)
    if files.first(*startable) is not None:
        return Sleep(None)  # other jobs use all slots
    if isinstance(gate, Open):
        return Sleep(_first(*waits))
    # A session that is alive is used up before the job gives up.
    return Sleep(with_session) if with_session else GiveUp(gate)


def _first(*moments: datetime | None) -> datetime | None:
    return min((moment for moment in moments if moment is not None), default=None)


def _failed(gate: Gate) -> bool:
    return isinstance(gate, Shut) and gate.status is Status.FAILED


def _may_ask(gate: Gate, now: datetime) -> bool:
    return isinstance(gate, Open) or (isinstance(gate, Later) and gate.at <= now)


#: A clock that is set back by more than this would keep files waiting; less does no harm.
_SET_BACK = timedelta(minutes=1)

# -- the files -----------------------------------------------------------------------------------


class Need(StrEnum):
    """What a file that may start needs first."""

    SLOT = "slot"  #: it has a session: to be sent, it only needs a slot
    PUT = "put"  #: it only needs a slot, too, but before its URL expires
    SESSION = "session"  #: its URL is to open a session
    URL = "url"  #: it has neither session nor URL


def need_of(file: FileState) -> Need:
    """What a file that is not stored needs first."""
    if file.session is not None:
        return Need.SLOT
    if file.url is None:
        return Need.URL
    return Need.PUT if file.url.kind is UrlKind.PUT else Need.SESSION


class Backlog:
    """The files of a job, each in the queue of what it needs; O(log n) for each event.

    A file is in one queue, or in progress, or waits for its `not_before`, or is stored.
    """

    def __init__(self, files: Iterable[FileState]) -> None:
        self.unstored = 0
        self._files: dict[str, FileState] = {}
        self._queues = {need: OrderedDict[str, None]() for need in Need}
        self._under_way: set[str] = set()
        self._empty: set[str] = set()
        self._now: datetime | None = None
        #: By the need; an entry counts only while the file still has that need.
        self._waiting: dict[bool, list[tuple[datetime, str]]] = {True: [], False: []}
        for file in files:
            self.put(file)

    def __getitem__(self, path: str) -> FileState:
        return self._files[path]

    def __iter__(self) -> Iterator[FileState]:
        return iter(self._files.values())

    def put(self, file: FileState, *, empty: bool = False) -> None:
        """Record the file as it is now; ``empty``: its session was opened just now.

        A URL that only starts sessions stays useful after its row has dropped it: it is kept here,
        in memory, in case the session is lost while the URL is valid.
        """
        before = self._files.get(file.path)
        if before is not None:
            self._unqueue(before)
            if file.url is None and before.url is not None and before.url.kind is UrlKind.START:
                file = replace(file, url=before.url)
        was_unstored = before is not None and not before.stored
        self.unstored += (not file.stored) - was_unstored
        self._files[file.path] = file
        if empty:
            self._empty.add(file.path)
        self._queue(file)

    def begin(self, path: str) -> FileState:
        """Record that the file is in progress: it is in no queue until `end`."""
        file = self._files[path]
        self._unqueue(file)
        self._under_way.add(path)
        self._empty.discard(path)
        return file

    def is_empty(self, path: str) -> bool:
        """Was the file's session opened in this run and not used since?"""
        return path in self._empty

    def end(self, path: str) -> None:
        """Record that the file is no longer in progress."""
        self._under_way.discard(path)
        self._queue(self._files[path])

    def forget_urls(self) -> None:
        """Forget every URL: none of them is valid any longer."""
        for file in tuple(self._files.values()):
            if file.url is not None:
                self._unqueue(file)
                self._files[file.path] = replace(file, url=None)
                self._queue(self._files[file.path])

    def first(self, *needs: Need) -> str | None:
        """The file that was queued first for one of the ``needs``, tried in that order."""
        for need in needs:
            if self._queues[need]:
                return next(iter(self._queues[need]))
        return None

    def some(self, need: Need, count: int) -> list[str]:
        """The first ``count`` files that were queued for ``need``."""
        return [*islice(self._queues[need], count)]

    def wake(self, now: datetime) -> None:
        """Queue the files whose wait is over; all, if the clock was set back meanwhile."""
        set_back = self._now is not None and self._now - now > _SET_BACK
        self._now = now
        for with_session in (True, False):
            heap = self._waiting[with_session]
            while (at := self.first_wait(with_session=with_session)) and (set_back or at <= now):
                file = self._files[heapq.heappop(heap)[1]]
                self._queues[need_of(file)][file.path] = None

    def first_wait(self, *, with_session: bool) -> datetime | None:
        """When the first of the files that wait is due; None if none waits."""
        heap = self._waiting[with_session]
        while heap and not self._waits(*heap[0], with_session=with_session):
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def _waits(self, at: datetime, path: str, *, with_session: bool) -> bool:
        file = self._files[path]
        ours = (file.not_before, file.session is not None) == (at, with_session)
        return ours and not file.stored and path not in self._under_way

    def _queue(self, file: FileState) -> None:
        if file.stored or file.path in self._under_way:
            return
        if file.not_before is None:
            self._queues[need_of(file)][file.path] = None
        else:
            entry = (file.not_before, file.path)
            heapq.heappush(self._waiting[file.session is not None], entry)

    def _unqueue(self, file: FileState) -> None:
        self._queues[need_of(file)].pop(file.path, None)
