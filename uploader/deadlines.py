"""A deadline for what a thread does with a socket, kept by another thread.

OpenSSL reads on within one call for as long as records without data come: session tickets, say. So
does TLS within TLS, byte by byte. Neither a time-out of the socket nor a signal's handler has its
turn then; but once the socket is shut down, the call ends.

A call to a disk or a name server that does not answer ends at nothing. While the main thread makes
one, no signal gets through to it: so a command that is told to end then is ended by the same
thread.
"""

from __future__ import annotations

import _thread
import errno
import math
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Collection, Sequence

from uploader.core.errors import NoThread
from uploader.runtime import SystemClock, shut_down
from uploader.threads import spawn

_CLOCK = SystemClock().boot_s
#: How often all of them are looked at, and how much later than the socket's own time-out they end.
_TICK_S = 0.5
_MOST_SIGNALS = 1 << 16
#: Seconds that what a command waits for has for its answer after a signal.
PATIENCE_S = 10


class Deadline:
    """Once ``seconds`` have passed, ``connection`` is shut down, and TimeoutError is raised.

    TLS takes a socket over: around a handshake, give a duplicate.
    """

    __slots__ = ("_ends_s", "_is_late", "_is_mains", "_seconds", "connection")

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        self.connection = connection
        self._seconds = seconds
        self._is_late = False

    def __enter__(self) -> None:
        self._is_mains = threading.get_ident() == threading.main_thread().ident
        self._ends_s = _CLOCK() + self._seconds + _TICK_S
        _WATCHER.add(self)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        _WATCHER.remove(self)
        if self._is_late and (kind is None or issubclass(kind, Exception)):
            raise TimeoutError(errno.ETIMEDOUT, "timed out")

    def look(self, now_s: float, came: Sequence[int]) -> None:
        """Shut the connection down if it is time, or if a signal came that ends the command."""
        self._is_late = self._is_late or now_s >= self._ends_s
        if self._is_late or (came and self._is_mains):
            shut_down(self.connection)


class LastResort:
    """If the main thread hangs within, a signal ends the process `PATIENCE_S` after it.

    A second one ends it at once. For whatever asks a disk or a name server; it does nothing in
    other threads, and before `end_at`.
    """

    __slots__ = ("_ends_s", "_number")

    def __enter__(self) -> None:
        self._ends_s, self._number = math.inf, 0
        if _WATCHER.listens and threading.current_thread() is threading.main_thread():
            _WATCHER.add(self)

    def __exit__(self, *_: object) -> None:
        _WATCHER.remove(self)

    def look(self, now_s: float, came: Sequence[int]) -> None:
        """End the process if it is time, or if another signal ``came``."""
        for number in came:
            is_second, self._number = self._number > 0, number
            self._ends_s = now_s if is_second else now_s + PATIENCE_S
        if now_s >= self._ends_s:
            _WATCHER.end(self._number)


def end_at(*numbers: int, end: Callable[[int], object]) -> None:
    """From here on, one of these signals cuts what the main thread does within a deadline.

    Python runs their handlers in that thread alone, and so not before its call ends. ``end`` ends
    the process for a `LastResort`.
    """
    _WATCHER.listen(numbers, end)


class _Watcher:
    """Looks at all deadlines, for as long as there are any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._deadlines: set[Deadline | LastResort] = set()
        self._is_at_work = False
        self._signals: int | None = None
        self._ending: frozenset[int] = frozenset()
        self.end: Callable[[int], object] = os._exit

    @property
    def listens(self) -> bool:
        """Whether it notices signals."""
        return self._signals is not None

    def add(self, deadline: Deadline | LastResort) -> None:
        with self._lock:
            self._deadlines.add(deadline)
            if self._is_at_work:
                return
            self._is_at_work = True
        try:
            spawn("deadlines", self._look)
        except NoThread:  # the time-outs of the socket hold; the next exchange tries again
            self._is_at_work = False

    def remove(self, deadline: Deadline | LastResort) -> None:
        """It is not shut down any more when this returns: its descriptor may be another's soon."""
        with self._lock:
            self._deadlines.discard(deadline)

    def listen(self, numbers: Collection[int], end: Callable[[int], object]) -> None:
        self._signals, told = os.pipe()
        self._ending, self.end = frozenset(numbers), end
        for descriptor in (self._signals, told):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(told, warn_on_full_buffer=False)

    def _look(self) -> None:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, self._ending)
        try:
            self._look_on()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _look_on(self) -> None:
        pause, waiting = threading.Event(), frozenset[int]()
        while not pause.wait(_TICK_S):
            with self._lock:
                if not self._deadlines:
                    self._is_at_work = False
                    return
                waiting = self._pass_on(waiting)
                came, now_s = self._came(), _CLOCK()
                for deadline in self._deadlines:
                    deadline.look(now_s, came)

    def _pass_on(self, before: frozenset[int]) -> frozenset[int]:
        """Those of the signals that nobody has taken yet; what was among them ``before`` is taken.

        The system gives a signal to the main thread alone, although that hangs in the system itself
        and cannot take it. Until then the same signal does not come a second time. The main thread
        gets it nevertheless, if it ever goes on, and so does the pipe.
        """
        if sys.platform != "linux" or not self._ending:
            return frozenset()
        waiting = self._ending.intersection(signal.sigpending())
        for number in waiting & before:
            if signal.sigtimedwait({number}, 0) is not None:
                _thread.interrupt_main(signal.Signals(number))
        return waiting - before

    def _came(self) -> list[int]:
        """The signals that came since the last call and end the command."""
        if self._signals is None:
            return []
        try:
            came = os.read(self._signals, _MOST_SIGNALS)
        except BlockingIOError:
            return []
        return [number for number in came if number in self._ending]


_WATCHER = _Watcher()

os.register_at_fork(after_in_child=_WATCHER.__init__)  # type: ignore[misc] # a child has no thread
