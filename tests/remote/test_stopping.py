"""`StopToken.cut` ends a thread wherever it is (docs/architecture.md §6), on real sockets."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from urllib3.connection import HTTPConnection, HTTPSConnection

from tests.remote.conftest import Serve
from tests.remote.scripted import DEADLINE_S, Blocks, HandClock, Reply
from uploader.core.errors import LeaseLost, Stopped
from uploader.core.redact import SessionUri
from uploader.remote.sockets import SocketAdapter
from uploader.remote.storage import Storage
from uploader.runtime import StopToken

SIZE = 64 * 1024 * 1024
STALLS = Reply(read=0, stall=True)
Call = Callable[[Storage, SessionUri], object]


def send(storage: Storage, session: SessionUri) -> object:
    return storage.send(session, Blocks(bytes(SIZE)), 0, SIZE, SIZE)


def query(storage: Storage, session: SessionUri) -> object:
    return storage.query(session, SIZE)


class Caller(threading.Thread):
    def __init__(self, call: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self.call = call
        self.raised: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.call()
        except BaseException as error:  # noqa: BLE001 - it is what the test looks at
            self.raised = error

    def end(self) -> BaseException | None:
        """What it raised; it would hang for two minutes if nothing ended it."""
        self.join(DEADLINE_S)
        assert not self.is_alive()
        return self.raised


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"], indirect=True)
@pytest.mark.parametrize("call", [send, query])
def test_a_cut_ends_a_thread_in_sendall_and_one_waiting_for_an_answer(
    serve: Serve, call: Call
) -> None:
    stop, server = StopToken(), serve(STALLS)
    adapter = SocketAdapter(stop)
    storage, session = (
        Storage(HandClock(), adapter, plain=True),
        SessionUri(f"{server.base}/o?upload_id=U"),
    )
    caller = Caller(lambda: call(storage, session))
    assert server.arrived.wait(DEADLINE_S)
    caller.join(0.2)  # let it get stuck in the send or in the wait
    stop.cut()
    raised = caller.end()
    assert isinstance(raised, Stopped)
    assert raised.__cause__ is raised.__context__ is None
    assert not stop._sockets
    adapter.close()


def test_a_cut_ends_a_tls_handshake(stop: StopToken, adapter: SocketAdapter) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        session = SessionUri(f"https://127.0.0.1:{port}/o?upload_id=U")
        caller = Caller(lambda: query(Storage(HandClock(), adapter, plain=True), session))
        accepted, _ = silent.accept()
        with accepted:
            assert accepted.recv(1)  # the hello
            stop.cut()
            assert isinstance(caller.end(), Stopped)


def test_a_cut_while_connecting_is_not_missed(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, stop = serve(STALLS), StopToken()
    monkeypatch.setattr(stop, "watch", lambda _: stop.cut())
    adapter = SocketAdapter(stop)
    with pytest.raises(Stopped):
        query(Storage(HandClock(), adapter, plain=True), SessionUri(f"{server.base}/o"))
    assert not server.seen


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"], indirect=True)
def test_nothing_is_sent_if_the_lease_has_ended_in_the_handshake(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that cuts may not have had its turn yet: both were stopped, and go on."""
    lapsed: list[bool] = []
    server, stop = serve(Reply(200)), StopToken(lambda: bool(lapsed))
    agreed = HTTPConnection.connect, HTTPSConnection.connect
    for kind, connect in zip((HTTPConnection, HTTPSConnection), agreed, strict=True):

        def late(self: Any, connect: Callable[[Any], None] = connect) -> None:
            connect(self)
            lapsed.append(True)

        monkeypatch.setattr(kind, "connect", late)
    with closing(SocketAdapter(stop)) as adapter, pytest.raises((LeaseLost, Stopped)):
        query(Storage(HandClock(), adapter, plain=True), SessionUri(f"{server.base}/o"))
    assert lapsed
    assert not server.seen


def test_nothing_is_sent_once_the_token_is_stopped(
    serve: Serve, stop: StopToken, storage: Storage
) -> None:
    server = serve(Reply(200))
    stop.stop()
    with pytest.raises(Stopped):
        query(storage, SessionUri(f"{server.base}/o"))
    assert server.connections == 0


def test_an_idle_connection_is_watched_until_it_is_ended(
    serve: Serve, stop: StopToken, storage: Storage
) -> None:
    server = serve(Reply(308))
    query(storage, SessionUri(f"{server.base}/o"))
    assert len(stop._sockets) == 1
    storage.close()
    assert not stop._sockets


def test_a_cut_in_the_midst_of_an_answer_is_stopped_too(
    serve: Serve, stop: StopToken, storage: Storage
) -> None:
    half = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"
    server = serve(Reply(garbage=half, stall=True))
    caller = Caller(lambda: query(storage, SessionUri(f"{server.base}/o")))
    assert server.arrived.wait(DEADLINE_S)
    caller.join(0.2)  # let it get stuck in the second half
    stop.cut()
    assert isinstance(caller.end(), Stopped)


def test_nothing_queued_trickles_in_after_a_cut() -> None:
    """Another worker may be sending on that session by then (docs/architecture.md §6, §9)."""
    stop = StopToken()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        base = f"http://127.0.0.1:{listening.getsockname()[1]}"
        storage = Storage(HandClock(), SocketAdapter(stop), plain=True)
        caller = Caller(lambda: send(storage, SessionUri(f"{base}/o?upload_id=U")))
        connection, _ = listening.accept()
        caller.join(0.5)  # nobody reads: what fits is queued on both sides
        stop.cut()
        assert isinstance(caller.end(), Stopped)
        with connection, pytest.raises(ConnectionResetError):
            read_to_the_end(connection)


def read_to_the_end(connection: socket.socket) -> None:
    while connection.recv(1 << 20):
        pass
