"""One TCP port in front of another: the network between the workers and the sandbox.

The sandbox keeps its objects in memory, so it cannot be killed; its network can.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

_BLOCK_BYTES = 256 * 1024
_POLL_S = 0.05
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Proxy:
    """Passes bytes on until it is told to cut, hold, slow down or refuse them."""

    def __init__(self, target: str) -> None:
        self._target = urlsplit(target)
        #: Bound and never listening: the port stays ours while the proxy refuses connections.
        self._reserved = _bound(0)
        self.port: int = self._reserved.getsockname()[1]
        self.flowing = threading.Event()
        self.flowing.set()
        #: How often a block has come meanwhile.
        self.held = 0
        #: Bytes per second of each connection; 0 = as they come.
        self.pace_bps = 0
        self.connections: set[_Connection] = set()
        self._listener: _Listener | None = None
        self.reopen()

    @property
    def url(self) -> str:
        return f"{self._target.scheme}://127.0.0.1:{self.port}"

    @property
    def target_port(self) -> int:
        return self._target.port or 0

    def cut(self, *, reset: bool) -> int:
        """End every connection; how many there were."""
        connections = list(self.connections)
        for connection in connections:
            connection.end(reset=reset)
        return len(connections)

    def refuse(self) -> int:
        """From now on connections are refused, and those that were open have ended."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        return self.cut(reset=True)

    def reopen(self) -> None:
        if self._listener is None:
            self._listener = _Listener(self)

    def close(self) -> None:
        self.refuse()
        self.flowing.set()
        self._reserved.close()


@contextmanager
def before(database_url: str) -> Iterator[tuple[Proxy, str]]:
    """A proxy in front of a database of this machine, and the URL that leads through it."""
    port = urlsplit(database_url).port
    proxy = Proxy(f"tcp://127.0.0.1:{port}")
    try:
        yield proxy, database_url.replace(f":{port}/", f":{proxy.port}/")
    finally:
        proxy.close()


class _Listener:
    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._closed = threading.Event()
        self._socket = _bound(proxy.port)
        self._socket.listen(128)
        self._socket.settimeout(_POLL_S)  # closing a socket does not wake who accepts on it
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        self._thread.join()
        self._socket.close()

    def _accept(self) -> None:
        while not self._closed.is_set():
            with suppress(TimeoutError):
                client, _ = self._socket.accept()
                _connect(self._proxy, client)


def _connect(proxy: Proxy, client: socket.socket) -> None:
    try:
        server = socket.create_connection(("127.0.0.1", proxy.target_port))
    except OSError:
        client.close()
        return
    for end in (client, server):
        end.settimeout(None)
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    _Connection(proxy, client, server).start()


class _Connection:
    """One connection: two sockets, and a thread for each direction."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._directions = 2

    def start(self) -> None:
        self._proxy.connections.add(self)
        for ends in ((self._client, self._server), (self._server, self._client)):
            threading.Thread(target=self._pass_on, args=ends, daemon=True).start()

    def end(self, *, reset: bool) -> None:
        """Wake both threads, the last of which closes. Bytes on their way are lost."""
        with self._lock:
            if not self._directions:
                return
            self._ended.set()
            with suppress(OSError):
                if reset:
                    for end in (self._client, self._server):
                        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                # The client's side only stops reading: a FIN would come before the reset.
                self._client.shutdown(socket.SHUT_RD if reset else socket.SHUT_RDWR)
            with suppress(OSError):
                self._server.shutdown(socket.SHUT_RDWR)

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while block := source.recv(_BLOCK_BYTES):
                self._wait(len(block))
                sink.sendall(block)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            self.end(reset=True)
        finally:
            self._leave()

    def _wait(self, count: int) -> None:
        """Held back as long as the proxy is; raises ConnectionError if it was cut."""
        pace_bps = self._proxy.pace_bps
        if pace_bps:
            self._ended.wait(count / pace_bps)
        self._proxy.held += not self._proxy.flowing.is_set()
        while not self._proxy.flowing.wait(_POLL_S) and not self._ended.is_set():
            pass
        if self._ended.is_set():
            raise ConnectionResetError

    def _leave(self) -> None:
        with self._lock:
            self._directions -= 1
            if not self._directions:
                self._proxy.connections.discard(self)
                self._client.close()
                self._server.close()


def _bound(port: int) -> socket.socket:
    """A socket on a port that others of this process may be bound to, too."""
    found = socket.socket()
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    found.bind(("127.0.0.1", port))
    return found
