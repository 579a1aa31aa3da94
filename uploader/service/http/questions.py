"""What may be asked of many folders, one after another: none that is silent holds up the others.

Nothing ends a call to a disk that does not answer. So each question has a thread of its own, and
after a second nobody waits for it. As long as that thread waits, the same question is not asked
again: however often a folder is listed, each silent name in it takes one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from concurrent.futures import Future, wait
from functools import partial
from threading import Lock
from typing import Any, TypeVar

from uploader.engine.disks import MOST_HELD_UP
from uploader.threads import LOOK, spawn

_PATIENCE_S = 1.0
_A = TypeVar("_A")


class Silent(Exception):
    """A disk has not answered in time."""


class Questions:
    """Those that have no answer yet, at most `MOST_HELD_UP`; from any thread."""

    def __init__(self) -> None:
        self._open: dict[Hashable, Future[Any]] = {}
        #: Those of them that were waited for in vain.
        self._silent: set[Hashable] = set()
        self._lock = Lock()

    def ask(self, question: partial[_A]) -> _A:
        """What ``question`` returns; the same function of the same arguments is the same question.

        If too many disks are silent already, it is asked in the caller's own thread, and takes as
        long as it takes. Raises Silent, NoThread, and what it raises.
        """
        key = (question.func, question.args)
        with self._lock:
            if key in self._silent:
                raise Silent
            found = self._open.get(key) or self._begin(key, question)
        if found is None:
            return question()
        wait([found], _PATIENCE_S)
        with self._lock:
            if not found.done():
                self._silent.add(key)
                raise Silent
        answer: _A = found.result()
        return answer

    def _begin(self, key: Hashable, ask: Callable[[], object]) -> Future[Any] | None:
        if len(self._open) >= MOST_HELD_UP:
            return None
        found = Future[Any]()

        def run() -> None:
            try:
                found.set_result(ask())
            except BaseException as error:  # noqa: BLE001 - it is the answer
                found.set_exception(error)
            finally:
                with self._lock:
                    self._silent.discard(key)
                    del self._open[key]

        spawn(LOOK, run)
        self._open[key] = found
        return found
