"""Who may talk to a port: a client that means this port, and no page of a browser.

A name of somebody else that leads to loopback (DNS rebinding) shows in Host, a page in Origin.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from urllib.parse import urlsplit

from uploader.sandbox.wire import Headers, Response, json_response

_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


def own_hosts(port: int, announced: str) -> set[str]:
    """The Host values of a port on loopback, and that of the URL it is announced under."""
    return {*(f"{name}:{port}" for name in _LOOPBACK), urlsplit(announced).netloc.lower()}


def refusal(headers: Headers, own: AbstractSet[str]) -> Response | None:
    """The answer to a request for another host, or out of a page of another; else None."""
    if headers.get("host", "").lower() not in own:
        return json_response(421, {"error": "this port answers only to its own Host"})
    origin = headers.get("origin")
    if origin is not None and not _is_own(origin, own):
        return json_response(403, {"error": "this port answers no page of another origin"})
    return None


def _is_own(origin: str, own: AbstractSet[str]) -> bool:
    scheme, _, host = origin.partition("://")
    return scheme in ("http", "https") and host.lower() in own
