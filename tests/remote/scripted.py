"""A scripted HTTP server on real sockets, and the few pieces every test here needs.

Each request takes the next `Reply` of the script. Nothing sleeps: paces and stalls wait on the
event that ends the server, so no test outlives its deadline.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import socket
import ssl
import struct
import termios
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus

from uploader.core.errors import UploaderError

DEADLINE_S = 60.0
#: A header that each answer of the storage service has, and no proxy's.
OF_STORAGE = {"x-guploader-uploadid": "U"}
LINGER_OFF = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Reply:
    """What one request meets. ``read`` body bytes are read before the answer; None is all."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    read: int | None = None
    rate_bps: float = 0.0
    reset: bool = False
    stall: bool = False
    close: bool = False
    garbage: bytes = b""


@dataclass
class Seen:
    method: str
    target: str
    headers: dict[str, str]
    body: bytearray = field(default_factory=bytearray)


class Server:
    def __init__(self, *replies: Reply, tls: ssl.SSLContext | None = None, window: int = 0) -> None:
        self.replies = list(replies)
        self.seen: list[Seen] = []
        self.connections = 0
        self.lost = threading.Semaphore(0)  #: one per connection the client ended
        self.arrived = threading.Event()  #: the head of a request, or part of a handshake
        self._tls = tls
        self._end = threading.Event()
        self._listener = socket.socket()
        if window:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen()
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def base(self) -> str:
        return f"{'https' if self._tls else 'http'}://{self.host}"

    def close(self) -> None:
        self._end.set()
        for each in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                socket.socket.shutdown(each, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(DEADLINE_S)
            assert not thread.is_alive()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while not self._end.is_set():
                connection, _ = self._listener.accept()
                self.connections += 1
                self._open.append(connection)
                thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            if self._tls:
                with self._tls.wrap_socket(connection, server_side=True) as wrapped:
                    self._open.append(wrapped)
                    self._converse(wrapped)
            else:
                self._converse(connection)
        self.lost.release()

    def _converse(self, connection: socket.socket) -> None:
        with connection.makefile("rb", buffering=0) as lines:
            while (seen := _head(lines)) is not None:
                self.seen.append(seen)
                reply = self.replies.pop(0) if self.replies else Reply(501, body=b"off script")
                self.arrived.set()
                if not self._answer(connection, seen, reply):
                    return

    def _until_delivered(self, connection: socket.socket) -> None:
        """Closing with a request half read resets the connection, and what is still queued goes.

        What the other side does with an answer it has is the test's business, not whether one
        arrives.
        """
        queued = array.array("i", [1])
        while queued[0] and not self._end.wait(0.001):
            fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, queued)

    def _answer(self, connection: socket.socket, seen: Seen, reply: Reply) -> bool:
        """Whether the connection goes on."""
        length = int(seen.headers.get("content-length", "0"))
        wanted = length if reply.read is None else min(length, reply.read)
        if not self._take(connection, seen, reply, wanted):
            return False
        if reply.stall:
            connection.sendall(reply.garbage)
            while not (self._end.wait(0.01) or _hung_up(connection)):
                pass
            return False
        if reply.reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_OFF)
            return False
        connection.sendall(reply.garbage or _encoded(reply))
        if wanted < length:
            self._until_delivered(connection)
        return not (reply.close or reply.garbage or wanted < length)

    def _take(self, connection: socket.socket, seen: Seen, reply: Reply, wanted: int) -> bool:
        while len(seen.body) < wanted:
            size = min(wanted - len(seen.body), 2048 if reply.rate_bps else 65536)
            block = connection.recv(size)
            if not block:
                return False
            seen.body += block
            if reply.rate_bps:
                self._end.wait(len(block) / reply.rate_bps)
        return True


def _hung_up(connection: socket.socket) -> bool:
    connection.settimeout(0.01)
    try:
        return not socket.socket.recv(connection, 65536, socket.MSG_PEEK)
    except TimeoutError:
        return False
    except OSError:
        return True
    finally:
        connection.settimeout(None)


def _head(stream: socket.SocketIO) -> Seen | None:
    lines: list[str] = []
    while (line := stream.readline()) not in (b"\r\n", b""):
        lines.append(line.decode("latin-1").rstrip("\r\n"))
    if not lines:
        return None
    method, target, _ = lines[0].split(" ")
    headers: dict[str, str] = {}
    for text in lines[1:]:
        name, _, value = text.partition(":")
        headers[name.lower()] = value.strip()
    return Seen(method, target, headers)


def _encoded(reply: Reply) -> bytes:
    try:
        phrase = HTTPStatus(reply.status).phrase
    except ValueError:
        phrase = "Odd"
    headers = {"Content-Length": str(len(reply.body)), **reply.headers}
    if reply.close:
        headers["Connection"] = "close"
    lines = [f"HTTP/1.1 {reply.status} {phrase}"]
    for name, value in headers.items():
        lines += [f"{name}: {each}" for each in value.split("\n")]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + reply.body


class Blocks:
    """A body as the engine's source gives it: fresh blocks, whatever size was asked for."""

    def __init__(self, content: bytes, block: int = 256 * 1024) -> None:
        self.content = content
        self.block = block
        self.reads = 0
        self.fails_at: tuple[int, UploaderError] | None = None

    def __len__(self) -> int:
        return len(self.content)

    def read(self, size: int = -1, /) -> bytes:  # noqa: ARG002 - that is the contract
        at = self.reads * self.block
        if self.fails_at and at >= self.fails_at[0]:
            raise self.fails_at[1]
        self.reads += 1
        return self.content[at : at + self.block]

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.read, b"")


class HandClock:
    """A clock that goes on by hand."""

    def __init__(self) -> None:
        self.boot = 1000.0
        self.dice = 0.5

    def now(self) -> datetime:
        return datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)

    def boot_s(self) -> float:
        return self.boot

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        raise AssertionError(f"nothing in remote waits, not {timeout_s} s for {event}")

    def jitter(self) -> float:
        return self.dice


def everything_said(error: BaseException) -> str:
    """All an error could tell: its text, its fields, and what it was raised from or within."""
    said: list[str] = []
    todo: list[object] = [error]
    while todo:
        each = todo.pop()
        said += [str(each), repr(each)]
        if isinstance(each, BaseException):
            said += [repr(each.args), repr(vars(each))]
            todo += [each.__cause__, each.__context__, *each.args]
    return os.linesep.join(said)
