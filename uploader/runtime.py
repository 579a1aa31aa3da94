"""Time and stopping: the clock, an injected seam (docs/architecture.md §3), and the stop token.

The only file that may read a clock, sleep, roll dice, or ask what this process may use of its
machine. Production uses `SystemClock`; a simulation passes its own.
"""

from __future__ import annotations

import bisect
import contextlib
import contextvars
import gc
import logging
import os
import random
import resource
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from uploader.core.errors import LeaseLost, Stopped, UploaderError
from uploader.core.slowness import Slowness

_log = logging.getLogger(__name__)

#: What a group of processes may use, as the kernel tells those inside a container.
_QUOTA = Path("/sys/fs/cgroup/cpu.max")
#: A parameter of glibc's `mallopt`, and how many heaps it is given.
_M_ARENA_MAX, _HEAPS = -8, 4


#: Set if this process is the program's own, and not one that imported us.
OUR_PROCESS = threading.Event()


@contextlib.contextmanager
def importing(slowest: str = "") -> Iterator[None]:
    """While many modules are imported: what they make stays, so nobody looks for garbage in it.

    Neither now, which takes a sixth of the time of a start, nor later. Does nothing once the module
    ``slowest`` is loaded: what is made from then on need not stay. Nor in a process that is not
    ours: what is garbage there, and when it is looked for, is its own business.
    """
    if slowest in sys.modules or not OUR_PROCESS.is_set():
        yield
        return
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()


class Clock(Protocol):
    """Time, for the engine: nothing else in this program reads a clock."""

    def now(self) -> datetime:
        """Aware UTC; may step."""

    def boot_s(self) -> float:
        """Seconds that never step and go on during suspend."""

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        """Wait until ``event`` is set or ``timeout_s`` have passed; True if it is set."""

    def jitter(self) -> float:
        """A random number in [0, 1)."""


class SystemClock:
    """The machine's clocks."""

    def now(self) -> datetime:
        """As `Clock.now`."""
        return datetime.now(UTC)

    def boot_s(self) -> float:
        """As `Clock.boot_s`."""
        # macOS has no CLOCK_BOOTTIME; its CLOCK_MONOTONIC goes on during sleep.
        return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        """As `Clock.wait`."""
        return event.wait(max(0.0, timeout_s))

    def jitter(self) -> float:
        """As `Clock.jitter`."""
        return random.random()  # noqa: S311 - spreads retries, guards nothing


def monotonic_us() -> int:
    """The time since boot without suspend, in microseconds, as service managers count it."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


#: Seconds until what ended by an error is run again, at first and at most.
_AGAIN_S, _AGAIN_AT_MOST_S = 1.0, 60.0


def keep_running(name: str, run: Callable[[], None], ended: threading.Event, clock: Clock) -> None:
    """Call ``run`` until it returns, or ``ended`` is set; for the body of a thread.

    Whatever it raises is logged, and it is called again: later each time, unless it ran for longer
    than the longest pause.
    """
    pause_s = _AGAIN_S
    while not ended.is_set():
        began_s = clock.boot_s()
        try:
            run()
        except Exception as error:  # noqa: BLE001 - no thread ends silently
            log_end(name, error)
        else:
            return
        if clock.boot_s() - began_s > _AGAIN_AT_MOST_S:
            pause_s = _AGAIN_S
        clock.wait(ended, pause_s)
        pause_s = min(2 * pause_s, _AGAIN_AT_MOST_S)


def log_end(name: str, error: BaseException) -> None:
    """Log why something of this program ended: our own errors in words, others with their place."""
    if isinstance(error, UploaderError):
        _log.warning("%s: %s (%s)", name, error.message, error.hint)
    else:
        _log.error("%s: unexpected error", name, exc_info=error)


@contextlib.contextmanager
def threads_end_in_the_log() -> Iterator[None]:
    """Meanwhile, what a thread raises at its end is logged as everything is, and so redacted."""
    before = threading.excepthook

    def log(of: threading.ExceptHookArgs) -> None:
        if of.exc_value is not None and not isinstance(of.exc_value, SystemExit):
            log_end(f"thread {of.thread.name if of.thread else ''}", of.exc_value)

    threading.excepthook = log
    try:
        yield
    finally:
        threading.excepthook = before


def processor_clock() -> Callable[[], float]:
    """A clock for any thread to read: how many seconds of a processor this thread has used.

    Once it has ended, and on a system that does not tell (macOS), it seems never to wait.
    """
    if sys.platform == "darwin":
        return time.monotonic
    clock = time.pthread_getcpuclockid(threading.get_ident())

    def used_s() -> float:
        try:
            return time.clock_gettime(clock)
        except OSError:
            return time.monotonic()

    return used_s


def share_memory() -> None:
    """Threads that start from here on share a few of the C library's heaps; only with glibc.

    Else each of a hundred threads may get one of its own, and keep what it once needed.
    """
    import ctypes  # noqa: PLC0415 - slow to import

    with contextlib.suppress(AttributeError, OSError, TypeError):  # another library, or none
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _HEAPS)


def processors() -> float:
    """How many processors this process may use at once, by affinity and by the group's quota."""
    usable = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    try:
        quota, _, period = _QUOTA.read_text("ascii").strip().partition(" ")
        return min(usable, int(quota) / int(period))
    except (OSError, ValueError, ZeroDivisionError):  # no quota is written as `max`
        return usable


def open_files(wanted: int) -> int:
    """How many files this process may have open at once; the limit is raised to ``wanted``.

    macOS gives a process 256, Linux 1024, and both let it ask for more.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft == resource.RLIM_INFINITY or soft >= allowed:
        return wanted if soft == resource.RLIM_INFINITY else soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    except (OSError, ValueError):  # a limit of the whole machine is lower
        return soft
    return allowed


_ABOUT: contextvars.ContextVar[Mapping[str, object]] = contextvars.ContextVar(
    "about", default=MappingProxyType({})
)


def bind(**facts: object) -> None:
    """From here on, what this thread logs is about these facts, too; None takes one away."""
    _ABOUT.set({**_ABOUT.get(), **facts})


def about() -> Mapping[str, object]:
    """What the lines that this thread logs are about: job, file, attempt, request."""
    return _ABOUT.get()


class Meters:
    """What this process has done since it started. Any thread may add; numbers only grow."""

    #: The upper ends of the classes of durations, in seconds.
    ENDS_S = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, float("inf"))

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()
        self._durations: dict[str, tuple[list[int], float]] = {}

    def add(self, name: str, amount: int = 1, label: str = "") -> None:
        """Add to the counter ``name``, or to the one of its counters that has this label."""
        with self._lock:
            self._counts[name, label] += amount

    def took(self, call: str, seconds: float) -> None:
        """One request of the kind ``call`` took this many ``seconds``, answered or not."""
        with self._lock:
            counts, total_s = self._durations.get(call, ([0] * len(self.ENDS_S), 0.0))
            counts[bisect.bisect_left(self.ENDS_S, seconds)] += 1
            self._durations[call] = (counts, total_s + seconds)

    def counts(self, name: str) -> dict[str, int]:
        """The counters of that name by label."""
        with self._lock:
            return {label: count for (of, label), count in self._counts.items() if of == name}

    def durations(self) -> dict[str, tuple[list[int], float]]:
        """By call: how many requests fell into each class, and the sum of their seconds."""
        with self._lock:
            return {call: ([*counts], sum_s) for call, (counts, sum_s) in self._durations.items()}


#: There is one per process.
METERS = Meters()


class DiskCalls:
    """The calls to a disk, each within ``with``: nothing can end them, but they can be seen."""

    def __init__(self, boot_s: Callable[[], float]) -> None:
        self._boot_s = boot_s
        self._began_s: dict[int, float] = {}
        self._slowness = Slowness()

    def __enter__(self) -> None:
        self._began_s[threading.get_ident()] = self._boot_s()

    def __exit__(self, *_: object) -> None:
        began_s = self._began_s.pop(threading.get_ident())
        self._slowness = self._slowness.with_call(began_s, self._boot_s())

    @property
    def longest_s(self) -> float:
        """For how many seconds the first of them has not returned; 0 if there is none."""
        return self._boot_s() - self._first_began_s()

    @property
    def slow_s(self) -> float:
        """How many seconds were lately waited in slow calls, as `core/slowness.py` counts them."""
        began_s, now_s = self._first_began_s(), self._boot_s()
        return self._slowness.with_call(began_s, now_s).left_s(now_s)

    def _first_began_s(self) -> float:
        return min(tuple(self._began_s.values()), default=self._boot_s())


def shut_down(connection: socket.socket) -> None:
    """Whoever reads from it or writes to it has an end or an error now, in whatever thread.

    Below TLS on purpose: SSLSocket.shutdown would let a concurrent send go out unencrypted.
    """
    with contextlib.suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_RDWR)


class StopToken:
    """Stops a thread wherever it is: at its next check, or by closing its sockets.

    A thread in `sendall`, or waiting 600 s for an answer, sees no flag; so every connection
    registers its socket here, and `cut` shuts them down. Once its lease has ``lapsed`` a token
    stops by itself, even if the thread that should set it is stuck or cut off
    (docs/architecture.md §9).
    """

    def __init__(
        self,
        lapsed: Callable[[], bool] = lambda: False,
        boot_s: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """Without ``boot_s``, seconds since boot, nobody looks how long a disk takes."""
        self.event = threading.Event()
        #: What threads with this token, or one that is `fresh`, wait for in vain.
        self.disk = DiskCalls(boot_s)
        #: The same of the disk of the API key: what needs no key goes on.
        self.key_disk = DiskCalls(boot_s)
        self._lapsed = lapsed
        self._sockets: set[socket.socket] = set()
        self._lock = threading.Lock()

    def fresh(self) -> StopToken:
        """Another token under the same lease, which nobody has stopped."""
        token = StopToken(self._lapsed)
        token.disk, token.key_disk = self.disk, self.key_disk
        return token

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called, or the lease has lapsed."""
        return self.event.is_set() or self._lapsed()

    def stop(self) -> None:
        """Ask every thread that has this token to end at its next check."""
        self.event.set()

    def check(self) -> None:
        """Raises Stopped once `stop` was called, LeaseLost once the lease has lapsed."""
        if self.event.is_set():
            raise Stopped
        if self._lapsed():
            raise LeaseLost("the lease ended before it could be renewed")

    def watch(self, connection: socket.socket) -> None:
        """From here on `cut` shuts this socket down."""
        with self._lock:
            self._sockets.add(connection)

    def unwatch(self, connection: socket.socket) -> None:
        """The socket's exchange is over: `cut` leaves it alone."""
        with self._lock:
            self._sockets.discard(connection)

    def cut(self) -> None:
        """Stop, and shut every registered socket down."""
        self.stop()
        with self._lock:
            sockets = tuple(self._sockets)
        for connection in sockets:
            shut_down(connection)
