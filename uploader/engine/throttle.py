"""What all transfers of the worker share: the bandwidth, and the slots."""

from __future__ import annotations

import math
import threading
from collections import Counter
from typing import NamedTuple

from uploader.core.resumable import GRANULE
from uploader.core.timetable import UNLIMITED, Timetable, local_time
from uploader.core.turns import may_start, should_stop, should_yield
from uploader.runtime import Clock, StopToken

#: Seconds between two pieces of a connection under a limit, roughly.
_ROUND_S = 1.0
#: Seconds until the next look at the timetable, also while a connection waits.
_LOOK_S = 0.5
_MIN_PIECE_BYTES = 1024
#: Seconds that a PUT may take under a limit: its bytes are confirmed only at its end.
_PUT_S = 60.0
#: Seconds for which a job that found no slot counts as waiting (such a job asks every second).
_ASKS_EVERY_S = 2.5
#: Seconds after which a job that has no slot at all need not wait for bytes to be confirmed.
_STARVED_S = 30.0
#: Seconds after which a PUT may be stopped again, even if nothing was kept of the one before: long
#: enough for 256 MiB at 13 KiB/s.
_CUT_AGAIN_S = 6 * 3600.0
_MAX_REMEMBERED = 1000


class Shares(NamedTuple):
    """Counts: jobs with files in flight, this job's files, and the fewest files of any such job."""

    jobs: int
    own: int
    fewest: int


class _Wait(NamedTuple):
    """A job that found no slot: the event to set, and when it asked last and first.

    ``since_s`` begins once it has no slot at all: a job that only wants one more is not starved.
    """

    event: threading.Event
    asked_s: float
    since_s: float


class Slots:
    """The right to have a file in flight, shared fairly by the jobs of the worker."""

    def __init__(self, clock: Clock, files: int) -> None:
        self._clock = clock
        self._files = files
        self._running: Counter[int] = Counter()
        self._last: dict[int, int] = {}
        self._starts = 0
        self._waiting: dict[int, _Wait] = {}
        #: When a file's PUT was stopped, if none of its job's bytes were confirmed since.
        self._cut: dict[tuple[int, str], float] = {}
        self._lock = threading.Lock()

    def set(self, files: int) -> None:
        """From now on this many files may be in flight; those in excess end at their next PUT."""
        with self._lock:
            self._files = files
            self._wake()

    def take(self, job_id: int, waiting: threading.Event) -> bool:
        """True if the job may have one more; never waits. Else ``waiting`` is set when it may."""
        with self._lock:
            if not may_start(job_id, self._running, self._wanting(), self._files, self._last):
                now_s = self._clock.boot_s()
                known = None if self._running[job_id] else self._waiting.get(job_id)
                self._waiting[job_id] = _Wait(waiting, now_s, known.since_s if known else now_s)
                return False
            self._waiting.pop(job_id, None)
            self._running[job_id] += 1
            self._starts += 1
            self._last.pop(job_id, None)
            self._last[job_id] = self._starts
            if len(self._last) > _MAX_REMEMBERED:
                del self._last[next(iter(self._last))]
            self._wake()
            return True

    def give(self, job_id: int) -> None:
        """Release a slot of that job, and wake every job that found none free."""
        with self._lock:
            self._running[job_id] -= 1
            self._running += Counter()  # without those that have none
            self._wake()

    def is_anothers_turn(self, job_id: int) -> bool:
        """Should the job begin no further file, so that its slots become free?"""
        with self._lock:
            return self._has_too_many(job_id) or self._starved_by(job_id) is not None

    def yields(self, job_id: int) -> bool:
        """Should this file of the job give up its slot, now that its bytes are confirmed?

        A True must be obeyed: maybe no other file gets one for the same reason.
        """
        with self._lock:
            return self._has_too_many(job_id) or self._gives_way(job_id)

    def stops(self, job_id: int, path: str) -> bool:
        """Should this file of the job stop here, though nothing confirms its last bytes?

        A True must be obeyed, as for `yields`. If nothing was kept of this file's last stopped PUT
        (a proxy may forward only whole ones), its next PUT is left alone for `_CUT_AGAIN_S`.
        """
        if not self._waiting:  # asked for each block
            return False
        now_s = self._clock.boot_s()
        with self._lock:
            if now_s - self._cut.get((job_id, path), -math.inf) < _CUT_AGAIN_S:
                return False
            if gives_way := self._gives_way(job_id):
                if len(self._cut) >= _MAX_REMEMBERED:
                    self._cut.clear()
                self._cut[job_id, path] = now_s
            return gives_way

    def lets_go(self, job_id: int) -> bool:
        """Should this file of the job go on without its slot? It sends nothing yet."""
        with self._lock:
            return self._gives_way(job_id)

    def kept(self, job_id: int) -> None:
        """More of the job's bytes were confirmed."""
        if self._cut:
            with self._lock:
                self._cut = {cut: at_s for cut, at_s in self._cut.items() if cut[0] != job_id}

    def shares(self, job_id: int) -> Shares:
        """How the files in flight are spread over the jobs."""
        running = self._running
        return Shares(
            max(len(running), 1),
            max(running.get(job_id, 0), 1),
            max(min(running.values(), default=1), 1),
        )

    def demand(self) -> tuple[int, bool]:
        """How many files are in flight, and whether more want to be."""
        with self._lock:
            return sum(self._running.values()), bool(self._wanting())

    def _has_too_many(self, job_id: int) -> bool:
        return should_yield(job_id, self._running, self._wanting(), self._files)

    def _starved_by(self, job_id: int) -> int | None:
        """The job that has waited longest for a slot of ``job_id``; None if it may keep all."""
        longest_s = self._clock.boot_s() - _STARVED_S
        wanting = [one for one in self._wanting() if not self._running[one]]
        starved = [one for one in wanting if self._waiting[one].since_s <= longest_s]
        if not should_stop(job_id, self._running, starved, self._files):
            return None
        return min(starved, key=lambda one: self._waiting[one].since_s)

    def _gives_way(self, job_id: int) -> bool:
        """One file is enough for a job that waits: it gets the slot that becomes free."""
        if (starved := self._starved_by(job_id)) is None:
            return False
        self._waiting[starved] = self._waiting[starved]._replace(since_s=self._clock.boot_s())
        return True

    def _wanting(self) -> list[int]:
        since_s = self._clock.boot_s() - _ASKS_EVERY_S
        for job_id in [one for one, wait in self._waiting.items() if wait.asked_s < since_s]:
            del self._waiting[job_id]
        return [*self._waiting]

    def _wake(self) -> None:
        for wait in self._waiting.values():
            wait.event.set()


class Throttle:
    """The right to send bytes, at most as many per second as the limit in force says.

    Connections take turns. If a job has many, each takes a smaller piece at its turn, so that every
    job gets the same. Pieces are so small that no connection is silent for long.
    """

    def __init__(self, clock: Clock, slots: Slots, limit: Timetable = UNLIMITED) -> None:
        self._clock = clock
        self._slots = slots
        self._limit = limit
        self._never = limit.never_limits
        self._rate_bps: int | None = None
        self._looked_s = float("-inf")
        self._free_at = 0.0
        self._waited_s = float("-inf")
        self._lock = threading.Lock()

    def set(self, limit: Timetable) -> None:
        """From now on that limit holds."""
        with self._lock:
            self._limit, self._looked_s = limit, float("-inf")
            self._never = limit.never_limits

    def take(self, job_id: int, stop: StopToken, most: int) -> int:
        """Wait until the job may send again; returns how many bytes, ``most`` at most.

        Raises Stopped, LeaseLost.
        """
        while (rate_bps := self._rate()) is not None:
            count = self._piece(job_id, most, rate_bps)
            at_s = self._reserve(count / rate_bps)
            if self._passed(at_s, rate_bps, stop):
                return count
        stop.check()
        return most

    @property
    def binds(self) -> bool:
        """Whether a connection would have sent more lately, if it had been allowed to."""
        return self._clock.boot_s() - self._waited_s < 2 * _ROUND_S

    def put_bytes(self, job_id: int) -> int | None:
        """The most bytes of that job's PUTs, so that each is confirmed in time; None: no limit."""
        rate_bps = self._rate()
        if rate_bps is None:
            return None
        shares = self._slots.shares(job_id)
        bytes_ = rate_bps * _PUT_S / (shares.jobs * shares.own)
        return max(GRANULE, int(bytes_) // GRANULE * GRANULE)

    def _rate(self) -> int | None:
        """The rate in force, looked up in the timetable twice a second."""
        if self._never:  # asked for each block
            return None
        now_s = self._clock.boot_s()
        with self._lock:
            if now_s - self._looked_s >= _LOOK_S:
                before, self._looked_s = self._rate_bps, now_s
                self._rate_bps = self._limit.at(local_time(self._clock.now()))
                if self._rate_bps != before:
                    self._free_at = now_s  # what was reserved at the old rate is reserved anew
            return self._rate_bps

    def _piece(self, job_id: int, most: int, rate_bps: int) -> int:
        shares = self._slots.shares(job_id)
        even = rate_bps * _ROUND_S / (shares.jobs * shares.own)
        fair = most * shares.fewest / shares.own
        return min(most, max(_MIN_PIECE_BYTES, int(min(even, fair))))

    def _reserve(self, span_s: float) -> float:
        """The moment from which ``span_s`` are ours, after those already reserved."""
        with self._lock:
            now_s = self._clock.boot_s()
            start_s = max(now_s, self._free_at)
            self._free_at = start_s + span_s
            if start_s > now_s:
                self._waited_s = now_s
            return start_s

    def _passed(self, at_s: float, rate_bps: int, stop: StopToken) -> bool:
        """Wait for that moment; False if another rate holds before it."""
        while (left_s := at_s - self._clock.boot_s()) > 0:
            self._clock.wait(stop.event, min(left_s, _LOOK_S))
            stop.check()
            if self._rate() != rate_bps:
                return False
        stop.check()
        return True
