"""One request to a receiver that the user has named: a webhook, or a ping.

No redirect is followed, the answer's body is not kept, and nothing of ours but the body goes along.
Private and link-local addresses are refused where the connection is made, so a name that changes
its address in between is refused, too; this machine is allowed.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

import requests

from uploader import __version__
from uploader.core.addresses import host_of, is_loopback
from uploader.core.hooks import Gone, Undelivered
from uploader.core.redact import foreign_line
from uploader.remote.dial import addresses
from uploader.remote.http import CONNECT_S, LOST
from uploader.remote.refusals import retry_after_s
from uploader.remote.sockets import REFUSED, SocketAdapter
from uploader.runtime import Clock

_GONE = 410
_MAX_WORDS_CHARS = 200
#: IPv4 as IPv6: mapped, compatible (but for ::1) and translated (RFC 4291, RFC 6052, RFC 2765).
_TO_IPV4 = tuple(
    ipaddress.IPv6Network(f"{prefix}/96")
    for prefix in ("::ffff:0:0", "::", "64:ff9b::", "::ffff:0:0:0")
)
#: Local too, though not every Python says so: RFC 6890, RFC 8215, RFC 3879.
_LOCAL = tuple(map(ipaddress.ip_network, ("192.0.0.0/24", "64:ff9b:1::/48", "fec0::/10")))


class Receiver(requests.Session):
    """Follows no redirect and knows no password."""

    def __init__(self, adapter: SocketAdapter) -> None:
        super().__init__()
        self.auth = _anonymous
        self.headers.clear()
        self.headers.update({"User-Agent": f"uploader/{__version__}"})
        for scheme in ("https://", "http://"):
            self.get_adapter(scheme).close()
            self.mount(scheme, adapter)

    def get_redirect_target(self, resp: requests.Response) -> None:
        """None: an answer of 3xx is an answer."""


def may_reach(address: str, *, private: bool) -> bool:
    """Whether a receiver may have this address: a public one or this machine's, or any."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    inner = _translated(found) if found.version == 6 else found  # noqa: PLR2004 - IPv6
    is_public = inner.is_global and not inner.is_multicast
    return private or inner.is_loopback or (is_public and not any(inner in one for one in _LOCAL))


def require_reachable(host: str) -> None:
    """For what connects by itself. Raises Undelivered if any address of ``host`` is private.

    A name that is not known is left to whoever connects.
    """
    try:
        places = addresses(host, 0)
    except (OSError, ValueError):  # UnicodeError, too: it is no name
        return
    if not all(may_reach(place[3][0], private=False) for place in places):
        raise Undelivered(_refusal(foreign_line(host, _MAX_WORDS_CHARS)))


def _translated(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The IPv4 address that is reached by way of ``address``, if it is only a way to one."""
    if not address.is_loopback and any(address in network for network in _TO_IPV4):
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.sixtofour or address


def send(
    receiver: Receiver,
    url: str,
    body: bytes | None,
    headers: Mapping[str, str],
    clock: Clock,
    timeout_s: float,
) -> None:
    """POST ``body`` to ``url``, or GET it. Raises Undelivered, and Gone for 410."""
    host = host_of(url)
    try:
        answer = receiver.request(
            "GET" if body is None else "POST",
            url,
            data=body,
            headers=dict(headers),
            timeout=(min(CONNECT_S, timeout_s), timeout_s),
            proxies={} if is_loopback(host) else None,
        )
    except LOST as problem:
        why = _why(foreign_line(host, _MAX_WORDS_CHARS), problem)
    else:
        if answer.status_code // 100 == 2:  # noqa: PLR2004 - HTTP's success class
            return
        if answer.status_code == _GONE:
            raise Gone
        raise Undelivered(
            f"{foreign_line(host, _MAX_WORDS_CHARS)} answered {answer.status_code}",
            retry_after_s(answer.headers.get("Retry-After", ""), clock.now()),
        )
    raise Undelivered(why)


def _why(host: str, problem: BaseException) -> str:
    if REFUSED in str(problem):
        return _refusal(host)
    return f"{host} does not answer ({type(problem).__name__})"


def _refusal(host: str) -> str:
    return f"{host} has a private or link-local address: allow_private = true allows it"


def _anonymous(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request
