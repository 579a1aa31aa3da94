"""What a worker tells the service manager that started it: the protocol of sd_notify(3).

A datagram of NAME=VALUE lines goes to a socket that the service manager has named. All of it is
sent from the worker's loop, at its turns. If the loop hangs, the watchdog starves and the service
manager restarts the worker; no other thread feeds it.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Sequence

from uploader.core.redact import foreign_line
from uploader.runtime import Clock, monotonic_us
from uploader.settings.supervision import Supervision

#: The share of the watchdog's time between two signs of life.
_SHARE = 0.25
#: A drain asks for this much more time, again and again; its own deadline ends it sooner.
_EXTEND_US = 10_000_000
_EXTEND_EVERY_S = 1.0
_MAX_STATUS_CHARS = 300


class Supervisor:
    """The service manager, for the thread of the worker's loop. Without one, nothing is sent."""

    def __init__(self, supervision: Supervision, clock: Clock) -> None:
        #: A line about the job that is being sent, which any thread may set.
        self.progress = ""
        self._address = supervision.notify_socket
        self._watchdog_s = supervision.watchdog_s
        self._clock = clock
        self._ready = self._stopping = False
        self._status = ""
        self._fed_s = self._extended_s = float("-inf")

    def turned(self, *, running: int, draining: bool, trouble: str = "") -> None:
        """The loop has turned: ``running`` jobs are in work; ``trouble`` is what holds it up."""
        if self._address is None:
            return
        lines = [] if self._ready else ["READY=1"]
        self._ready = True
        if draining:
            lines += self._drain()
        status = self._in_words(running, draining=draining, trouble=trouble)
        if status != self._status:
            self._status = status
            lines.append(f"STATUS={foreign_line(status, _MAX_STATUS_CHARS)}")
        now_s = self._clock.boot_s()
        if self._watchdog_s and now_s - self._fed_s >= self._watchdog_s * _SHARE:
            self._fed_s = now_s
            lines.append("WATCHDOG=1")
        self._send(lines)

    def reloading(self) -> None:
        """The configuration is being read again."""
        self._send(["RELOADING=1", f"MONOTONIC_USEC={monotonic_us()}"])

    def reloaded(self) -> None:
        """What was read is in force, or was refused."""
        self._send(["READY=1"])

    def ended(self) -> None:
        """The loop has ended, and soon the process does."""
        if not self._stopping:
            self._send(["STOPPING=1"])

    def _drain(self) -> list[str]:
        lines = [] if self._stopping else ["STOPPING=1"]
        self._stopping = True
        now_s = self._clock.boot_s()
        if now_s - self._extended_s >= _EXTEND_EVERY_S:
            self._extended_s = now_s
            lines.append(f"EXTEND_TIMEOUT_USEC={_EXTEND_US}")
        return lines

    def _in_words(self, running: int, *, draining: bool, trouble: str) -> str:
        jobs = "1 job" if running == 1 else f"{running} jobs"
        if draining:
            return f"draining: {jobs} to stop"
        if trouble:
            return trouble
        if not running:
            return "waiting for jobs"
        return "; ".join(filter(None, (f"{jobs} in work", self.progress)))

    def _send(self, lines: Sequence[str]) -> None:
        if self._address is None or not lines:
            return
        # A worker goes on if nobody takes the datagram, and never waits for whoever should.
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender,
        ):
            sender.settimeout(0)
            sender.sendto("\n".join(lines).encode(), self._address)
