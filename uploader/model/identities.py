"""Which files those at some paths are now: their disks are asked, but never waited for.

A home directory on a file server that falls silent holds up no file of another disk. What it said
last counts then. One that has never said anything is waited for once: not known is not public.
However many folders a process looks at, it asks about each path in one thread at a time.
"""

from __future__ import annotations

import contextlib
import math
import os
import stat
import threading
from collections.abc import Callable, Iterable, Iterator
from contextvars import Context
from pathlib import Path
from weakref import WeakValueDictionary

from uploader import files
from uploader.core.errors import NoThread
from uploader.runtime import SystemClock
from uploader.threads import spawn

#: For how many seconds an answer counts as that of now.
_FRESH_S = 0.2
#: How long a disk has for an answer, and for its first one. Nothing of a disk that is silent for
#: longer can be sent, either.
_PATIENCE_S = 1.0
_FIRST_S = 20.0
#: How many of a folder's files count; there are seldom more than two.
_MOST = 64

Identity = tuple[int, int]


class Identities:
    """Device and inode of the file at each path, or of those in the folder there.

    Each path is asked about in a thread of its own.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._places: dict[Path, _Place] = {}
        self.add(paths)

    def add(self, paths: Iterable[Path]) -> None:
        """From now on these, too. Safe while other threads ask."""
        new = {path: _place_of(path) for path in paths if path not in self._places}
        self._places = {**self._places, **new}

    def hold(self, identity: Identity) -> bool:
        """Is it one of those files?"""
        places = self._places.values()
        for place in places:
            place.ask(SystemClock().boot_s())
        return any(identity in place.known() for place in places)


class _Place:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._known: frozenset[Identity] = frozenset()
        self._asked_s = -math.inf
        #: Has it ever answered?
        self._spoke = False
        self._answered = threading.Event()
        self._answered.set()

    def ask(self, now_s: float) -> None:
        """In a thread, unless it was asked a moment ago or has not answered yet."""
        with self._lock:
            if not self._answered.is_set() or now_s - self._asked_s < _FRESH_S:
                return
            self._asked_s = now_s
            self._answered.clear()

        def look() -> None:
            Context().run(self._look)  # whoever asks may be looking at a folder, and give that up

        try:
            spawn("private files", look)
        except NoThread:
            look()

    def known(self) -> frozenset[Identity]:
        """What it has answered last; empty if there is no such file."""
        if not self._answered.is_set():
            until_s = self._asked_s + (_PATIENCE_S if self._spoke else _FIRST_S)
            self._answered.wait(max(0.0, until_s - SystemClock().boot_s()))
        return self._known

    def _look(self) -> None:
        known = set[Identity]()
        with contextlib.suppress(OSError):
            for identity in _identities_at(self._path):
                known.add(identity)
                self._known |= {identity}  # what comes next may never answer
        self._known = frozenset(known)
        self._spoke = True
        self._answered.set()


def _identities_at(path: Path) -> Iterator[Identity]:
    facts = os.stat(path)  # noqa: PTH116 - as `fstat`, with which it is compared
    yield facts.st_dev, facts.st_ino
    if stat.S_ISDIR(facts.st_mode):
        with files.listed(path, _MOST) as entries:
            found = [entry.path for entry in entries]
        yield from _all_of(os.lstat, found)  # a link may lead to another disk
        yield from _all_of(os.stat, found)


def _all_of(ask: Callable[[str], os.stat_result], paths: Iterable[str]) -> Iterator[Identity]:
    for path in paths:
        with contextlib.suppress(OSError):  # it is gone, or a link that leads nowhere
            facts = ask(path)
            yield facts.st_dev, facts.st_ino


#: Those of this process that somebody asks about, or whose disk has not answered yet. A child has
#: none of the threads of its parent, so it asks anew.
_PLACES: WeakValueDictionary[tuple[int, Path], _Place] = WeakValueDictionary()


def _place_of(path: Path) -> _Place:
    return _PLACES.setdefault((os.getpid(), path), _Place(path))
