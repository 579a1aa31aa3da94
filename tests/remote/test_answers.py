"""Whatever a server sends, an answer ends: in memory, in time, and without a surprise inside."""

from __future__ import annotations

import gzip
import io
import resource
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.linear import cpu_s, peak_bytes
from tests.remote.conftest import Serve
from tests.remote.scripted import DEADLINE_S, HandClock, Reply
from uploader.core.errors import RemoteError
from uploader.core.redact import SessionUri
from uploader.core.resumable import Confirmed
from uploader.core.verdict import Verdict
from uploader.remote.answers import _BoundedStream
from uploader.remote.http import Session
from uploader.remote.sockets import SocketAdapter
from uploader.remote.storage import Storage
from uploader.remote.trust import context
from uploader.runtime import StopToken
from uploader.sandbox.server import Sandbox

MIB = 1 << 20
HEAD = b"HTTP/1.1 200 OK\r\n"


class Flood:
    """Answers each request with ``pieces`` until the client hangs up; ``sent`` counts bytes."""

    def __init__(self, pieces: Callable[[], Iterator[bytes]], pause_s: float = 0.0) -> None:
        self.sent = 0
        self._pieces = pieces
        self._pause_s = pause_s
        self._end = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def session(self) -> SessionUri:
        return SessionUri(f"http://127.0.0.1:{self._listener.getsockname()[1]}/o?upload_id=U")

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection, suppress(OSError):
            connection.recv(65536)
            for piece in self._pieces():
                connection.sendall(piece)
                self.sent += len(piece)
                if self._end.wait(self._pause_s):
                    return

    def close(self) -> None:
        self._end.set()
        self._listener.close()
        self._thread.join(DEADLINE_S)


def without_end(start: bytes, piece: bytes) -> Callable[[], Iterator[bytes]]:
    def pieces() -> Iterator[bytes]:
        yield start
        while True:
            yield piece

    return pieces


FLOODS = {
    "a body without an end": without_end(HEAD + b"\r\n", b"x" * 65536),
    "a body as long as it says": without_end(
        HEAD + b"Content-Length: 99999999999999\r\n\r\n", b"x" * 65536
    ),
    "chunks without an end": without_end(
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b"x" * 65536 + b"\r\n"
    ),
    "a chunk's size without an end": without_end(
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"0" * 65536
    ),
    "a header without an end": without_end(HEAD + b"A: ", b"x" * 65536),
    "headers without an end": without_end(HEAD, b"A: " + b"x" * 60000 + b"\r\n"),
    "interim answers without an end": without_end(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
    "a status without an end": without_end(b"HTTP/1.1 200 ", b"x" * 65536),
}


@pytest.mark.parametrize("flood", FLOODS)
def test_no_answer_fills_the_memory(flood: str, stop: StopToken) -> None:
    server = Flood(FLOODS[flood])
    storage = Storage(HandClock(), SocketAdapter(stop), plain=True)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(RemoteError) as caught:
        storage.query(server.session, 1)
    assert caught.value.verdict is Verdict.TRANSIENT
    server.close()
    assert server.sent < 16 * MIB  # the cap, and what the two sockets hold
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024


ODD = b"".join(b"Content-Type: multipart/x; boundary=%d\r\r--%d\r" % (n, n) for n in range(1200))
#: Answers to "how much is there?" that have a head of some 60 KB.
HEADS = {
    "cookies": b"Set-Cookie: " + b"a;" * 30_000,
    "cookies of the old kind": b"Set-Cookie: a=b\r\nSet-Cookie2: " + b"a," * 30_000,
    "parts within parts": ODD[:60_000],
    "lines that may end each of many parts": ODD[:20_000] + b"\r" * 40_000,
    "many parts": b"Content-Type: multipart/x; boundary=b\r\njunk\r" + b"--b\r\r" * 12_000,
    "quotes within a kind": b'Content-Type: multipart/x; "' + b";" * 60_000,
    "a message within a message": b"Content-Type: message/rfc822\r\r" * 1_900,
    "folded lines": b"A: b\r\n" + b" \r" * 30_000,
    "lengths": b"Content-Length: " + b"1," * 30_000,
}


@pytest.mark.parametrize("head", HEADS)
def test_no_head_takes_more_memory_than_some_times_its_bytes(
    serve: Serve, storage: Storage, head: str
) -> None:
    server = serve(Reply(308), Reply(garbage=b"HTTP/1.1 308 R\r\n" + HEADS[head] + b"\r\n\r\n"))
    session = SessionUri(f"{server.base}/o?upload_id=U")
    storage.query(session, 100)  # what is only made once
    found: list[object] = []
    assert peak_bytes(lambda: found.append(storage.query(session, 100))) < 4 * MIB
    assert found == [Confirmed(0)]


@pytest.mark.timed
@pytest.mark.parametrize("head", HEADS)
def test_no_head_takes_long_to_read(serve: Serve, storage: Storage, head: str) -> None:
    server = serve(Reply(garbage=b"HTTP/1.1 308 R\r\n" + HEADS[head] + b"\r\n\r\n"))
    session = SessionUri(f"{server.base}/o?upload_id=U")
    assert cpu_s(lambda: storage.query(session, 100)) < 0.5


CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def test_chunks_take_no_more_memory_than_their_bytes(serve: Serve, adapter: SocketAdapter) -> None:
    """Each would be an object of 35 bytes and a place in a list, for two."""
    chunks = CHUNKED + b"2\r\nab\r\n" * 140_000 + b"0\r\n\r\n"
    server = serve(Reply(200), Reply(garbage=chunks))
    session = Session(adapter, lambda request: request, plain=True)
    session.get(f"{server.base}/o", timeout=5)  # what is only made once
    answers: list[Any] = []
    peak = peak_bytes(lambda: answers.append(session.get(f"{server.base}/o", timeout=DEADLINE_S)))
    assert answers[0].content == b"ab" * 140_000
    assert peak < 2 * MIB


def test_an_answer_of_countless_chunks_is_not_read_to_its_end(stop: StopToken) -> None:
    """Thirty-two megabytes of chunks of a byte would take a processor for five seconds."""
    server = Flood(without_end(CHUNKED, b"1\r\nx\r\n" * 10_000))
    storage = Storage(HandClock(), SocketAdapter(stop, max_answer_bytes=32 * MIB), plain=True)
    with pytest.raises(RemoteError, match="more than an answer may") as caught:
        storage.query(server.session, 1)
    assert caught.value.verdict is Verdict.TRANSIENT
    server.close()
    assert server.sent < 16 * MIB


@pytest.mark.parametrize(
    "early", [b"", b"HTTP/1.1 100 Continue\r\nA: " + b"x" * 30_000 + b"\r\n\r\n"]
)
@pytest.mark.parametrize(("lines", "fits"), [(1, True), (3, False)])
def test_a_head_has_a_bound_of_its_own(
    serve: Serve, stop: StopToken, early: bytes, lines: int, *, fits: bool
) -> None:
    """Interim answers count, and what may be long is the body alone."""
    head = b"A: " + b"x" * 24_000 + b"\r\n"
    body = b"Content-Length: 500000\r\n\r\n" + b"x" * 500_000
    server = serve(Reply(garbage=early + b"HTTP/1.1 308 R\r\n" + head * lines + body))
    storage = Storage(HandClock(), SocketAdapter(stop, max_answer_bytes=32 * MIB), plain=True)
    with nullcontext() if fits else pytest.raises(RemoteError, match="more than an answer may"):
        storage.query(SessionUri(f"{server.base}/o?upload_id=U"), 100)


@pytest.mark.parametrize("kinds", [(), ("text/html",), ("Multipart/x; boundary=b", "a/b")])
def test_an_answer_has_the_kinds_of_content_that_were_sent(
    serve: Serve, adapter: SocketAdapter, kinds: tuple[str, ...]
) -> None:
    server = serve(Reply(200, {"Content-Type": "\n".join(kinds)} if kinds else {}, b"x"))
    session = Session(adapter, lambda request: request, plain=True)
    answer = session.get(f"{server.base}/o", timeout=5)
    assert answer.headers.get("Content-Type", "") == ", ".join(kinds)
    assert answer.content == b"x"


@pytest.mark.parametrize(
    "start",
    [HEAD + b"\r\n", HEAD + b"Content-Length: 999999\r\n\r\n", HEAD + b"A: ", b"HTTP/1.1 200 "],
    ids=["body", "long body", "header", "status"],
)
def test_an_answer_that_drips_ends_in_time(
    start: bytes, stop: StopToken, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uploader.remote.storage._TIMEOUT", (1.0, 0.4))
    server = Flood(without_end(start, b"x"), pause_s=0.05)
    began_s = time.monotonic()
    with pytest.raises(RemoteError) as caught:
        Storage(HandClock(), SocketAdapter(stop), plain=True).query(server.session, 1)
    assert 0.4 < time.monotonic() - began_s < DEADLINE_S  # the drip goes on for an hour
    assert caught.value.verdict is Verdict.TRANSIENT
    server.close()


@pytest.mark.parametrize(
    ("bps", "ends_s"),
    [(1, 120), (1000, 136.7), (8192, 240), (1 << 20, 240), (0, 120)],
    ids=["a drip", "a slow one", "the slowest line", "a fast one", "nothing"],
)
def test_a_whole_answer_has_one_deadline_and_a_drip_does_not_move_it(
    bps: float, ends_s: float
) -> None:
    """By a clock that a byte stream moves: each read takes a second."""
    line = Line(bps)
    stream = _BoundedStream(line, line, 1 << 30, lambda: line.now_s)
    with pytest.raises(TimeoutError):
        stream.readall()
    assert ends_s - 1 <= line.now_s - 1000 <= ends_s + 2


class Line(io.RawIOBase):
    """A connection over which ``bps`` bytes a second arrive, without an end."""

    def __init__(self, bps: float) -> None:
        self.now_s = 1000.0
        self._bps = bps
        self._left_s = 120.0

    def readable(self) -> bool:
        return True

    def gettimeout(self) -> float:
        return self._left_s

    def settimeout(self, seconds: float) -> None:
        self._left_s = seconds

    def readinto(self, buffer: Any) -> int:
        wait_s = 1.0 if self._bps else self._left_s
        if wait_s > self._left_s or not self._bps:
            self.now_s += self._left_s
            raise TimeoutError
        self.now_s += wait_s
        return min(int(self._bps * wait_s), len(buffer))


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "deflate", "br", "zstd", "gzip, identity"])
def test_a_packed_answer_is_not_unpacked(serve: Serve, storage: Storage, encoding: str) -> None:
    bomb = gzip.compress(b"x" * 64 * MIB)
    server = serve(Reply(200, {"Content-Encoding": encoding}, bomb))
    with pytest.raises(RemoteError) as caught:
        storage.query(SessionUri(f"{server.base}/o?upload_id=U"), 1)
    assert (caught.value.verdict, caught.value.code) == (Verdict.TRANSIENT, "malformed")


@pytest.mark.parametrize("chunk", ["-5", "-1", "1_0", "+ 1", "٣", "", "x" * 70])
def test_a_chunk_of_an_odd_size_is_an_answer_that_is_lost(
    serve: Serve, storage: Storage, chunk: str
) -> None:
    body = f"Transfer-Encoding: chunked\r\n\r\n{chunk}\r\nabc\r\n".encode()
    server = serve(Reply(garbage=HEAD + body))
    with pytest.raises(RemoteError) as caught:
        storage.query(SessionUri(f"{server.base}/o?upload_id=U"), 1)
    assert caught.value.verdict is Verdict.TRANSIENT


def test_identity_is_not_a_compression(serve: Serve, storage: Storage) -> None:
    server = serve(Reply(308, {"Content-Encoding": "identity"}))
    storage.query(SessionUri(f"{server.base}/o?upload_id=U"), 1)


def test_an_early_refusal_is_heard_through_tls(
    serve: Serve, tls: ssl.SSLContext, certificate: Path, stop: StopToken
) -> None:
    """The server reads 64 KiB of a large PUT, answers, says goodbye, and waits to be left."""
    server = serve(Reply(413, body=b"too large", read=65536, close=True), tls=tls)
    storage = Storage(HandClock(), SocketAdapter(stop, lambda: context(certificate)), plain=True)
    with pytest.raises(RemoteError) as caught:
        storage.send(
            SessionUri(f"{server.base}/o?upload_id=U"), Zeros(64 * MIB), 0, 64 * MIB, 64 * MIB
        )
    assert caught.value.status == 413


@pytest.mark.timed
@pytest.mark.parametrize(("slowest_uplink_bps", "arrives"), [(None, False), (MIB, True)])
def test_the_answer_to_a_long_put_is_waited_for_longer(
    stop: StopToken,
    monkeypatch: pytest.MonkeyPatch,
    slowest_uplink_bps: int | None,
    *,
    arrives: bool,
) -> None:
    """A proxy that has taken 4 MiB at once answers after another second."""
    monkeypatch.setattr("uploader.remote.storage._TIMEOUT", (1.0, 0.2))
    with Sandbox() as box:
        box.world.script.add([{"on": "put", "do": "store-and-forward", "bytes_per_s": 4 * MIB}])
        uri = f"{box.storage_url}/fireworks-artifacts-sandbox/m/f?upload_id="
        uri += box.world.new_session(box.world.object_at("m/f"), (4 * MIB, 4 * MIB))
        storage = Storage(
            HandClock(), SocketAdapter(stop), plain=True, slowest_uplink_bps=slowest_uplink_bps
        )
        with nullcontext() if arrives else pytest.raises(RemoteError, match="timed out"):
            storage.send(SessionUri(uri), Zeros(4 * MIB), 0, 4 * MIB, 4 * MIB)
        storage.close()


def test_a_connection_that_waits_is_kept_alive(serve: Serve, stop: StopToken) -> None:
    watched: list[socket.socket] = []
    stop.watch = watched.append  # type: ignore[assignment,method-assign]
    server = serve(Reply(308))
    storage = Storage(HandClock(), SocketAdapter(stop), plain=True)
    storage.query(SessionUri(f"{server.base}/o?upload_id=U"), 1)
    assert watched[0].getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


class Zeros:
    def __init__(self, length: int) -> None:
        self._left = self._length = length

    def __len__(self) -> int:
        return self._length

    def read(self, _size: int = -1) -> bytes:
        count = min(self._left, 1 << 18)
        self._left -= count
        return bytes(count)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.read, b"")


@pytest.mark.parametrize("interim", [100, 102, 103, 104, 199])
def test_an_interim_answer_is_not_the_answer(serve: Serve, storage: Storage, interim: int) -> None:
    """As RFC 9110 §15.2 demands; nobody has to ask for one."""
    early = f"HTTP/1.1 {interim} Early\r\nLink: </style>; rel=preload\r\n\r\n".encode()
    last = b"HTTP/1.1 308 Resume Incomplete\r\nRange: bytes=0-9\r\nContent-Length: 0\r\n\r\n"
    server = serve(Reply(garbage=early * 3 + last))
    session = SessionUri(f"{server.base}/o?upload_id=U")
    assert storage.query(session, 100) == Confirmed(10)


def test_another_protocol_is_not_switched_to(serve: Serve, storage: Storage) -> None:
    server = serve(Reply(101))
    with pytest.raises(RemoteError, match="answered 101"):
        storage.query(SessionUri(f"{server.base}/o?upload_id=U"), 100)
