"""Few folders are looked at at once: each takes memory and a thread, whoever asks how often.

A disk may never answer, and nothing ends a call to one. So each look has a thread of its own. If
that has not used a processor for half a minute, whoever asked is told so, and others get its place;
it ends at the next file, once the disk answers. A look that goes on for minutes reads all of a
model, or a slow disk, and others get its place, too. Until those have ended, nobody else looks at
their folders: one folder takes two threads at most, however often it is asked about.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from threading import Condition
from typing import TypeVar

from uploader import files
from uploader.core.api_reasons import ApiCode
from uploader.engine.disks import MOST_HELD_UP, PATIENCE_S
from uploader.runtime import StopToken, processor_clock
from uploader.service.http.problems import Refusal
from uploader.threads import spawn

#: A preflight may take 400 MB (docs/preflight.md), and a small machine has a GiB.
_AT_ONCE = 2
#: The server has forty threads for all that waits for the store or a disk.
_WAITING = 16
_WAITS_S = 10.0
#: More seconds than any folder gives a processor to do.
_LONG_S = 120.0
_TURN_S = 0.5

_Found = TypeVar("_Found")


@dataclass(eq=False)
class Look:
    """One look at the folder ``path``."""

    path: str
    _changed: Condition
    #: Set if nobody waits for its end any more.
    stop: StopToken = field(default_factory=StopToken)
    #: How many seconds of a processor it has used.
    used_s: Callable[[], float] = float
    #: Its end is waited for, whatever it takes.
    settled: bool = False
    #: Others got its place.
    has_left: bool = False

    def settle(self) -> None:
        """To be called before anything is changed. Raises Stopped if nobody waits any more."""
        with self._changed:
            self.stop.check()
            self.settled = True

    def refuse(self) -> None:
        """Raises Refusal if its disk is silent, or if others got its place."""
        if self.stop.stopped:
            raise Refusal(ApiCode.FOLDER_SILENT)
        if self.has_left:
            raise Refusal(ApiCode.TOO_FAST, "This folder is being read already")


class Looks:
    """All that have not ended; two of them have a place."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._all: list[Look] = []
        self._waiting = 0

    def at(self, path: str, look: Callable[[Look], _Found]) -> _Found:
        """What ``look`` finds in the folder ``path``; it settles before it changes anything.

        Raises what it raises, NoThread, and Refusal: `too_fast` if others keep it waiting for ten
        seconds, `folder_silent` if the disk does for thirty.
        """
        one, found = self._begun(os.path.normpath(path)), Future[_Found]()

        def run() -> None:
            try:
                one.used_s = processor_clock()
                with files.opening_until(one.stop):
                    found.set_result(look(one))
            except BaseException as error:  # noqa: BLE001 - it is the answer
                found.set_exception(error)
            finally:
                self._end(one)

        try:
            spawn("look", run)
        except BaseException:
            self._end(one)
            raise
        return self._awaited(one, found)

    def _begun(self, path: str) -> Look:
        with self._changed:
            self._refuse_again(path)
            if self._waiting == _WAITING:
                raise _full()
            self._waiting += 1
            try:
                if not self._changed.wait_for(self._has_place, _WAITS_S):
                    raise _full()
            finally:
                self._waiting -= 1
            self._refuse_again(path)
            self._all.append(Look(path, self._changed))
            return self._all[-1]

    def _refuse_again(self, path: str) -> None:
        for one in self._all:
            if one.path == path:
                one.refuse()

    def _awaited(self, one: Look, found: Future[_Found]) -> _Found:
        used_s = silent_s = lasted_s = 0.0
        while not wait([found], _TURN_S).done:
            before_s, used_s = used_s, one.used_s()
            silent_s = silent_s + _TURN_S if used_s == before_s else 0.0
            lasted_s += _TURN_S
            with self._changed:
                if silent_s >= PATIENCE_S and not one.settled:
                    one.stop.stop()
                    self._leave(one)
                    one.refuse()
                elif one.settled or lasted_s >= _LONG_S:
                    self._leave(one)
        return found.result()

    def _has_place(self) -> bool:
        return sum(not one.has_left for one in self._all) < _AT_ONCE

    def _leave(self, one: Look) -> None:
        if sum(other.has_left for other in self._all) < MOST_HELD_UP:
            one.has_left = True
            self._changed.notify_all()

    def _end(self, one: Look) -> None:
        with self._changed:
            self._all.remove(one)
            self._changed.notify_all()


def _full() -> Refusal:
    return Refusal(ApiCode.TOO_FAST, f"{_AT_ONCE} other folders are being looked at")
