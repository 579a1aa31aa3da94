"""The sandbox on real sockets, loopback only: `python -m uploader.sandbox.server`."""

from __future__ import annotations

import argparse
import json
import signal
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from uploader.sandbox import control, storage
from uploader.sandbox.doors import own_hosts, refusal
from uploader.sandbox.faults import exchange
from uploader.sandbox.reading import Nonsense, body_length, check_target, read_fields
from uploader.sandbox.script import read_script
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
_POLL_S = 0.01
_Routing = Callable[[World, Request], Route]


class Sandbox:
    """Both services in threads of this process, for as long as the context lasts.

    `port` is the control port (0 = any free one); storage takes any free port. The rest is
    World's: `data_dir`, `faults`, `seed`, `now`, `sleep` and the switches of Config.
    """

    def __init__(self, *, port: int = 0, **world_options: Any) -> None:
        self.world = World(**world_options)
        world = self.world
        self._servers = [
            _Server(port, world, control.route, lambda: world.base_url),
            _Server(0, world, storage.route, lambda: world.storage_url),
        ]
        world.base_url, world.storage_url = (server.url for server in self._servers)
        self._threads = [
            threading.Thread(target=server.serve_forever, args=(_POLL_S,), daemon=True)
            for server in self._servers
        ]

    @property
    def base_url(self) -> str:
        return self.world.base_url

    @property
    def storage_url(self) -> str:
        return self.world.storage_url

    @property
    def api_key(self) -> str:
        return self.world.config.api_key

    @property
    def account_id(self) -> str:
        return self.world.config.account_id

    @property
    def control_token(self) -> str:
        """What `/_sandbox/` wants as a bearer token."""
        return self.world.control_token

    def report(self) -> dict[str, Any]:
        """The counters of World.report()."""
        return self.world.report()

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.world.stopping.set()
        for server, thread in zip(self._servers, self._threads, strict=True):
            server.shutdown()
            thread.join()
            server.disconnect()
            server.server_close()


def serve(
    port: int = 0,
    data_dir: Path | str | None = None,
    faults: Iterable[dict[str, Any]] | None = None,
    seed: int = 0,
    **switches: Any,
) -> None:
    """Serve until SIGINT or SIGTERM; call it in the main thread.

    Prints one line of JSON when it listens: base_url, storage_url, api_key, account_id,
    control_token.
    Raises OSError where the port is taken, ScriptError or ValueError for wrong options.
    """
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    options = {"data_dir": data_dir, "faults": faults, "seed": seed, **switches}
    with Sandbox(port=port, **options) as box:
        names = ("base_url", "storage_url", "api_key", "account_id", "control_token")
        sys.stdout.write(json.dumps({name: getattr(box, name) for name in names}) + "\n")
        sys.stdout.flush()
        ended.wait()


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 128

    def __init__(
        self, port: int, world: World, routing: _Routing, announced: Callable[[], str]
    ) -> None:
        super().__init__(("127.0.0.1", port), _Connection)
        self.world = world
        self.routing = routing
        self.announced = announced
        self.port: int = self.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._live: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._live.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._live.discard(request)
        if any(request.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, len(_RESET_ON_CLOSE))):
            request.close()  # without the FIN of an orderly shutdown: a reset
        else:
            super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def disconnect(self) -> None:
        """End every connection, so that the threads serving them end."""
        for connection in list(self._live):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Connection(BaseHTTPRequestHandler):
    """One client connection; requests are answered by the pure core."""

    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def _exchange(self) -> None:
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
        """What was asked for. Raises Nonsense."""
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
        return exchange(server.world, server.routing(server.world, request), request)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _exchange  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Nothing: a target may hold a secret."""

    def _send(self, response: Response, *, close: bool) -> None:
        length = len(response.body)
        self.wfile.write(head(response, length=length, close=close) + response.body)

    def _stream(self, raw: Iterator[bytes]) -> None:
        self.close_connection = True
        with suppress(ConnectionError):
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
        with suppress(TimeoutError):
            while self.rfile.read1(BLOCK_BYTES):
                pass


class _SocketBody(Body):
    def __init__(self, stream: BufferedIOBase, length: int) -> None:
        super().__init__(length)
        self._stream = stream

    def _next(self, limit: int) -> bytes:
        # One recv at most: what has arrived is counted before a cut can take it away.
        return self._stream.read1(limit)


def main() -> None:
    """The command line of `python -m uploader.sandbox.server`."""
    parser = argparse.ArgumentParser(prog="uploader.sandbox", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="control port; 0 = any free one")
    parser.add_argument("--data-dir", type=Path, help="where objects appear as files")
    parser.add_argument("--faults", help="a file with a fault script, or the JSON itself")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    try:
        serve(options.port, options.data_dir, read_script(options.faults), options.seed)
    except (OSError, ValueError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
