"""One connection of the API: who sends no whole request, or reads no answer, holds none for long.

The web server itself waits for ever for a request to end, and counts only requests. Every
connection is an open file of the daemon, which needs them for uploading.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import ssl
from asyncio.sslproto import SSLProtocol
from collections.abc import Iterator
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from uploader.service.http.peer import PEER, Peer

MAX_CONNECTIONS = 256
#: For a whole request, its body included.
PATIENCE_S = 30.0
#: A handshake takes a few records of TLS, and those after it carry bytes.
_MAX_RECORDS = 100
_BYTES_A_RECORD = 16
_RECORD_HEAD_BYTES = 5
#: A head has a few lines; each costs a hundred times its bytes in memory. So do the chunks of a
#: body, whose lines have to carry bytes.
_MAX_LINES = 128
_BYTES_A_LINE = 16
_BLANK = re.compile(rb"\n\r?\n")
_MAX_HEAD_BYTES = 64 * 1024
_MAX_LEFT_OVER_BYTES = 256 * 1024
#: So much is read of one connection before others have their turn.
_TURN_BYTES = 16 * 1024
#: Without a body, so that it is right for HEAD, too.
_NO_REQUEST = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

_log = logging.getLogger(__name__)


class _Requests(h11.Connection):
    """As h11's, for which each line is an object or more, however short it is."""

    _lines = _bytes = 0
    _is_chunked = False

    def receive_data(self, data: bytes) -> None:
        """As h11's."""
        self._lines += data.count(b"\n")
        self._bytes += len(data)
        super().receive_data(data)

    def next_event(self) -> Any:
        """As h11's. Raises RemoteProtocolError for countless lines, too."""
        if self._lines > _MAX_LINES and self._has_too_many():
            raise h11.RemoteProtocolError("too many lines")
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._is_chunked = any(name == b"transfer-encoding" for name, _ in event.headers)
            left_over, _ = self.trailing_data
            self._lines, self._bytes = left_over.count(b"\n"), len(left_over)
        return event

    def _has_too_many(self) -> bool:
        if self.their_state is not h11.IDLE:
            return self._is_chunked and self._lines > _MAX_LINES + self._bytes // _BYTES_A_LINE
        came, _ = self.trailing_data
        blank = _BLANK.search(came)
        return came.count(b"\n", 0, blank.end() if blank else len(came)) > _MAX_LINES


class Connection(H11Protocol):
    """As uvicorn's, with a deadline for what the client owes, and an end if there are too many."""

    accepted_s: float = 0.0
    heard_bytes: int = 0
    #: What came after an answer with which the connection ends; None before.
    _left_over_bytes: int | None = None
    _peer: Peer | None = None
    _begun_s: float | None = None
    _timer: asyncio.TimerHandle | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conn = _Requests(h11.SERVER, _MAX_HEAD_BYTES)

    def accepted(self, transport: Any) -> None:
        """Make room, and expect a request; the handshake that may precede it counts, too."""
        self.transport = transport
        self.accepted_s = self.accepted_s or self.loop.time()
        self.connections.add(self)
        self._expect()
        if len(self.connections) > MAX_CONNECTIONS:
            _most_dispensable(self.connections, self).cut()

    def connection_made(self, transport: Any) -> None:
        """Take requests from ``transport``."""
        super().connection_made(transport)
        transport.max_size = _TURN_BYTES
        self._peer = Peer(transport.get_extra_info("socket"), self.server, self.client)
        self.app_state = {**self.app_state, PEER: self._peer}
        self.accepted(transport)

    def data_received(self, data: bytes) -> None:
        """A part of a request; once it is whole, time is no longer the client's."""
        if self._left_over_bytes is not None:
            self._left_over_bytes += len(data)
            if self._left_over_bytes > _MAX_LEFT_OVER_BYTES:
                self.cut()
            return
        self.heard_bytes += len(data)
        super().data_received(data)
        self._expect()

    def handle_events(self) -> None:
        """Read what has come so far; whatever that is, it raises nothing."""
        with self._contained():
            super().handle_events()

    def timeout_keep_alive_handler(self) -> None:
        """No further request has come."""
        with self._contained():
            super().timeout_keep_alive_handler()

    def shutdown(self) -> None:
        """The server ends."""
        with self._contained():
            super().shutdown()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's
        """What came is not a request, or not a body: the application answers nothing after it.

        The answer is written past h11's state machine, which refuses some of them.
        """
        last = self.cycle
        over = last is None or (last.response_complete and not last.more_body)
        if (over or not last.response_started) and not self.transport.is_closing():
            self.transport.write(_NO_REQUEST)
            if self.transport.can_write_eof():  # to close it now, with more on the way, would
                with contextlib.suppress(OSError):  # take the answer away again; or it has gone
                    self.transport.write_eof()
                    self._left_over_bytes = 0
        self._close()

    @contextlib.contextmanager
    def _contained(self) -> Iterator[None]:
        """An error ends this connection alone, and does not reach the event loop."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever a stranger makes of it
            _log.exception("a connection ended in %s", type(error).__name__)
            self._close()

    def _close(self) -> None:
        if self._left_over_bytes is None:
            self.transport.close()
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    def on_response_complete(self) -> None:
        """The next request may follow, and may have come already."""
        super().on_response_complete()
        self._expect()

    def pause_writing(self) -> None:
        """No more of an answer fits on the way: the client owes it to read."""
        super().pause_writing()
        self._expect()

    def resume_writing(self) -> None:
        """It has read."""
        super().resume_writing()
        self._forget()
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self.gone()
        super().connection_lost(exc)

    def gone(self) -> None:
        """It is no longer open, whether or not a request could ever be sent over it."""
        self.connections.discard(self)
        self._forget()

    def cut(self) -> None:
        """End it at once."""
        self.connections.discard(self)
        self.transport.abort()

    @property
    def is_welcome(self) -> bool:
        """Did its last request show the token, or a cookie?"""
        return self._peer is not None and self._peer.welcome

    @property
    def silent_s(self) -> float:
        """For how long it has owed us the rest of a request, or has read nothing."""
        return -1.0 if self._begun_s is None else self.loop.time() - self._begun_s

    def _expect(self) -> None:
        cycle = self.cycle
        answering = cycle is not None and not cycle.response_complete and not cycle.more_body
        if answering and not self.flow.write_paused:
            self._forget()
        elif self._timer is None and not self.transport.is_closing():
            self._begun_s = self.loop.time()
            self._timer = self.loop.call_later(PATIENCE_S, self.cut)

    def _forget(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._begun_s = None


class Handshake(SSLProtocol):
    """The TLS of a connection that is counted, and has its deadline, from its first byte on.

    As asyncio does it by itself, nobody would know of a handshake that never ends, or of records
    that carry nothing: new keys without an end take a processor more time than the way here.
    """

    max_size = _TURN_BYTES
    _records = 0
    _came = memoryview(b"")
    _head = b""
    _left_bytes = 0

    def __init__(self, connection: Connection, tls: ssl.SSLContext) -> None:
        # Nobody waits for it, which its code allows and its stub does not say.
        super().__init__(connection.loop, connection, tls, None, server_side=True)  # type: ignore[arg-type]
        self._connection = connection

    def connection_made(self, transport: Any) -> None:
        """Count it, and begin the handshake."""
        self._connection.accepted(transport)
        super().connection_made(transport)

    def get_buffer(self, n: int) -> memoryview:
        """Where the transport puts what comes."""
        self._came = super().get_buffer(n)
        return self._came

    def buffer_updated(self, nbytes: int) -> None:
        """Read what came, unless it is too many records."""
        self._count(self._came[:nbytes])
        if self._records > _MAX_RECORDS + self._connection.heard_bytes // _BYTES_A_RECORD:
            self._connection.cut()
        else:
            super().buffer_updated(nbytes)

    def _count(self, came: memoryview) -> None:
        while came:
            if not self._left_bytes:
                missing = _RECORD_HEAD_BYTES - len(self._head)
                self._head += came[:missing]
                came = came[missing:]
                if len(self._head) == _RECORD_HEAD_BYTES:
                    self._left_bytes = int.from_bytes(self._head[-2:])
                    self._head = b""
                    self._records += 1
            taken = min(self._left_bytes, len(came))
            self._left_bytes -= taken
            came = came[taken:]

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget it."""
        super().connection_lost(exc)
        self._connection.gone()


def _most_dispensable(connections: set[Any], newest: Connection) -> Connection:
    """The oldest one that has shown no token, however busy; else the one silent for longest."""
    strangers = [one for one in connections if not one.is_welcome and one is not newest]
    if strangers:
        oldest: Connection = min(strangers, key=lambda one: one.accepted_s)
        return oldest
    found: Connection = max(connections, key=lambda one: one.silent_s, default=newest)
    return found
