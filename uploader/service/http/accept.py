"""Takes connections: who only connects, however often, keeps nobody out and no file for long.

asyncio makes a transport of each of up to a backlog of connections in one turn, before any of them
is read. Here one is made when something has come, or a second later: one of those that only
connect takes a file meanwhile, and next to no time.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Any

#: How many are taken in one turn.
_AT_ONCE = 64
#: How many may wait until something comes, and for how long; the oldest of more is closed.
_MOST_WAITING = 256
_PATIENCE_S = 1.0
#: Until some file may have been closed, if there are too many.
_AGAIN_S = 1.0

_log = logging.getLogger(__name__)


class Taker:
    """Makes a ``protocol`` for each connection to ``listener``, for the running loop."""

    def __init__(self, listener: socket.socket, protocol: Callable[[], Any]) -> None:
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._protocol = protocol
        self._waiting: dict[socket.socket, asyncio.TimerHandle] = {}
        self._begun: set[asyncio.Future[Any]] = set()
        self._again: asyncio.TimerHandle | None = None
        listener.settimeout(0)

    def begin(self) -> None:
        """Take them, until `end`."""
        self._loop.add_reader(self._listener, self._take)

    def end(self) -> None:
        """Take no more."""
        self._loop.remove_reader(self._listener)
        for one in [*self._waiting]:
            self._forget(one)
            one.close()
        if self._again is not None:
            self._again.cancel()

    def _take(self) -> None:
        try:
            for _ in range(_AT_ONCE):
                self._wait_for(self._listener.accept()[0])
        except (BlockingIOError, ConnectionError):  # there is none, or it was gone before
            pass
        except OSError as problem:
            _log.warning("the API takes no connection for a moment: %s", problem.strerror)
            self.end()
            self._again = self._loop.call_later(_AGAIN_S, self.begin)

    def _wait_for(self, connection: socket.socket) -> None:
        if len(self._waiting) == _MOST_WAITING:
            oldest = next(iter(self._waiting))
            self._forget(oldest)
            oldest.close()
        connection.settimeout(0)
        late = self._loop.call_later(_PATIENCE_S, self._serve, connection)
        self._waiting[connection] = late
        self._loop.add_reader(connection, self._heard, connection)

    def _heard(self, connection: socket.socket) -> None:
        try:
            if connection.recv(1, socket.MSG_PEEK):
                self._serve(connection)
                return
        except OSError:
            pass
        self._forget(connection)
        connection.close()

    def _serve(self, connection: socket.socket) -> None:
        self._forget(connection)
        served = self._loop.connect_accepted_socket(self._protocol, connection)
        begun = asyncio.ensure_future(served)
        self._begun.add(begun)
        begun.add_done_callback(self._has_begun)

    def _has_begun(self, begun: asyncio.Future[Any]) -> None:
        self._begun.discard(begun)
        if not begun.cancelled():
            begun.exception()  # it was gone by then; asyncio has closed it, and would tell that

    def _forget(self, connection: socket.socket) -> None:
        self._waiting.pop(connection).cancel()
        self._loop.remove_reader(connection)
