"""A deadline for what a thread does with a socket, kept by another thread.

OpenSSL reads on within one call for as long as records without data come: session tickets, say. So
does TLS within TLS, byte by byte. Neither a time-out of the socket nor a signal's handler has its
turn then; but once the socket is shut down, the call ends.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import threading

from uploader.core.errors import NoThread
from uploader.runtime import SystemClock, shut_down
from uploader.threads import spawn

_CLOCK = SystemClock().boot_s
#: How often all of them are looked at, and how much later than the socket's own time-out they end.
_TICK_S = 0.5
_MOST_SIGNALS = 1 << 16


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

    def look(self, now_s: float, *, ending: bool) -> None:
        """Shut the connection down if it is time, or if the command is ``ending``."""
        self._is_late = self._is_late or now_s >= self._ends_s
        if self._is_late or (ending and self._is_mains):
            shut_down(self.connection)


def end_at(*numbers: int) -> None:
    """From here on, one of these signals cuts what the main thread does within a deadline.

    Python runs their handlers in that thread alone, and so not before its call ends.
    """
    _WATCHER.listen(numbers)


class _Watcher:
    """Looks at all deadlines, for as long as there are any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._deadlines: set[Deadline] = set()
        self._is_at_work = False
        self._signals: int | None = None
        self._ending: tuple[int, ...] = ()

    def add(self, deadline: Deadline) -> None:
        with self._lock:
            self._deadlines.add(deadline)
            if self._is_at_work:
                return
            self._is_at_work = True
        try:
            spawn("deadlines", self._look)
        except NoThread:  # the time-outs of the socket hold; the next exchange tries again
            self._is_at_work = False

    def remove(self, deadline: Deadline) -> None:
        """It is not shut down any more when this returns: its descriptor may be another's soon."""
        with self._lock:
            self._deadlines.discard(deadline)

    def listen(self, numbers: tuple[int, ...]) -> None:
        self._signals, told = os.pipe()
        self._ending = numbers
        for end in (self._signals, told):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(told, warn_on_full_buffer=False)

    def _look(self) -> None:
        pause = threading.Event()
        while not pause.wait(_TICK_S):
            with self._lock:
                if not self._deadlines:
                    self._is_at_work = False
                    return
                ending, now_s = self._is_ending(), _CLOCK()
                for deadline in self._deadlines:
                    deadline.look(now_s, ending=ending)

    def _is_ending(self) -> bool:
        if self._signals is None:
            return False
        try:
            came = os.read(self._signals, _MOST_SIGNALS)
        except BlockingIOError:
            return False
        return any(number in came for number in self._ending)


_WATCHER = _Watcher()

os.register_at_fork(after_in_child=_WATCHER.__init__)  # type: ignore[misc] # a child has no thread
