"""A peer of TLS that keeps a call busy, and gives nothing, is left in time."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.endless import Endless
from tests.remote.scripted import HandClock
from uploader.core.errors import RemoteError
from uploader.core.hooks import Undelivered
from uploader.core.redact import SessionUri
from uploader.core.verdict import Verdict
from uploader.remote import webhook
from uploader.remote.sockets import SocketAdapter
from uploader.remote.storage import Storage
from uploader.remote.trust import context
from uploader.runtime import StopToken, SystemClock

pytestmark = pytest.mark.timeout(60)
PATIENCE_S = 30.0
BYTES = 1 << 14


@pytest.fixture
def endless(tls: ssl.SSLContext, tmp_path: Path) -> Iterator[Endless]:
    with contextlib.closing(Endless(tls, tmp_path)) as server:
        yield server


@pytest.fixture
def secured(certificate: Path, stop: StopToken) -> Iterator[Storage]:
    """Storage that trusts the certificate by ``ca_bundle`` alone."""
    with contextlib.closing(SocketAdapter(stop, lambda: context(certificate))) as adapter:
        yield Storage(HandClock(), adapter, plain=True)


def test_storage_that_sends_tickets_without_an_end_stalls(
    endless: Endless, secured: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uploader.remote.storage._TIMEOUT", (1.0, 0.4))
    with pytest.raises(RemoteError, match="stalled and the exchange timed out") as caught:
        secured.query(SessionUri(f"{endless.base}/o?upload_id=U"), 1)
    assert caught.value.verdict is Verdict.TRANSIENT
    assert endless.sent_bytes > 1 << 20


def test_a_receiver_that_sends_tickets_without_an_end_is_told_later(
    endless: Endless, certificate: Path
) -> None:
    with (
        webhook.Receiver(context(certificate), 0.4, private=False) as receiver,
        pytest.raises(Undelivered, match=r"127\.0\.0\.1 does not answer \(ReadTimeout\)"),
    ):
        webhook.send(receiver, f"{endless.base}/", b"{}", {}, SystemClock(), 0.4)
    assert endless.sent_bytes > 1 << 20


class DrippingProxy:
    """By TLS; drips a record of the tunnel's other end, at once or in place of an answer."""

    def __init__(self, tls: ssl.SSLContext, *, says_hello: bool) -> None:
        self._tls = tls
        self._says_hello = says_hello
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.base = f"https://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._over.set()
        self._listener.close()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        connection.settimeout(PATIENCE_S)
        with (
            contextlib.suppress(OSError),
            self._tls.wrap_socket(connection, server_side=True) as outer,
        ):
            assert outer.recv(65536).startswith(b"CONNECT 127.0.0.1:9 ")
            outer.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            if self._says_hello:
                self._agree(outer)
            outer.sendall(b"\x17\x03\x03" + BYTES.to_bytes(2))
            while not self._over.wait(0.1):
                outer.sendall(b"x")

    def _agree(self, outer: ssl.SSLSocket) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        within = self._tls.wrap_bio(incoming, outgoing, server_side=True)
        for step in (within.do_handshake, within.read):
            while not self._is_done(step):
                outer.sendall(outgoing.read())
                incoming.write(outer.recv(65536))

    def _is_done(self, step: Callable[[], object]) -> bool:
        try:
            step()
        except ssl.SSLWantReadError:
            return False
        return True


@pytest.mark.parametrize("says_hello", [False, True], ids=["in the handshake", "in the answer"])
def test_within_tls_to_a_proxy_a_record_that_drips_stalls(
    tls: ssl.SSLContext, secured: Storage, monkeypatch: pytest.MonkeyPatch, says_hello: bool
) -> None:
    """The proxy's own certificate is one of ``ca_bundle``, too."""
    monkeypatch.setattr("uploader.remote.storage._TIMEOUT", (1.0, 0.4))
    monkeypatch.setattr("uploader.remote.sockets._AGREEING_FACTOR", 0.04)
    with contextlib.closing(DrippingProxy(tls, says_hello=says_hello)) as proxy:
        monkeypatch.setenv("https_proxy", proxy.base)
        monkeypatch.setenv("no_proxy", "")
        monkeypatch.setattr("uploader.remote.client.is_loopback", lambda _: False)
        with pytest.raises(RemoteError, match="stalled and the exchange timed out") as caught:
            secured.query(SessionUri("https://127.0.0.1:9/o?upload_id=U"), 1)
    assert caught.value.verdict is Verdict.TRANSIENT
