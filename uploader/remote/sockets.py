"""The production transport: connections that a stop token ends and that stall per block.

Rules: design §4 Stopping and Timeouts, contract gcs-resumable T13.
"""

from __future__ import annotations

import socket
import struct
from functools import partial
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from uploader.core.errors import Stopped
from uploader.remote.http import ANSWER_S, LOST
from uploader.runtime import StopToken

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class _Watched(HTTPConnection):
    """A connection that its job's stop token can end, with a timeout per block sent."""

    def __init__(self, stop: StopToken, send_timeout_s: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._stop = stop
        self._send_timeout_s = send_timeout_s
        self._handle: socket.socket | None = None

    def _new_conn(self) -> socket.socket:
        connection = super()._new_conn()
        # Closed, by whomever, it drops what is still queued: after a cut, a lease's end or a
        # SIGKILL nothing of an old PUT may trickle in beside the next worker's (design §4).
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        # A duplicate stays valid while TLS takes the socket over, so a handshake ends too.
        self._handle = connection.dup()
        self._stop.watch(self._handle)
        if self._stop.stopped:  # the cut may have come before the watch
            connection.close()
            raise Stopped
        return connection

    def request(self, *args: Any, **kwargs: Any) -> None:
        if self.sock is None:
            self.connect()
        # urllib3 would apply the connect timeout to every send (gcs T13).
        self.timeout = self._send_timeout_s
        super().request(*args, **kwargs)

    def close(self) -> None:
        super().close()
        handle, self._handle = self._handle, None
        if handle is not None:
            self._stop.unwatch(handle)
            handle.close()


class _WatchedTls(_Watched, HTTPSConnection):
    pass


class SocketAdapter(HTTPAdapter):
    """Real sockets: exactly one try per request, ended by ``stop``, stalled after a while.

    ``send_timeout_s`` seconds for each block of a body: slow is not stalled (design §4).
    Raises Stopped where the token was set, whatever the socket then said.
    """

    def __init__(self, stop: StopToken, send_timeout_s: float = ANSWER_S) -> None:
        self._stop = stop
        self._pools = {
            "http": partial(_pool, HTTPConnectionPool, partial(_Watched, stop, send_timeout_s)),
            "https": partial(
                _pool, HTTPSConnectionPool, partial(_WatchedTls, stop, send_timeout_s)
            ),
        }
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        pools = super().proxy_manager_for(proxy, **kwargs)
        if not proxy.lower().startswith("socks"):  # PySocks brings connections of its own
            pools.pool_classes_by_scheme = self._pools
        return pools

    def send(self, *args: Any, **kwargs: Any) -> requests.Response:
        self._stop.check()
        try:
            response = super().send(*args, **kwargs)
            response.content  # noqa: B018 - a stalled answer is part of the exchange
        except LOST:
            if not self._stop.stopped:
                raise
        else:
            return response
        raise Stopped

    def close(self) -> None:
        for owner in (self.poolmanager, *self.proxy_manager.values()):
            for key in owner.pools.keys():  # noqa: SIM118 - its container refuses iteration
                owner.pools[key].close()
        super().close()


def _pool(
    kind: type[HTTPConnectionPool], connection: Any, host: str, port: int, **context: Any
) -> HTTPConnectionPool:
    pool = kind(host, port, **context)
    pool.ConnectionCls = connection
    return pool
