"""What is lost within a proxy's tunnel was sent: it is not a proxy that cannot be reached."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.remote.scripted import HandClock
from uploader.core.errors import RemoteError
from uploader.core.redact import SessionUri
from uploader.remote.sockets import SocketAdapter
from uploader.remote.storage import Storage
from uploader.remote.trust import context
from uploader.runtime import StopToken

PATIENCE_S = 30.0
_RESET = b"\1" + b"\0" * 7
#: How far an exchange comes.
ENDS = ("the tunnel", "the handshake", "the request")


class Tunnel:
    """A proxy that plays the server of its tunnel, too, and hangs up after one of `ENDS`."""

    def __init__(self, tls: ssl.SSLContext, end: str, *, reset: bool) -> None:
        self._tls, self._end, self._reset = tls, end, reset
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.base = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                connection.settimeout(PATIENCE_S)
                if self._reset:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                with connection, contextlib.suppress(OSError):
                    self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        assert connection.recv(65_536).startswith(b"CONNECT 127.0.0.1:9 ")
        if self._end == "the tunnel":
            return
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        if self._end == "the handshake":
            connection.recv(65_536)
            return
        with self._tls.wrap_socket(connection, server_side=True) as within:
            assert within.recv(65_536)


@pytest.fixture
def secured(
    certificate: Path, stop: StopToken, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Storage]:
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setattr("uploader.remote.client.is_loopback", lambda _: False)
    with contextlib.closing(SocketAdapter(stop, lambda: context(certificate))) as adapter:
        yield Storage(HandClock(), adapter, plain=True)


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("end", ENDS)
def test_what_was_sent_through_a_proxy_may_go_on(
    tls: ssl.SSLContext,
    secured: Storage,
    monkeypatch: pytest.MonkeyPatch,
    end: str,
    *,
    reset: bool,
) -> None:
    with contextlib.closing(Tunnel(tls, end, reset=reset)) as proxy:
        monkeypatch.setenv("https_proxy", proxy.base)
        with pytest.raises(RemoteError) as caught:
            secured.query(SessionUri("https://127.0.0.1:9/o?upload_id=U"), 1)
    assert caught.value.may_go_on
    assert "proxy" not in caught.value.message


def test_nothing_was_sent_through_a_proxy_that_is_not_there(
    secured: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    with pytest.raises(RemoteError, match="the proxy on the way to") as caught:
        secured.query(SessionUri("https://127.0.0.1:9/o?upload_id=U"), 1)
    assert not caught.value.may_go_on
