"""One port of the sandbox on real sockets, on loopback only, with or without TLS."""

from __future__ import annotations

import socket
import ssl
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.client import LineTooLong
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from itertools import chain
from typing import Any

from uploader.sandbox.doors import own_hosts, refusal
from uploader.sandbox.faults import exchange
from uploader.sandbox.reading import Nonsense, body_length, check_target, read_fields
from uploader.sandbox.wire import (
    BLOCK_BYTES,
    Body,
    ConnectionCut,
    Request,
    Response,
    Route,
    head,
    json_response,
)
from uploader.sandbox.world import World

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_DRAIN_BYTES = 1 << 20
_LINGER_S = 2.0
#: Far more than a worker opens; each has a thread.
MAX_CONNECTIONS = 500
#: How long a client may be silent: before a request and within its head, and within its body.
HEAD_S = 120.0
_BODY_S = 600.0
#: For all lines of a head after the first.
_HEAD_BYTES = 64 * 1024
Routing = Callable[[World, Request], Route]


class Server(ThreadingHTTPServer):
    """One of the two services on a port of loopback, with a thread for each connection."""

    daemon_threads = False
    request_queue_size = 128

    def __init__(
        self,
        world: World,
        port: int,
        routing: Routing,
        announced: Callable[[], str],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        try:
            super().__init__(("127.0.0.1", port), _Connection)
        except OSError as error:  # its own words do not say which of the two ports it is
            raise OSError(f"port {port} of 127.0.0.1: {error.strerror}") from None
        self._tls = tls
        #: Called once the effect of an exchange has happened, before its answer goes out.
        self.after: Callable[[], object] = lambda: None
        self.world = world
        self.routing = routing
        self.announced = announced
        self.port: int = self.server_address[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        #: The oldest one first.
        self._live: dict[socket.socket, None] = {}
        #: Those that owe the head of a request, the one silent for longest first.
        self._silent: dict[socket.socket, None] = {}
        self._counting = threading.Lock()

    def get_request(self) -> Any:
        """The next connection, with TLS if the service has it."""
        connection, address = super().get_request()
        if self._tls is None:
            return connection, address
        # The connection's own thread does the handshake, because it may never come.
        wrapped = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return wrapped, address

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection; `disconnect` may end it from here on.

        One too many ends the one silent for longest, or the oldest if each is busy: who sends half
        a body, or reads no answer, keeps nobody out either.
        """
        with self._counting:
            full = len(self._live) >= MAX_CONNECTIONS
            longest = next(chain(self._silent, self._live), None) if full else None
            self._live[request] = self._silent[request] = None
        if longest is not None:
            self._forget(longest)
            _end(longest)
        super().process_request(request, client_address)

    def expect(self, request: Any) -> None:
        """A connection owes a request from now on."""
        with self._counting:
            if request in self._live:
                self._silent.pop(request, None)
                self._silent[request] = None

    def heard(self, request: Any) -> None:
        """The head of its request has come."""
        with self._counting:
            self._silent.pop(request, None)

    def _forget(self, request: Any) -> None:
        with self._counting:
            self._live.pop(request, None)
            self._silent.pop(request, None)

    def shutdown_request(self, request: Any) -> None:
        """End a connection: with a reset if a fault asked for it, else properly."""
        self._forget(request)
        if any(request.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, len(_RESET_ON_CLOSE))):
            request.close()  # without the FIN of an orderly shutdown: a reset
        else:
            super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print what a handler raised, except when a client has gone."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def disconnect(self) -> None:
        """End every connection, so that the threads serving them end."""
        with self._counting:
            live = list(self._live)
        for connection in live:
            _end(connection)


def _end(connection: socket.socket) -> None:
    """Let the thread of ``connection`` read its end."""
    with suppress(OSError):
        # Not the TLS socket's own: that one's thread is still reading from it.
        socket.socket.shutdown(connection, socket.SHUT_RDWR)


class _Connection(BaseHTTPRequestHandler):
    """One client connection; requests are answered by the pure core."""

    server: Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def handle_one_request(self) -> None:
        """Wait for a request, but not for ever, and answer it."""
        self.server.expect(self.connection)
        self.connection.settimeout(HEAD_S)
        super().handle_one_request()

    def parse_request(self) -> bool:
        """As of `BaseHTTPRequestHandler`, with a bound on the head."""
        whole, self.rfile = self.rfile, _Head(self.rfile)
        try:
            is_sound = super().parse_request()
        finally:
            self.rfile = whole
        if not is_sound:
            self._linger()
        return is_sound

    def _exchange(self) -> None:
        self.server.heard(self.connection)
        self.connection.settimeout(_BODY_S)
        try:
            request = self._request()
        except Nonsense as error:
            self._send(json_response(400, {"error": str(error)}), close=True)
            self._linger()
            return
        body = request.body
        try:
            response = self._answer(request)
        except ConnectionCut as cut:
            self._cut(reset=cut.reset)
            return
        if response.raw is not None:
            self._stream(response.raw)
            return
        unread = body.unread > _DRAIN_BYTES or "transfer-encoding" in request.headers
        self._send(response, close=unread or response.abrupt)
        if response.abrupt:
            self._cut(reset=False)
        elif unread:
            self._linger()
        else:
            while body.read():
                pass

    def _request(self) -> Request:
        """The request. Raises Nonsense."""
        if self.request_version == "HTTP/0.9" or self.headers.defects:
            raise Nonsense("the head of the request is malformed")
        check_target(self.path)
        headers = read_fields(self.headers.items())
        body = _SocketBody(self.rfile, body_length(headers))
        return Request(self.command, self.path, headers, body)

    def _answer(self, request: Request) -> Response:
        server = self.server
        if refused := refusal(request.headers, own_hosts(server.port, server.announced())):
            return refused
        try:
            return exchange(server.world, server.routing(server.world, request), request)
        finally:
            server.after()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _exchange  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Log nothing: a target may contain a secret."""

    def _send(self, response: Response, *, close: bool) -> None:
        length = len(response.body)
        self.wfile.write(head(response, length=length, close=close) + response.body)

    def _stream(self, raw: Iterator[bytes]) -> None:
        self.close_connection = True
        with suppress(OSError):
            for block in raw:
                self.wfile.write(block)

    def _cut(self, *, reset: bool) -> None:
        self.close_connection = True
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)

    def _linger(self) -> None:
        """Let a client that is still sending read the answer instead of a reset."""
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_WR)
        self.connection.settimeout(_LINGER_S)
        with suppress(OSError):
            while self.rfile.read1(BLOCK_BYTES):
                pass


class _Head(BufferedIOBase):
    """The lines of a head, for the parser of e-mail, to which a bare CR ends a line, too."""

    def __init__(self, whole: BufferedIOBase) -> None:
        self._whole = whole
        self._left = _HEAD_BYTES

    def readline(self, size: int | None = -1, /) -> bytes:
        """The next line. Raises LineTooLong for one that holds several, or too much of them."""
        line = self._whole.readline(size)
        self._left -= len(line)
        if self._left < 0 or b"\r" in line.removesuffix(b"\r\n"):
            raise LineTooLong("head")
        return line


class _SocketBody(Body):
    def __init__(self, stream: BufferedIOBase, length: int) -> None:
        super().__init__(length)
        self._stream = stream

    def _next(self, limit: int) -> bytes:
        # One recv at most: what has arrived is counted before a cut can take it away.
        try:
            return self._stream.read1(limit)
        except ssl.SSLError as error:
            raise ConnectionCut(reset=True) from error
