"""The way through a SOCKS proxy: PySocks negotiates it, in one time for all, and can be cut."""

from __future__ import annotations

import errno
import socket
from collections.abc import Mapping, Sequence
from typing import Any

from urllib3.contrib.socks import socks  # type: ignore[attr-defined] # PySocks, an extra

from uploader.remote.dial import Address, addresses
from uploader.remote.http import CONNECT_S
from uploader.runtime import StopToken, SystemClock

#: Seconds until the proxy has connected, whatever it answers meanwhile and however slowly.
_AGREED_S = 30.0
_CLOCK = SystemClock().boot_s


class _Agreeing(socks.socksocket):  # type: ignore[misc] # it has no types
    #: Until when all that it reads has to be there; None once the proxy has connected.
    ends_s: float | None = None

    def recv_into(self, *args: Any) -> int:
        if self.ends_s is not None:  # PySocks reads until it has what it wants
            if (left_s := self.ends_s - _CLOCK()) <= 0:
                raise TimeoutError(errno.ETIMEDOUT, "timed out")
            socket.socket.settimeout(self, min(CONNECT_S, left_s))
        return socket.socket.recv_into(self, *args)


def connect(
    proxy: Mapping[str, Any],
    host: str,
    port: int,
    stop: StopToken,
    options: Sequence[tuple[Any, ...]],
) -> socket.socket:
    """A connection to ``host`` by way of ``proxy``, as urllib3 describes one.

    Raises Stopped, and OSError: TimeoutError if the proxy takes too long.
    """
    ends_s, problem = _CLOCK() + _AGREED_S, OSError(errno.EHOSTUNREACH, "no address")
    for place in addresses(proxy["proxy_host"], proxy["proxy_port"]):
        stop.check()
        try:
            return _agreed(place, proxy, (host.strip("[]"), port), ends_s, stop, options)
        except OSError as error:
            problem = getattr(error, "socket_err", None) or error
    raise problem


def _agreed(
    place: Address,
    proxy: Mapping[str, Any],
    there: tuple[str, int],
    ends_s: float,
    stop: StopToken,
    options: Sequence[tuple[Any, ...]],
) -> socket.socket:
    family, kind, protocol, address = place
    connection = _Agreeing(family, kind, protocol)
    stop.watch(connection)
    try:
        for option in options:
            connection.setsockopt(*option)
        connection.settimeout(max(0.1, min(CONNECT_S, ends_s - _CLOCK())))
        login = (proxy["rdns"], proxy["username"], proxy["password"])
        connection.set_proxy(proxy["socks_version"], *address[:2], *login)
        connection.ends_s = ends_s
        connection.connect(there)
        connection.ends_s = None
        connection.settimeout(CONNECT_S)
    except BaseException:
        connection.close()
        raise
    finally:
        stop.unwatch(connection)
    return connection
