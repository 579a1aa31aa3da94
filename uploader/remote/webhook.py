"""One request to a receiver that the user has named: a webhook, or a ping.

No redirect is followed, the answer's body is not kept, and nothing of ours but the body goes along.
Private and link-local addresses are refused where the connection is made, so a name that changes
its address in between is refused, too; this machine is allowed, and asked without a proxy. If a
proxy connects, a receiver is refused by what this machine knows of its name (docs/hooks.md §2).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

import requests
from requests.utils import get_environ_proxies, select_proxy

from uploader.core.addresses import host_of
from uploader.core.hooks import Gone, Undelivered
from uploader.core.redact import foreign_line
from uploader.remote.client import Client
from uploader.remote.dial import addresses
from uploader.remote.http import CONNECT_S, LOST, chain_of
from uploader.remote.middle_box import begins_as_a_page
from uploader.remote.refusals import retry_after_s
from uploader.remote.sockets import PrivateAddress, SocketAdapter
from uploader.runtime import Clock, StopToken

_GONE = 410
_MAX_WORDS_CHARS = 200
#: IPv4 as IPv6: mapped, compatible (but for ::1) and translated (RFC 4291, RFC 6052, RFC 2765).
_TO_IPV4 = tuple(
    ipaddress.IPv6Network(f"{prefix}/96")
    for prefix in ("::ffff:0:0", "::", "64:ff9b::", "::ffff:0:0:0")
)
#: Local too, though not every Python says so: RFC 6890, RFC 8215, RFC 3879.
_LOCAL = tuple(map(ipaddress.ip_network, ("192.0.0.0/24", "64:ff9b:1::/48", "fec0::/10")))
_Ip = ipaddress.IPv4Address | ipaddress.IPv6Address


class Receiver(Client):
    """A session for one receiver, at a public address or on this machine; ``private``: at any.

    ``tls`` is an SSL context; each block may take ``timeout_s`` seconds.
    """

    def __init__(self, tls: Any, timeout_s: float, *, private: bool) -> None:
        def reachable(address: str) -> bool:
            return may_reach(address, private=private)

        adapter = SocketAdapter(
            StopToken(), lambda: tls, send_timeout_s=timeout_s, may_reach=reachable
        )
        super().__init__(adapter, _anonymous)
        self._private = private

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Send one request. Raises Undelivered before a proxy is asked for a private address.

        Whoever connects directly is asked for each address by the adapter; a proxy connects by
        itself, so what counts is what this machine knows of the receiver.
        """
        url = request.url or ""
        if select_proxy(url, kwargs.get("proxies")):
            host = host_of(url)
            if not self._private:
                require_reachable(host)
            if is_here(host):
                kwargs["proxies"] = {}
        return super().send(request, **kwargs)


def may_reach(address: str, *, private: bool) -> bool:
    """Whether a receiver may have this address: a public one or this machine's, or any."""
    inner = _inner(address)
    if inner is None:
        return False
    is_public = inner.is_global and not inner.is_multicast
    return private or inner.is_loopback or (is_public and not any(inner in one for one in _LOCAL))


def require_reachable(host: str) -> None:
    """For what connects by itself. Raises Undelivered if any address of ``host`` is private.

    A name that is not known is left to whoever connects.
    """
    if not all(may_reach(address, private=False) for address in _known(host)):
        raise Undelivered(_refusal(foreign_line(host, _MAX_WORDS_CHARS)))


def is_here(host: str) -> bool:
    """Whether ``host`` is this machine, by whatever name."""
    found = [_inner(address) for address in _known(host)]
    return any(inner and (inner.is_loopback or inner.is_unspecified) for inner in found)


def require_no_proxy(host: str, scheme: str) -> None:
    """For what reads the environment by itself, as `requests` does.

    Raises Undelivered if ``host`` is this machine and would be asked by way of a proxy.
    """
    url = f"{scheme}://{f'[{host}]' if ':' in host else host}/"
    if is_here(host) and select_proxy(url, get_environ_proxies(url)):
        name = foreign_line(host, _MAX_WORDS_CHARS)
        raise Undelivered(f"{name} is this machine, not for a proxy: add {name} to NO_PROXY")


def _known(host: str) -> list[str]:
    """The addresses of ``host`` as far as this machine knows them; of an address, itself."""
    bare = host.strip("[]").rstrip(".")
    if _inner(bare):
        return [bare]
    try:
        return [place[3][0] for place in addresses(bare, 0)]
    except (OSError, ValueError):  # UnicodeError, too: it is not a name
        return []


def _inner(address: str) -> _Ip | None:
    """What is reached by way of ``address``; None if it is not one."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    return _translated(found) if found.version == 6 else found  # noqa: PLR2004 - IPv6


def _translated(address: ipaddress.IPv6Address) -> _Ip:
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
        )
    except LOST as problem:
        why = _why(foreign_line(host, _MAX_WORDS_CHARS), problem)
    else:
        _require_an_answer(url, answer)
        if answer.status_code // 100 == 2:  # noqa: PLR2004 - HTTP's success class
            return
        if answer.status_code == _GONE:
            raise Gone
        raise Undelivered(
            f"{foreign_line(host, _MAX_WORDS_CHARS)} answered {answer.status_code}",
            retry_after_s(answer.headers.get("Retry-After", ""), clock.now()),
        )
    raise Undelivered(why)


def _require_an_answer(url: str, answer: requests.Response) -> None:
    """Raises Undelivered for a page that anything on the way may have given in the answer's place.

    With https nothing on the way can, and to this machine nothing is on the way.
    """
    host = host_of(url)
    if begins_as_a_page(answer) and not url.lower().startswith("https:") and not is_here(host):
        name = foreign_line(host, _MAX_WORDS_CHARS)
        raise Undelivered(f"{name} answered {answer.status_code} with a page, as a proxy may do")


def _why(host: str, problem: BaseException) -> str:
    if any(isinstance(one, PrivateAddress) for one in chain_of(problem)):
        return _refusal(host)
    return f"{host} does not answer ({type(problem).__name__})"


def _refusal(host: str) -> str:
    return f"{host} has a private or link-local address: allow_private = true allows it"


def _anonymous(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request
