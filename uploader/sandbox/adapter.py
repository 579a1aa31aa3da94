"""Both services inside one process: a requests transport adapter over the pure core."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPException, HTTPResponse
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import BaseAdapter, HTTPAdapter

from uploader.sandbox import control, storage
from uploader.sandbox.faults import exchange
from uploader.sandbox.wire import Body, Headers, Request, Response
from uploader.sandbox.world import World

#: A client on a socket limits what it reads; inside one process this does so instead.
_ENDLESS_BYTES = 8 << 20
Boundary = Callable[[str], object]


class InProcessAdapter(BaseAdapter):
    """Mount it on `http://`: answers for `world.base_url` and `world.storage_url`, no sockets.

    A body is None, str, bytes, or an object with `__len__` and `read(n)`, whose blocks may be
    longer than asked for. `boundary` is called with "<on> before" and "<on> after" around the
    effect of every exchange and with "<on> block" before each block of a body is read, `on` being
    the script's word. What it raises reaches the caller, like a crash: bytes that arrived are kept
    down to a granule, and an effect is not undone. Never called under a lock. Raises
    requests.exceptions.ConnectionError if the connection would break.
    """

    def __init__(self, world: World, boundary: Boundary = lambda _: None) -> None:
        super().__init__()
        self._world = world
        self._boundary = boundary

    def send(
        self, request: requests.PreparedRequest, *_: Any, **_options: Any
    ) -> requests.Response:
        """One exchange; timeouts, TLS and proxies have no meaning here."""
        try:
            return _received(request, self._exchange(request))
        except requests.RequestException:
            raise
        except ConnectionError as error:
            raise requests.exceptions.ConnectionError(error, request=request) from error

    def close(self) -> None:
        """Does nothing: there is nothing to close."""

    def _exchange(self, prepared: requests.PreparedRequest) -> Response:
        split = urlsplit(prepared.url or "")
        address = f"{split.scheme}://{split.netloc}"
        services = {self._world.base_url: control, self._world.storage_url: storage}
        if address not in services:
            raise requests.exceptions.ConnectionError(f"nothing listens on {address}")
        body = _ClientBody(prepared.body)
        headers = Headers([("Host", split.netloc), *_texts(prepared.headers)])
        target = f"{split.path or '/'}?{split.query}" if split.query else split.path or "/"
        request = Request(prepared.method or "GET", target, headers, body)
        route = services[address].route(self._world, request)
        body.boundary = lambda: self._boundary(f"{route.on} block")
        self._boundary(f"{route.on} before")
        try:
            answer = exchange(self._world, route, request)
        except ConnectionError:
            self._boundary(f"{route.on} after")
            raise
        self._boundary(f"{route.on} after")
        return answer


class _ClientBody(Body):
    def __init__(self, source: Any) -> None:
        if source is None or isinstance(source, (str, bytes)):
            source = io.BytesIO(source.encode() if isinstance(source, str) else source or b"")
            super().__init__(len(source.getbuffer()))
        else:
            super().__init__(len(source))
        self._source = source
        self._left_over = b""
        self.boundary: Callable[[], object] = lambda: None

    def _next(self, limit: int) -> bytes:
        if not self._left_over:
            self.boundary()
            self._left_over = self._source.read(limit)
        block, self._left_over = self._left_over[:limit], self._left_over[limit:]
        return block


def _texts(headers: Mapping[str, str | bytes]) -> list[tuple[str, str]]:
    return [(k, v.decode("latin-1") if isinstance(v, bytes) else v) for k, v in headers.items()]


def _received(request: requests.PreparedRequest, answer: Response) -> requests.Response:
    if answer.raw is not None:
        return _parsed(request, answer.raw)
    response = requests.Response()
    response.status_code = answer.status
    response.headers.update({**answer.headers, "content-length": str(len(answer.body))})
    response.raw = io.BytesIO(answer.body)
    response.url = request.url or ""
    response.request = request
    return response


def _parsed(request: requests.PreparedRequest, raw: Iterator[bytes]) -> requests.Response:
    """What a client on a socket would read from these bytes."""
    wire = _Wire(raw)
    reply = HTTPResponse(wire, method=request.method)  # type: ignore[arg-type]
    try:
        reply.begin()
    except HTTPException as error:
        raise ConnectionError(error) from error
    if reply.length is None:
        wire.left_bytes = _ENDLESS_BYTES
    body = urllib3.HTTPResponse(
        body=reply,
        headers=dict(reply.msg.items()),
        status=reply.status,
        preload_content=False,
        decode_content=False,
        request_method=request.method,
    )
    return HTTPAdapter().build_response(request, body)


class _Wire(io.RawIOBase):
    """Bytes from an iterator, as the socket that http.client asks for a file."""

    def __init__(self, raw: Iterator[bytes]) -> None:
        self._raw = raw
        self._left_over = b""
        #: How many bytes may still be read, if the answer has no end.
        self.left_bytes: int | None = None

    def makefile(self, *_: Any) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._left_over:
            self._left_over = next(self._raw, b"")
        count = min(len(buffer), len(self._left_over))
        if self.left_bytes is not None:
            self.left_bytes -= count
            if self.left_bytes < 0:
                raise ConnectionResetError("an answer without end")
        buffer[:count], self._left_over = self._left_over[:count], self._left_over[count:]
        return count
