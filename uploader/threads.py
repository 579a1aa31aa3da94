"""Threads for work that waits: each is used again for a while once its work is done.

Starting a thread, and waiting until it runs, costs more than the rest of sending a small file.
"""

from __future__ import annotations

import contextlib
import contextvars
import os
import queue
import sys
import threading
from collections.abc import Callable
from typing import NamedTuple

from uploader.core.errors import NoThread, ProgramEnds

Spawn = Callable[[str, Callable[[], None]], None]

#: Seconds for which a thread that has nothing to do waits for something.
_RESTS_S = 2.0
_NICE = 10

_ENDING = "no thread can be started: this program is ending"
_BEFORE = "let its main thread wait for the upload; any worker goes on with the job"

#: The name of a thread that looks at a folder: it reads models in a library.
LOOK = "look"


def spawn(name: str, run: Callable[[], None]) -> None:
    """Call ``run`` in a daemon thread: a drain never has to join it (docs/architecture.md §5).

    What it logs is about what the caller's lines are about, until it says otherwise. Raises
    NoThread.
    """
    work = _Work(name, contextvars.copy_context(), run)
    try:
        rested = _resting.pop()
    except IndexError:
        _Thread(work).begin()
    else:
        rested.next.put(work)


def give_way() -> None:
    """From here on, this thread gets what the others leave of the processors; only on Linux.

    It does no further work: without privileges, nothing gives it its priority back.
    """
    if sys.platform == "linux":
        thread = threading.current_thread()
        if isinstance(thread, _Thread):
            thread.gives_way = True
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


class _Work(NamedTuple):
    """What one `spawn` asks for."""

    name: str
    context: contextvars.Context
    call: Callable[[], None]


class _Thread(threading.Thread):
    """Does one work after another. What raises ends it, as it ends any thread."""

    def __init__(self, first: _Work) -> None:
        super().__init__(name=first.name, daemon=True)
        self.gives_way = False
        self.next: queue.SimpleQueue[_Work] = queue.SimpleQueue()
        self.next.put(first)

    def begin(self) -> None:
        """Start it. Raises NoThread, which is ProgramEnds once Python is ending."""
        try:
            self.start()
        except RuntimeError as error:
            # Python 3.12.1 says so as soon as the main thread has ended, while it waits for others.
            if "shutdown" in str(error) or sys.is_finalizing():
                raise ProgramEnds(_ENDING, hint=_BEFORE) from None
            message = "no thread can be started: this machine or container allows no more"
            raise NoThread(message) from None

    def run(self) -> None:
        """Work, then rest, until nothing has come for a while, or the work was to give way."""
        work: _Work | None = self.next.get()
        while work is not None:
            self.name = work.name
            work.context.run(work.call)
            work = None  # what it refers to is not kept meanwhile
            if not self.gives_way:
                self.name = "resting"
                work = self._rest()

    def _rest(self) -> _Work | None:
        _resting.append(self)
        try:
            return self.next.get(timeout=_RESTS_S)
        except queue.Empty:
            try:
                _resting.remove(self)
            except ValueError:  # somebody has just taken it from there
                return self.next.get()
            return None


#: Whoever takes one from here gives it work. A list's own methods need no lock.
_resting: list[_Thread] = []

os.register_at_fork(after_in_child=_resting.clear)  # a child has none of these threads
