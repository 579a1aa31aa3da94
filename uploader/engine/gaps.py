"""Sessions of which the server says that it holds more than is known to have been sent.

That may be so: a worker that is killed has sent more than its row, and the mark of its transfer,
say. The bytes between the two are then known by nothing but the server's word, until a checksum
of the whole object is equal (docs/invariants.md §4).
"""

from __future__ import annotations

import threading

from uploader.core.job import FileState

_MOST_KEPT = 4096


class Gaps:
    """Remembers them for as long as the process lives; any thread may ask and tell."""

    def __init__(self) -> None:
        self._sessions: dict[tuple[int, str, int], None] = {}
        self._lock = threading.Lock()

    def add(self, file: FileState) -> None:
        """The present session of that file has a gap; the oldest is forgotten first."""
        with self._lock:
            self._sessions[_session_of(file)] = None
            if len(self._sessions) > _MOST_KEPT:
                del self._sessions[next(iter(self._sessions))]

    def __contains__(self, file: FileState) -> bool:
        return _session_of(file) in self._sessions


def _session_of(file: FileState) -> tuple[int, str, int]:
    return file.job_id, file.path, file.sessions
