"""Who may use a port: a client that means this port, but not a page in a browser.

Someone else's hostname that resolves to loopback (DNS rebinding) shows up in Host, a browser page
in Origin.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from urllib.parse import urlsplit

from uploader.sandbox.wire import Headers, Response, json_response

_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


def own_hosts(port: int, announced: str) -> set[str]:
    """The Host values of a port on loopback, and that of the URL that it is announced with."""
    return {*(f"{name}:{port}" for name in _LOOPBACK), urlsplit(announced).netloc.lower()}


def refusal(headers: Headers, own: AbstractSet[str]) -> Response | None:
    """The refusal of a request for another host, or from a page of another origin; else None."""
    if headers.get("host", "").lower() not in own:
        return json_response(421, {"error": "this port only answers requests for its own Host"})
    origin = headers.get("origin")
    if origin is not None and not _is_own(origin, own):
        return json_response(403, {"error": "this port does not answer pages of another origin"})
    return None


def _is_own(origin: str, own: AbstractSet[str]) -> bool:
    scheme, _, host = origin.partition("://")
    return scheme in ("http", "https") and host.lower() in own
