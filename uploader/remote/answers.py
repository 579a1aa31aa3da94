"""How an answer is read: within bounds of bytes and seconds, whatever the server sends.

The bound lies below HTTP, so that it counts everything that arrives: status lines, headers,
interim answers without end, chunk sizes, trailers, and the body as it is on the wire.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from http import HTTPStatus
from http.client import HTTPResponse
from typing import Any

import requests

#: Storage answers are short; the control plane sends one signed URL of some 1.5 KB per file.
MAX_STORAGE_BYTES = 1 << 20
MAX_CONTROL_BYTES = 32 << 20
#: An answer may take as long as its first byte, and longer only if so many bytes a second arrive:
#: slow is not stalled (docs/architecture.md §7). Even then it ends after twice that time.
_SLOWEST_BPS = 8192.0
_LONGEST_FACTOR = 2.0
_BLOCK_BYTES = 64 * 1024


class AnswerTooLarge(OSError):
    """More arrived than any valid answer contains."""


class AnswerEncoded(OSError):
    """A body has an encoding that was not asked for: it could unpack to any size."""


class BoundedAnswer(HTTPResponse):
    """http.client's answer, on a stream with an end of its own."""

    def __init__(
        self, sock: Any, *args: Any, max_bytes: int, now_s: Callable[[], float], **kwargs: Any
    ) -> None:
        super().__init__(sock, *args, **kwargs)
        raw = self.fp.detach()
        self.fp = io.BufferedReader(_BoundedStream(raw, sock, max_bytes, now_s))

    def _read_status(self) -> Any:
        """http.client passes over 100 only, and would take any other interim answer for the last.

        Proxies may send others, asked or not (RFC 9110 §15.2): 102, 103, 104.
        """
        version, status, reason = super()._read_status()  # type: ignore[misc]
        is_interim = status // 100 == 1 and status != HTTPStatus.SWITCHING_PROTOCOLS
        return version, HTTPStatus.CONTINUE if is_interim else status, reason


class _BoundedStream(io.RawIOBase):
    """Raises AnswerTooLarge after ``max_bytes``, TimeoutError once its time is up."""

    def __init__(
        self, raw: io.RawIOBase, sock: Any, max_bytes: int, now_s: Callable[[], float]
    ) -> None:
        self._raw = raw
        self._sock = sock
        self._max_bytes = max_bytes
        self._now_s = now_s
        self._came_bytes = 0
        self._wait_s: float | None = sock.gettimeout()
        self._began_s = now_s()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._wait_s is not None:
            left_s = self._began_s + self._may_take_s(self._wait_s) - self._now_s()
            if left_s <= 0:
                raise TimeoutError("the answer did not end in time")
            self._sock.settimeout(min(self._wait_s, left_s))
        count = self._raw.readinto(buffer)
        self._came_bytes += count or 0
        if self._came_bytes > self._max_bytes:
            raise AnswerTooLarge
        return count

    def _may_take_s(self, wait_s: float) -> float:
        """One deadline for the whole answer; what drips in does not move it."""
        return min(wait_s + self._came_bytes / _SLOWEST_BPS, _LONGEST_FACTOR * wait_s)

    def close(self) -> None:
        self._raw.close()
        super().close()


def read_whole(response: requests.Response) -> None:
    """Read the body as it was sent. Raises AnswerEncoded."""
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        response.close()
        raise AnswerEncoded
    blocks = response.raw.stream(_BLOCK_BYTES, decode_content=False)
    # As requests does it, but without one read of as many bytes as a server announces.
    response._content = b"".join(blocks)  # noqa: SLF001 - `iter_content` would decode
    response._content_consumed = True  # type: ignore[attr-defined]  # noqa: SLF001
