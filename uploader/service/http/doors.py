"""The doors of the API: who is let in, how fast, with how much; and what no answer goes without.

In this order: the Host must be ours (a page that rebinds its name to this address keeps its own),
the Origin must be ours, the path is open or the request has the token or the cookie, there are
not too many, and the body is small JSON.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from uploader.core.addresses import is_loopback
from uploader.core.api_reasons import ApiCode
from uploader.runtime import Clock
from uploader.service.http import problems
from uploader.service.http.door import LINK, PROOF
from uploader.service.http.peer import PEER, Peer
from uploader.service.http.problems import Refusal
from uploader.service.http.tokens import Keeper

MAX_BODY_BYTES = 1_000_000
_MAX_DIGITS = len(str(MAX_BODY_BYTES))
#: These tell whether it lives, and nothing else; the link and the question bring their own proof.
#: Never too often: whoever restarts what looks dead must not be misled by others who ask.
OPEN = ("/livez", "/readyz")
#: Of our cookie's name in one request: each takes a signature to check.
_MAX_COOKIES = 16
_READING = ("GET", "HEAD", "OPTIONS")
_KNOWN_PER_S, _STRANGERS_PER_S, _LINKS_PER_S = 100.0, 20.0, 10.0

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_ALWAYS: Mapping[str, str] = {
    "Content-Security-Policy": _POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Bucket:
    """Requests per second, with twice as many at once; one loop uses it, so it needs no lock."""

    def __init__(self, per_s: float, clock: Clock) -> None:
        self._per_s = per_s
        self._clock = clock
        self._left = 2 * per_s
        self._at = clock.boot_s()

    def take(self) -> bool:
        """May one more pass?"""
        now = self._clock.boot_s()
        self._left = min(2 * self._per_s, self._left + (now - self._at) * self._per_s)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


@dataclass(frozen=True, slots=True)
class Names:
    """The hosts that a request may be for. An IP address in a Host cannot be a rebound name."""

    given: Collection[str]
    remote: bool

    def holds(self, netloc: str) -> bool:
        """Is ``netloc``, HOST or HOST:PORT, a name of this API?"""
        try:
            name = (urlsplit(f"//{netloc}").hostname or "").lower()
        except ValueError:
            return False
        if name in self.given or name == "localhost" or is_loopback(name):
            return True
        return self.remote and _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class Doors:
    """The whole application behind its doors."""

    def __init__(
        self, app: ASGIApp, keeper: Keeper, names: Names, address: str, clock: Clock
    ) -> None:
        """``address`` is the one that links are for."""
        self._app = app
        self._keeper = keeper
        self._address = address
        self._names = names
        self._known = Bucket(_KNOWN_PER_S, clock)
        self._strangers = Bucket(_STRANGERS_PER_S, clock)
        self._links = Bucket(_LINKS_PER_S, clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request; other protocols than HTTP are not spoken."""
        if scope["type"] != "http":
            return

        peer = _peer(scope)

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if peer is not None and not peer.welcome:
                    headers["Connection"] = "close"  # a stranger's next request costs a connection
                for name, value in _ALWAYS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            headers = Headers(scope=scope)
            known = await self._let_in(scope, headers)
            body = await _body(headers, receive, read=known)
        except Refusal as refusal:
            await problems.response(refusal, _extra(refusal))(scope, receive, guarded)
            return
        await self._app(_without_cookies(scope), body, guarded)

    async def _let_in(self, scope: Scope, headers: Headers) -> bool:
        """Is whoever asks known? Raises Refusal."""
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._names.holds(hosts[0]):
            raise Refusal(ApiCode.FOREIGN_HOST)
        path = str(scope["path"])
        _check_origin(headers, hosts[0], path)
        known = await self._is_known(scope, headers)
        if (peer := _peer(scope)) is not None:
            peer.welcome = known
        if path not in OPEN and not self._bucket(path, known=known).take():
            raise Refusal(ApiCode.TOO_FAST)
        if not known and path not in OPEN and not _is_shown(path):
            raise Refusal(ApiCode.UNAUTHORIZED)
        if scope["method"] not in _READING:
            _check_body(headers)
        return known

    def _bucket(self, path: str, *, known: bool) -> Bucket:
        """Strangers use up only what is theirs: not the turn of who shows something of ours."""
        if known:
            return self._known
        return self._links if self._is_ours(path) else self._strangers

    def _is_ours(self, path: str) -> bool:
        """Does it end in a link, or a question, that somebody made who knows the token?"""
        if _is_below(LINK, path):
            return self._keeper.knows_link(path.removeprefix(LINK), self._address)
        asked = path.removeprefix(PROOF)
        return _is_below(PROOF, path) and self._keeper.answer(asked, self._address) is not None

    async def _is_known(self, scope: Scope, headers: Headers) -> bool:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self._keeper.knows_token(token.strip()):
            return True
        cookies = islice(_values(headers, self._keeper.cookie_name), _MAX_COOKIES)
        owners = {self._keeper.owner_of(one) for one in cookies} - {None}
        return "" in owners or (bool(owners) and str(await user_of(scope)) in owners)


async def user_of(scope: Scope) -> int | None:
    """The user of this machine who asks, if the system says who that is.

    Only for whoever shows a link or a cookie of ours: a stranger has no such question asked.
    Raises Refusal.
    """
    peer = _peer(scope)
    try:
        return None if peer is None else await peer.user()
    except OSError:  # TimeoutError is one
        raise Refusal(ApiCode.TOO_FAST, "the system does not say now who asks") from None


def _peer(scope: Scope) -> Peer | None:
    found: Peer | None = scope.get("state", {}).get(PEER)
    return found


def _is_shown(path: str) -> bool:
    """Does it bring its own proof?"""
    return _is_below(LINK, path) or _is_below(PROOF, path)


def _is_below(folder: str, path: str) -> bool:
    """One name and nothing below it: from there, `..` would lead to the page."""
    name = path.removeprefix(folder)
    return path.startswith(folder) and "/" not in name and name not in ("", ".", "..")


def _values(headers: Headers, name: str) -> Iterator[str]:
    """The values of the cookie ``name``. The standard library reads some cookies for minutes."""
    for pair in headers.get("cookie", "").split(";"):
        found, _, value = pair.strip().partition("=")
        if found == name:
            yield value


def _without_cookies(scope: Scope) -> Scope:
    """What the application gets: it would read all cookies of a stranger, and needs none."""
    return {**scope, "headers": [one for one in scope["headers"] if one[0] != b"cookie"]}


def _check_origin(headers: Headers, host: str, path: str) -> None:
    """Another port of this host is another page, although a browser sends it our cookie."""
    origin = headers.get("origin")
    if origin is not None and _netloc(origin) != host.lower():
        raise Refusal(ApiCode.FOREIGN_ORIGIN)
    # A question whose answer it may not read, or a frame, has no Origin, and would keep us busy.
    asked = (headers.get("sec-fetch-mode", "navigate"), headers.get("sec-fetch-dest", "document"))
    is_link = origin is None and asked == ("navigate", "document") and not path.startswith("/api/")
    if headers.get("sec-fetch-site") in ("cross-site", "same-site") and not is_link:
        raise Refusal(ApiCode.FOREIGN_ORIGIN)


def _netloc(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:  # half an IPv6 address
        return ""


def _check_body(headers: Headers) -> None:
    length = headers.get("content-length")
    if length is not None and not _is_small(length):
        raise Refusal(ApiCode.TOO_LARGE)
    kind = headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refusal(ApiCode.NOT_JSON)


def _is_small(length: str) -> bool:
    digits = length.lstrip("0") or "0"
    return digits.isdecimal() and len(digits) <= _MAX_DIGITS and int(digits) <= MAX_BODY_BYTES


async def _body(headers: Headers, receive: Receive, *, read: bool) -> Receive:
    """``receive`` for a body that does not say its length: counted, and then handed on.

    What is open to strangers needs no body: without ``read``, theirs fills no memory.
    """
    if "chunked" not in headers.get("transfer-encoding", "").lower():
        return receive
    whole = bytearray()
    more = read
    while more:
        message = await receive()
        if message["type"] != "http.request":
            break
        whole += message.get("body", b"")
        more = message.get("more_body", False)
        if len(whole) > MAX_BODY_BYTES:
            raise Refusal(ApiCode.TOO_LARGE)
    parts = iter([{"type": "http.request", "body": bytes(whole), "more_body": False}])

    async def again() -> Message:
        return next(parts, None) or await receive()

    return again


def _extra(refusal: Refusal) -> Mapping[str, str]:
    if refusal.code is ApiCode.UNAUTHORIZED:
        return {"WWW-Authenticate": "Bearer"}
    # What is left of the body is not read: the connection ends with the answer.
    return {"Connection": "close"} if refusal.code is ApiCode.TOO_LARGE else {}
