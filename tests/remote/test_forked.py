"""A connection ends with its process, although a child that was forked meanwhile lives."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from tests.forking import PATIENCE_S, Forking, forking
from uploader.sandbox.folder import DataFolder
from uploader.sandbox.tls import Authority

__all__ = ["forking"]
_T = TypeVar("_T")
_REQUEST = """
import requests
session = requests.Session()
session.mount("http://", SocketAdapter(StopToken()))
def ask():
    print(session.get(place).status_code, flush=True)
threading.Thread(target=ask, daemon=True).start()
wait_for_fork()
"""


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE_S)
        yield server


@pytest.fixture
def asked(
    server: socket.socket, forking: Callable[[str, str], Forking]
) -> Iterator[tuple[Forking, socket.socket]]:
    """A process that has forked while it waits for an answer, and the connection to it."""
    parent = forking(_REQUEST, f"http://127.0.0.1:{server.getsockname()[1]}/")
    connection, _ = server.accept()
    with connection:
        connection.settimeout(PATIENCE_S)
        assert connection.recv(65536)
        parent.fork()
        yield parent, connection


def test_a_connection_ends_with_its_process_although_its_child_lives(
    asked: tuple[Forking, socket.socket],
) -> None:
    parent, connection = asked
    parent.kill_parent()
    with contextlib.suppress(ConnectionResetError):
        assert connection.recv(1) == b""


def test_a_child_ends_no_connection_of_its_parent(asked: tuple[Forking, socket.socket]) -> None:
    parent, connection = asked
    connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert parent.line() == "204"


class TlsWithinTls:
    """A proxy with TLS that plays the server of its tunnel, too, at the other end of more TLS."""

    def __init__(self, outer: ssl.SSLSocket) -> None:
        self._outer = outer
        assert self._outer.recv(65536).startswith(b"CONNECT localhost:443 ")
        self._outer.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        within = outer.context
        self._inner = within.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._until(self._inner.do_handshake)
        assert self._until(self._inner.read).startswith(b"GET / ")

    def _until(self, done: Callable[[], _T]) -> _T:
        while True:
            try:
                return done()
            except ssl.SSLWantReadError:
                if self._outgoing.pending:
                    self._outer.sendall(self._outgoing.read())
                if not (received := self._outer.recv(65536)):
                    raise ConnectionResetError from None
                self._incoming.write(received)

    def answer(self) -> None:
        self._inner.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        self._outer.sendall(self._outgoing.read())

    def has_ended(self) -> bool:
        try:
            return not self._until(self._inner.read)
        except (ConnectionResetError, ssl.SSLError):
            return True


_THROUGH_TLS = """
import requests
authority, proxy = place.split()
session = requests.Session()
context = lambda: trust.context(Path(authority))
session.mount("https://", SocketAdapter(StopToken(), context))
def ask():
    proxies = {"https": proxy}
    print(session.get("https://localhost/", proxies=proxies).status_code, flush=True)
threading.Thread(target=ask, daemon=True).start()
wait_for_fork()
"""


@pytest.fixture
def tunnelled(
    server: socket.socket,
    forking: Callable[[str, str], Forking],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[tuple[Forking, TlsWithinTls]]:
    """As `asked`, through a proxy that is spoken to by TLS."""
    authority = Authority(DataFolder(tmp_path / "tls"))
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    proxy = f"https://localhost:{server.getsockname()[1]}"
    parent = forking(_THROUGH_TLS, f"{authority.file} {proxy}")
    connection, _ = server.accept()
    connection.settimeout(PATIENCE_S)
    with authority.server_context().wrap_socket(connection, server_side=True) as outer:
        tunnel = TlsWithinTls(outer)
        parent.fork()
        yield parent, tunnel


def test_a_connection_within_tls_to_a_proxy_ends_with_its_process_although_its_child_lives(
    tunnelled: tuple[Forking, TlsWithinTls],
) -> None:
    parent, tunnel = tunnelled
    parent.kill_parent()
    assert tunnel.has_ended()


def test_a_child_ends_no_tls_of_its_parent(tunnelled: tuple[Forking, TlsWithinTls]) -> None:
    parent, tunnel = tunnelled
    tunnel.answer()
    assert parent.line() == "204"
