"""The production transport: a stop token ends its connections; each block has its own timeout.

Rules: docs/architecture.md §6 and §7, docs/gcs-resumable.md T13.
"""

from __future__ import annotations

import errno
import re
import socket
import ssl
import struct
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import requests
import urllib3.exceptions as transport
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from uploader.core.errors import Stopped
from uploader.deadlines import Deadline
from uploader.forks import OurDescriptor
from uploader.remote import trust
from uploader.remote.answers import MAX_STORAGE_BYTES, BoundedAnswer, read_whole
from uploader.remote.dial import addresses, dial
from uploader.remote.http import ANSWER_S, CONNECT_S, LOST, NoTunnel
from uploader.runtime import StopToken, SystemClock

_CLOCK = SystemClock().boot_s
#: A proxy's TLS, its tunnel and the server's TLS may take so many times the time to connect.
_AGREEING_FACTOR = 4
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
#: What http.client says if a proxy answers CONNECT with something else than a tunnel.
_NO_TUNNEL = re.compile(r"Tunnel connection failed: ([1-5]\d\d)\b")


#: While an answer is waited for, which may take long, a peer that is gone is noticed in 3 minutes,
#: and no box on the way forgets the connection for its silence. Not every system has every name.
_KEEP_ALIVE_S = {"TCP_KEEPIDLE": 60, "TCP_KEEPALIVE": 60, "TCP_KEEPINTVL": 20, "TCP_KEEPCNT": 6}


def _keep_alive(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEP_ALIVE_S.items():
        if (option := getattr(socket, name, None)) is not None:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)


class PrivateAddress(transport.NewConnectionError):
    """Nothing is connected to: none of a name's addresses may be reached."""


class _Watched(HTTPConnection):
    """A connection that its job's stop token can end, with a timeout per block sent."""

    def __init__(
        self,
        stop: StopToken,
        send_timeout_s: float,
        max_answer_bytes: int,
        may_reach: Callable[[str], bool],
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._may_reach = may_reach
        bounded = partial(BoundedAnswer, max_bytes=max_answer_bytes, now_s=_CLOCK)
        self.response_class = bounded  # type: ignore[assignment] # http.client only calls it
        self._stop = stop
        self._send_timeout_s = send_timeout_s
        self._handle: socket.socket | None = None
        self._ours: tuple[OurDescriptor, ...] = ()
        self._is_agreed = False

    def _new_conn(self) -> socket.socket:
        connection = self._connected()
        # However it is closed, whatever is still queued is dropped: after a cut, a
        # lease's end or a SIGKILL no part of an old PUT may arrive alongside the next worker's
        # (docs/architecture.md §6).
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        _keep_alive(connection)
        # A duplicate stays valid while TLS takes the socket over, so a handshake ends too.
        self._handle = connection.dup()
        # A child that kept them would let what is queued be sent after our own SIGKILL. TLS, also
        # within TLS, takes over the descriptor and its number, and is not told: it would say
        # goodbye to the server.
        self._ours = (OurDescriptor(connection.fileno()), OurDescriptor(self._handle.fileno()))
        self._stop.watch(self._handle)
        self._agreeing.enter_context(Deadline(self._handle, _AGREEING_FACTOR * CONNECT_S))
        if self._stop.stopped:  # it may have been stopped before the watch began
            connection.close()
            raise Stopped
        return connection

    def connect(self) -> None:
        """As of urllib3, with one deadline for all that is agreed on once there is a way."""
        self._is_agreed = False
        with ExitStack() as self._agreeing:
            super().connect()
        self._is_agreed = True

    @property
    def has_connected_to_proxy(self) -> bool:
        """As of urllib3, also once it was closed: what is lost then is not the proxy's refusal."""
        return self._is_agreed or super().has_connected_to_proxy

    def _connected(self) -> socket.socket:
        try:
            found = addresses(self._dns_host, self.port)
            places = [place for place in found if self._may_reach(place[3][0])]
            if not places:
                raise PrivateAddress(self, "its address is private")
            options = self.socket_options or ()
            return dial(places, CONNECT_S, _CLOCK, self._stop.check, options)
        except socket.gaierror as error:
            raise transport.NameResolutionError(self.host, self, error) from error
        except ValueError as error:
            raise transport.LocationParseError(self.host) from error
        except TimeoutError as error:
            raise transport.ConnectTimeoutError(self, "timed out") from error
        except OSError as error:
            raise transport.NewConnectionError(self, "no connection") from error

    def _tunnel(self) -> None:
        """Raises NoTunnel: these words count here only, for a server may choose the same."""
        try:
            super()._tunnel()
        except OSError as error:
            if found := _NO_TUNNEL.match(str(error)):
                raise NoTunnel(int(found[1])) from error
            raise

    def request(self, *args: Any, **kwargs: Any) -> None:
        if self.sock is None:
            self.connect()
        self._stop.check()  # a handshake may have taken as long as the other side likes
        # urllib3 would apply the connect timeout to every send (docs/gcs-resumable.md T13).
        self.timeout = self._send_timeout_s
        try:
            super().request(*args, **kwargs)
        except ssl.SSLError as error:
            # urllib3 reads the answer that may be there after a reset, but not after TLS's own kind
            # of reset: the answer of a server that refuses early and closes would be lost.
            raise ConnectionResetError(errno.ECONNRESET, "closed while sending") from error

    def close(self) -> None:
        self._ours = ()
        super().close()
        handle, self._handle = self._handle, None
        if handle is not None:
            self._stop.unwatch(handle)
            handle.close()


class _WatchedTls(_Watched, HTTPSConnection):
    pass


def _through_socks(kind: type[_Watched]) -> type[_Watched]:
    """``kind`` through a SOCKS proxy: PySocks negotiates with it, the rest is the same.

    Raises requests' InvalidSchema, as requests itself does, if PySocks is not installed.
    """
    try:
        from uploader.remote import socks  # noqa: PLC0415 - an extra
    except ImportError as problem:
        raise requests.exceptions.InvalidSchema("no SOCKS") from problem

    class Socks(kind):  # type: ignore[misc, valid-type]
        def __init__(self, *args: Any, _socks_options: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._proxy = _socks_options

        def _connected(self) -> socket.socket:
            options = self.socket_options or ()
            try:
                return socks.connect(self._proxy, self.host, self.port, self._stop, options)
            except ValueError as error:  # of a host that no name can be
                raise transport.LocationParseError(self.host) from error
            except TimeoutError as error:
                raise transport.ConnectTimeoutError(self, "timed out") from error
            except OSError as error:
                raise transport.ProxyError("no connection", error) from None

    return Socks


def _any_address(_: str) -> bool:
    return True


class SocketAdapter(HTTPAdapter):
    """Real sockets: exactly one try per request, ended by ``stop`` or by a timeout per block.

    An answer has at most ``max_answer_bytes``, headers included; each block of a body may take
    ``send_timeout_s`` seconds: slow is not stalled (docs/architecture.md §7). ``tls`` decides which
    servers are trusted, and is asked at the first of them; ``may_reach`` which addresses of servers
    are connected to: that of a proxy, which the user chose, may be any. Raises Stopped if the token
    was set, whatever the socket reported.
    """

    def __init__(
        self,
        stop: StopToken,
        tls: Callable[[], ssl.SSLContext] = lambda: trust.context(None),
        *,
        max_answer_bytes: int = MAX_STORAGE_BYTES,
        send_timeout_s: float = ANSWER_S,
        may_reach: Callable[[str], bool] = _any_address,
    ) -> None:
        self._stop = stop
        self._tls = tls
        self._watching = (stop, send_timeout_s, max_answer_bytes)
        self._may_reach = may_reach
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """As of `HTTPAdapter`, with sockets that are watched."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._pools(
            _Watched, _WatchedTls, self._may_reach
        )

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """As of `HTTPAdapter`, with sockets that are watched; for SOCKS, too."""
        if proxy.lower().startswith("https:"):
            trusted = self._tls()
            kwargs |= {"proxy_ssl_context": trusted, "ssl_context": trusted}
        pools = super().proxy_manager_for(proxy, **kwargs)
        plain, tls = (
            (_through_socks(_Watched), _through_socks(_WatchedTls))
            if proxy.lower().startswith("socks")
            else (_Watched, _WatchedTls)
        )
        pools.pool_classes_by_scheme = self._pools(plain, tls, _any_address)
        return pools

    def _pools(
        self, plain: type[_Watched], tls: type[_Watched], may_reach: Callable[[str], bool]
    ) -> dict[str, Any]:
        watching = (*self._watching, may_reach)
        return {
            "http": partial(_pool, HTTPConnectionPool, partial(plain, *watching)),
            "https": partial(_pool, HTTPSConnectionPool, partial(tls, *watching)),
        }

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: Any, cert: Any = None
    ) -> tuple[Any, Any]:
        """Use one context for all, and none in clear: reading it costs more than a request."""
        host, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        if host["scheme"] == "http":
            return host, {}
        return host, {"ssl_context": self._tls(), "cert_reqs": "CERT_REQUIRED"}

    def cert_verify(self, *args: Any, **kwargs: Any) -> None:
        """Does nothing: the context has everything."""

    def send(self, *args: Any, **kwargs: Any) -> requests.Response:
        """One exchange, its answer read as a whole. Raises Stopped, and what requests raises."""
        self._stop.check()
        try:
            response = super().send(*args, **kwargs)
            read_whole(response)  # a stalled answer is part of the exchange
        except LOST:
            if not self._stop.stopped:
                raise
        else:
            return response
        raise Stopped

    def close(self) -> None:
        """Close every connection that is idle, direct or through a proxy."""
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
