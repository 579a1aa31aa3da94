"""How an answer is read: within bounds of bytes and seconds, whatever the server sends.

The bound lies below HTTP, so that it counts everything that arrives: status lines, headers,
interim answers without end, chunk sizes, trailers, and the body as it is on the wire.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from typing import Any

import requests

from uploader.deadlines import Deadline

#: Storage answers are short; the control plane sends one signed URL of some 1.5 KB per file.
MAX_STORAGE_BYTES = 1 << 20
MAX_CONTROL_BYTES = 32 << 20
#: For the head alone, interim answers included: a signed address, if one is long, has 8 KiB.
MAX_HEAD_BYTES = 64 * 1024
#: An answer may take as long as its first byte, and longer only if this many bytes a second arrive:
#: slow is not stalled (docs/architecture.md §7). Even then it ends after twice that time.
_SLOWEST_BPS = 8192.0
_LONGEST_FACTOR = 2.0
_BLOCK_BYTES = 64 * 1024
#: This many chunks of 134 bytes make the longest answer. With chunks of two bytes it would have
#: millions: reading them takes seconds of a processor.
_MAX_CHUNKS = 250_000
_PLAIN = "text/plain"


class AnswerTooLarge(OSError):
    """More arrived than any valid answer contains."""


class AnswerEncoded(OSError):
    """A body has an encoding that was not asked for: it could unpack to any size."""


class BoundedAnswer(HTTPResponse):
    """http.client's answer, on a stream with an end of its own, without what costs more to read.

    A head is read by the parser of e-mail, which takes what follows an odd line for a body: its
    parts may lie in one another, each with a boundary of its own, and take minutes. So the first
    kind of content that it sees is ours. Cookies are dropped before anybody makes objects of them.
    """

    def __init__(
        self, sock: Any, *args: Any, max_bytes: int, now_s: Callable[[], float], **kwargs: Any
    ) -> None:
        super().__init__(sock, *args, **kwargs)
        self._max_bytes = max_bytes
        self._stream = _BoundedStream(self.fp.detach(), sock, MAX_HEAD_BYTES, now_s)
        self.fp = self._lines = _Lines(self._stream)

    def begin(self) -> None:
        """As of `HTTPResponse`: reads the head."""
        super().begin()
        _, *kinds = self.headers.get_all("Content-Type", [_PLAIN])
        for name in ("Content-Type", "Set-Cookie", "Set-Cookie2"):
            del self.headers[name]
        for kind in kinds:
            self.headers["Content-Type"] = kind
        self._stream.max_bytes = self._max_bytes

    def _read_status(self) -> Any:
        """http.client passes over 100 only, and would take any other interim answer for the last.

        Proxies may send others, asked or not (RFC 9110 §15.2): 102, 103, 104.
        """
        version, status, reason = super()._read_status()  # type: ignore[misc]
        is_interim = status // 100 == 1 and status != HTTPStatus.SWITCHING_PROTOCOLS
        self._lines.first = f"Content-Type: {_PLAIN}\r\n".encode()
        return version, HTTPStatus.CONTINUE if is_interim else status, reason


class _Lines(io.BufferedReader):
    """Gives the line ``first`` before all that arrives from then on."""

    first = b""

    def readline(self, size: int | None = -1, /) -> bytes:
        line, self.first = self.first, b""
        return line or super().readline(size)


class _BoundedStream(io.RawIOBase):
    """Raises AnswerTooLarge after ``max_bytes``, TimeoutError once its time is up."""

    def __init__(
        self, raw: io.RawIOBase, sock: Any, max_bytes: int, now_s: Callable[[], float]
    ) -> None:
        self._raw = raw
        self._sock = sock
        self._socket = getattr(sock, "socket", sock)  # of TLS within TLS, the outer one
        self.max_bytes = max_bytes
        self._now_s = now_s
        self._came_bytes = 0
        self._wait_s: float | None = sock.gettimeout()
        self._began_s = now_s()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._wait_s is None:
            count = self._raw.readinto(buffer)
        else:
            left_s = self._began_s + self._may_take_s(self._wait_s) - self._now_s()
            if left_s <= 0:
                raise TimeoutError("the answer did not end in time")
            wait_s = min(self._wait_s, left_s)
            self._sock.settimeout(wait_s)
            with Deadline(self._socket, wait_s):
                count = self._raw.readinto(buffer)
        self._came_bytes += count or 0
        if self._came_bytes > self.max_bytes:
            raise AnswerTooLarge
        return count

    def _may_take_s(self, wait_s: float) -> float:
        """One deadline for the whole answer; what drips in does not move it."""
        return min(wait_s + self._came_bytes / _SLOWEST_BPS, _LONGEST_FACTOR * wait_s)

    def close(self) -> None:
        self._raw.close()
        super().close()


def read_whole(response: requests.Response) -> None:
    """Read the body as it was sent.

    Raises AnswerEncoded, AnswerTooLarge, and HTTPException for an odd chunk.
    """
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        response.close()
        raise AnswerEncoded
    body = io.BytesIO()
    # As requests does it, but without one read of as many bytes as a server announces, and without
    # an object for each chunk, which takes twenty times a chunk of two bytes.
    blocks = response.raw.stream(_BLOCK_BYTES, decode_content=False)
    try:
        for count, block in enumerate(blocks):
            if count == _MAX_CHUNKS:
                response.close()
                raise AnswerTooLarge
            body.write(block)
    except ValueError as odd:  # a size below zero, which urllib3 takes for a number
        raise HTTPException("a chunk's size is not one") from odd
    response._content = body.getvalue()  # noqa: SLF001 - `iter_content` would decode
    response._content_consumed = True  # type: ignore[attr-defined]  # noqa: SLF001
