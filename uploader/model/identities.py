"""Which files those at some paths are now: their disks are asked, but never waited for.

A home directory on a file server that falls silent holds up no file of another disk. What it said
last counts then. If it never said anything, nothing of it can be sent either.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Collection, Iterable
from pathlib import Path

from uploader.core.errors import NoThread
from uploader.runtime import SystemClock
from uploader.threads import spawn

#: For how many seconds an answer counts as that of now.
_FRESH_S = 0.2
#: How long a disk has for its first answer, and each further one.
_PATIENCE_S = 1.0

Identity = tuple[int, int]


class Identities:
    """Device and inode of each of the files; each folder is asked in a thread of its own."""

    def __init__(self, paths: Iterable[Path]) -> None:
        by_folder: dict[Path, list[Path]] = {}
        for path in paths:
            by_folder.setdefault(path.parent, []).append(path)
        self._folders = [_Folder(paths) for paths in by_folder.values()]

    def hold(self, identity: Identity) -> bool:
        """Is it one of those files?"""
        now_s = SystemClock().boot_s()
        for folder in self._folders:
            folder.ask(now_s)
        return any(identity in folder.known(now_s) for folder in self._folders)


class _Folder:
    def __init__(self, paths: Collection[Path]) -> None:
        self._paths = paths
        self._lock = threading.Lock()
        self._known: frozenset[Identity] = frozenset()
        self._asked_s = -math.inf
        self._answered = threading.Event()
        self._answered.set()

    def ask(self, now_s: float) -> None:
        """In a thread, unless it was asked a moment ago or has not answered yet."""
        with self._lock:
            if not self._answered.is_set() or now_s - self._asked_s < _FRESH_S:
                return
            self._asked_s = now_s
            self._answered.clear()
        try:
            spawn("private files", self._look)
        except NoThread:
            self._look()

    def known(self, now_s: float) -> frozenset[Identity]:
        """What it has answered last; a disk that is being asked has a moment for that."""
        left_s = self._asked_s + _PATIENCE_S - now_s
        if left_s > 0:
            self._answered.wait(left_s)
        return self._known

    def _look(self) -> None:
        found = set[Identity]()
        for path in self._paths:
            try:
                facts = os.stat(path)  # noqa: PTH116 - as `fstat`, with which it is compared
            except OSError:
                continue
            found.add((facts.st_dev, facts.st_ino))
        self._known = frozenset(found)
        self._answered.set()
