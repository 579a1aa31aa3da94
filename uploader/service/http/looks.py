"""Few folders are looked at at once: each takes memory and a thread, whoever asks how often."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore

from uploader.core.api_reasons import ApiCode
from uploader.service.http.problems import Refusal

#: A preflight may take 400 MB (docs/preflight.md), and a small machine has a GiB.
_AT_ONCE = 2
#: The server has forty threads for all that waits for the store or a disk.
_WAITING = 16
_PATIENCE_S = 10.0


class Looks:
    """The places of those requests that look at a folder."""

    def __init__(self) -> None:
        self._places = BoundedSemaphore(_AT_ONCE)
        self._queue = BoundedSemaphore(_AT_ONCE + _WAITING)

    @contextmanager
    def place(self) -> Iterator[None]:
        """Have one; wait for it up to ten seconds. Raises Refusal (`too_fast`)."""
        if not self._queue.acquire(blocking=False):
            raise _full()
        try:
            if not self._places.acquire(timeout=_PATIENCE_S):
                raise _full()
            try:
                yield
            finally:
                self._places.release()
        finally:
            self._queue.release()


def _full() -> Refusal:
    return Refusal(ApiCode.TOO_FAST, f"{_AT_ONCE} other folders are being looked at")
