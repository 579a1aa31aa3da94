"""Sessions and stored files are committed by the batch: each transaction costs an fsync.

Used by the deciding thread of `engine/upload.py` only. If the process ends before a commit, a
session that was opened is forgotten, empty, and a stored file is found to be complete by the status
query of its session: a batch that is lost costs requests, and no byte but those of small plain
PUTs, which have no session.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Generic, TypeVar

from uploader.core.job import Mode
from uploader.core.upload import Backlog
from uploader.engine.sessions import Opened
from uploader.runtime import METERS
from uploader.store.held import Held
from uploader.store.held_files import NewSession, StoredFile

#: A batch with this many entries is written at once.
FULL = 64
#: Seconds for which the oldest entry of a batch waits for others.
_OPENED_WAIT_S = 0.1
_STORED_WAIT_S = 0.5
_T = TypeVar("_T")


class Batch(Generic[_T]):
    """Entries that wait until they are many or old, or no more are on their way."""

    def __init__(self, most_wait_s: float) -> None:
        """``most_wait_s``: how many seconds its oldest entry waits."""
        self._most_wait_s = most_wait_s
        self._entries: list[_T] = []
        self._since_s = 0.0

    def add(self, entries: Sequence[_T], now_s: float) -> None:
        """Add what has come by ``now_s``, in seconds since boot."""
        if not self._entries:
            self._since_s = now_s
        self._entries.extend(entries)

    def left_s(self, now_s: float) -> float:
        """Seconds until the oldest entry has waited long enough; infinite without one."""
        return self._since_s + self._most_wait_s - now_s if self._entries else math.inf

    def take(self, now_s: float, *, more: bool) -> list[_T]:
        """Take every entry if it is time; ``more``: may others come soon?"""
        if more and self.left_s(now_s) > 0 and len(self._entries) < FULL:
            return []
        taken, self._entries = self._entries, []
        return taken


class Commits:
    """What one upload has to commit about its files."""

    def __init__(self, held: Held, files: Backlog) -> None:
        self._held = held
        self._files = files
        self._opened = Batch[Opened](_OPENED_WAIT_S)
        self._stored = Batch[StoredFile](_STORED_WAIT_S)

    def left_s(self, now_s: float) -> float:
        """Seconds until something that waits is due."""
        return min(self._opened.left_s(now_s), self._stored.left_s(now_s))

    def sessions(
        self, opened: Sequence[Opened], now_s: float, *, more: bool, plain_put: bool
    ) -> bool:
        """Add sessions, and commit what is due; True if any was committed.

        Only what is in the backlog is ever sent (docs/invariants.md §1).
        """
        self._opened.add(opened, now_s)
        due = self._opened.take(now_s, more=more)
        wanted = [] if plain_put else [new for new in due if not self._moved(new)]
        if wanted:
            sessions = [NewSession(new.path, new.session, new.object_path) for new in wanted]
            rows = self._held.files.open_sessions(sessions)
            for file, new in zip(rows, wanted, strict=True):
                self._files.put(file, empty=new.empty)
        if plain_put and any(map(self._by_session, due)):
            self._files.forget_urls()  # they would open the next ones
        for new in due:
            self._files.end(new.path)
        return bool(wanted)

    def _by_session(self, opened: Opened) -> bool:
        url = self._files[opened.path].url
        return url is not None and url.mode is not Mode.PUT

    def _moved(self, opened: Opened) -> bool:
        url = self._files[opened.path].url
        return url is not None and url.object_path != opened.object_path

    def stored(self, stored: Sequence[StoredFile], now_s: float, *, more: bool) -> bool:
        """Add files that the server has completely, and commit what is due; True if any was."""
        self._stored.add(stored, now_s)
        due = self._stored.take(now_s, more=more)
        if due:
            for file in self._held.files.mark_all_stored(due):
                self._files.put(file)
                self._files.end(file.path)
            METERS.add("files_stored", len(due))
        return bool(due)
