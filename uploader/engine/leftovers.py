"""Ends the sessions that others left open for a model, before anybody sends to it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field

from uploader.core.addresses import host_of
from uploader.core.errors import JobRefused, NoThread, RemoteError, UploaderError
from uploader.core.retry import is_final
from uploader.engine.context import WorkerContext
from uploader.remote.storage import Storage
from uploader.runtime import StopToken
from uploader.store.held import Held
from uploader.store.leftovers import Leftover

#: For how long a worker ends sessions for one job before it is another one's turn.
CLEANING_S = 60.0
#: This many are ended at once: there may be thousands, and each costs a round trip.
_AT_ONCE = 8
#: After this many sessions that could not be ended it waits, as after any failure.
_MOST_FAILED = 10
_TICK_S = 1.0
#: A clock so far ahead that no certificate is valid is set right within this many seconds.
_UNHEARD_S = 3600.0


@dataclass(slots=True)
class _Found:
    """Some leftovers, and what became of them. The threads of `Ending` share it."""

    waiting: deque[Leftover]
    ended: list[Leftover] = field(default_factory=list)
    refused: list[tuple[Leftover, str]] = field(default_factory=list)
    #: What ended a thread early.
    raised: list[Exception] = field(default_factory=list)


class Ending:
    """A job's turn at ending leftovers: there may be more than fit into one.

    The job's thread and a few others each end one session after another. Only the job's thread
    writes rows, once all of them have finished.
    """

    def __init__(self, context: WorkerContext, held: Held, stop: StopToken) -> None:
        self._context = context
        self._held = held
        self._stop = stop
        self._until_s = context.clock.boot_s() + CLEANING_S
        self._failed: list[tuple[Leftover, UploaderError]] = []
        #: How many are being ended now.
        self._under_way = 0
        self._lock = threading.Lock()

    @property
    def error(self) -> UploaderError | None:
        """What kept a session open last; it may pass."""
        return self._failed[-1][1] if self._failed else None

    def end(self, sessions: Sequence[Leftover]) -> bool:
        """True if each of them is over now, or the service refuses to end it, which is reported.

        One that cannot be ended keeps no other one open, but a service that is down is not asked
        about all of them.
        """
        found = _Found(deque(sessions))
        over = [self._begin(found) for _ in range(min(_AT_ONCE, len(sessions)) - 1)]
        try:
            self._work(found)
            for one in over:
                while not one.is_set():
                    self._context.clock.wait(one, _TICK_S)
        finally:
            if found.ended or found.refused:
                refused = sorted(found.refused, key=lambda one: one[0].id)
                self._held.end_leftovers(found.ended, refused)
        if found.raised:
            raise found.raised[0]
        return not self._failed and not found.waiting

    def _begin(self, found: _Found) -> threading.Event:
        """Start another thread for them; the event is set once it has finished."""
        over = threading.Event()

        def run() -> None:
            try:
                self._work(found)
            finally:
                over.set()

        try:
            self._context.spawn(f"job {self._held.job.id} leftovers", run)
        except NoThread:  # then there are fewer
            over.set()
        return over

    def _work(self, found: _Found) -> None:
        """End them one after the other, as long as there are any. Raises nothing."""
        try:
            with closing(self._context.storage(self._stop)) as storage:
                while (one := self._next(found)) is not None:
                    try:
                        self._end(storage, one, found)
                    finally:
                        with self._lock:
                            self._under_way -= 1
        except Exception as error:  # noqa: BLE001 - raised in the thread of the job
            found.raised.append(error)

    def _next(self, found: _Found) -> Leftover | None:
        """None if none is left, or none is to be ended in this turn. Raises Stopped."""
        self._stop.check()
        with self._lock:
            late = self._context.clock.boot_s() >= self._until_s
            enough = len(self._failed) + self._under_way >= _MOST_FAILED
            if late or enough or found.raised or not found.waiting:
                return None
            self._under_way += 1
            return found.waiting.popleft()

    def _end(self, storage: Storage, one: Leftover, found: _Found) -> None:
        try:
            storage.end(one.session)
            self._is_heard(one, None)
            found.ended.append(one)
        except (RemoteError, JobRefused) as error:
            heard = self._is_heard(one, error)
            if one.is_over and heard:  # one answer is enough
                found.ended.append(one)
            elif is_final(error):
                found.refused.append((one, error.message))
            else:
                self._failed.append((one, error))

    def _is_heard(self, one: Leftover, error: RemoteError | JobRefused | None) -> bool:
        """Did its host answer, or has it been silent for so long that it counts as gone?

        Until then our clock may be why there was no answer, and why the session seems so old.
        """
        host, unheard_s = host_of(one.session.reveal()), self._context.unheard_s
        if not isinstance(error, RemoteError) or error.status is not None:
            unheard_s.pop(host, None)
            return True
        now_s = self._context.clock.boot_s()
        return now_s - unheard_s.setdefault(host, now_s) >= _UNHEARD_S

    def give_up(self) -> None:
        """Leave those open that could not be ended: it was tried often enough."""
        self._held.end_leftovers([], [(one, error.message) for one, error in self._failed])
