"""Finds the number of files in flight by itself, as `core/tuning.py` decides.

The threads that drive uploads ask it once a second to look at what the server has confirmed, and
whichever comes first carries out what follows. So it needs no thread of its own, and an idle worker
does not wake up for it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Hashable
from http import HTTPStatus
from typing import Protocol

from uploader.core.errors import RemoteError
from uploader.core.limits import Move
from uploader.core.tuning import Gauge, Look, Tuning, tune
from uploader.engine.throttle import Slots, Throttle
from uploader.runtime import Clock

_LOOKS_EVERY_S = 1.0
_ASKED_FOR_LESS = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)

_log = logging.getLogger(__name__)


class Watched(Hashable, Protocol):
    """What is known of a transfer."""

    ended: bool

    @property
    def confirmed_at_s(self) -> float:
        """When the server confirmed bytes last, in seconds since boot; at first when it began."""

    @property
    def confirmed_bytes(self) -> int:
        """How many bytes of the file the server has confirmed during this transfer."""


class AutoFiles:
    """The number of files in flight of one worker: given, or found."""

    def __init__(
        self, clock: Clock, slots: Slots, throttle: Throttle, keep: Callable[[Move], None]
    ) -> None:
        """``keep`` is called with each move."""
        self._clock = clock
        self._slots = slots
        self._throttle = throttle
        self._keep = keep
        self._watched: list[Watched] = []
        self._gauge = Gauge()
        self._tuning: Tuning | None = None
        self._trouble = ""
        self._looked_s = float("-inf")
        self._lock = threading.Lock()

    @property
    def finds(self) -> bool:
        """Is the number found here, and not a user's?"""
        return self._tuning is not None

    def set(self, files: int | None) -> None:
        """From now on that number of files is in flight; None: find it."""
        with self._lock:
            if files is not None:
                self._tuning = None
                self._watched.clear()
                self._slots.set(files)
            elif self._tuning is None:
                self._tuning = Tuning()
                self._gauge.restart(self._clock.boot_s())
                self._slots.set(self._tuning.files)

    def watch(self, transfer: Watched) -> None:
        """That transfer is in flight, until it says that it has ended."""
        if self._tuning is not None:
            with self._lock:
                self._watched.append(transfer)

    def failed(self, error: Exception) -> None:
        """An exchange with storage ended with that error."""
        if not isinstance(error, RemoteError):
            return
        if error.status in _ASKED_FOR_LESS:
            self._trouble = f"the storage service asked for less ({error.status})"
        elif error.stalled:
            self._trouble = "a connection stalled"

    def look(self) -> None:
        """Once a second: do what follows from what was seen."""
        with self._lock:
            now_s = self._clock.boot_s()
            if self._tuning is None or now_s - self._looked_s < _LOOKS_EVERY_S:
                return
            self._looked_s = now_s
            move = self._decide(self._tuning, now_s)
        if move is not None:
            _log.info("files in flight: %s", move.message)
            self._keep(move)

    def _saw(self, transfer: Watched) -> bool:
        """Whether it has ended; asked before the count, which is final by then."""
        ended = transfer.ended
        # A later confirmation may come between the two: that is known at the next look.
        at_s = transfer.confirmed_at_s
        self._gauge.saw(transfer, at_s, transfer.confirmed_bytes, ended=ended)
        return ended

    def _decide(self, tuning: Tuning, now_s: float) -> Move | None:
        self._watched = [transfer for transfer in self._watched if not self._saw(transfer)]
        running, wanted = self._slots.demand()
        span_s, rate_bps = self._gauge.rate(now_s)
        trouble, self._trouble = self._trouble, ""
        look = Look(
            now_s,
            span_s,
            rate_bps,
            self._gauge.confirmations,
            free=not wanted or running > tuning.files,
            limited=self._throttle.binds,
            trouble=trouble,
        )
        decision = tune(tuning, look)
        self._tuning = decision.tuning
        if decision.restart:
            self._gauge.restart(now_s)
        if decision.tuning.files != tuning.files:
            self._slots.set(decision.tuning.files)
        if not decision.message:
            return None
        return Move(self._clock.now(), decision.tuning.files, decision.message)
