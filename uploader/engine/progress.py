"""What a transfer knows beyond its row, until it is written (at most once a second)."""

from __future__ import annotations

import threading
from collections import deque

from uploader.core.job import FileState, PrefixCrc
from uploader.store.held_files import FileProgress

_WINDOW_S = 15.0


class Progress:
    """Written by one transfer's thread, taken by whoever writes rows."""

    def __init__(self, file: FileState) -> None:
        self._lock = threading.Lock()
        self._path = file.path
        self._sessions = file.sessions
        self._checkpoint = file.checkpoint
        self._mark = file.mark
        self._sent = file.bytes_sent
        self._advanced = False
        self._dirty = False

    @property
    def bytes_sent(self) -> int:
        return self._sent

    def opened(self, file: FileState) -> None:
        """A new session: earlier confirmations count no more."""
        with self._lock:
            self._sessions = file.sessions
            self._checkpoint = self._mark = PrefixCrc()

    def read(self, pair: PrefixCrc, count: int) -> None:
        """A block of ``count`` bytes that ends at ``pair`` goes to the socket."""
        with self._lock:
            self._mark = pair
            self._sent += count
            self._dirty = True

    def confirmed(self, pair: PrefixCrc) -> None:
        with self._lock:
            self._advanced = self._advanced or pair.offset > self._checkpoint.offset
            self._checkpoint = pair
            self._dirty = True

    def take(self) -> FileProgress | None:
        """What has not been written yet, once."""
        with self._lock:
            if not self._dirty:
                return None
            advanced, self._advanced, self._dirty = self._advanced, False, False
            return FileProgress(
                self._path, self._sessions, self._checkpoint, self._mark, self._sent, advanced
            )


class Rate:
    """Bytes per second over the last quarter of a minute."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()
        self._lock = threading.Lock()

    def add(self, boot_s: float, bytes_sent: int) -> float | None:
        """The rate including this sample of the running total; None before there are two."""
        with self._lock:
            self._samples.append((boot_s, bytes_sent))
            while boot_s - self._samples[0][0] > _WINDOW_S:
                self._samples.popleft()
            first_s, first = self._samples[0]
        return (bytes_sent - first) / (boot_s - first_s) if boot_s > first_s else None
