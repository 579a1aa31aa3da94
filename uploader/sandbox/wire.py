"""What goes over the wire, without sockets: a Request in, a Response or a ConnectionCut out."""

from __future__ import annotations

import hmac
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from http.client import responses
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from uploader.sandbox.script import Fault

BLOCK_BYTES = 256 * 1024
_LARGEST_JSON_BYTES = 16 << 20


class ConnectionCut(ConnectionError):
    """The connection ends without an answer: by a TCP reset, or closed in order."""

    def __init__(self, *, reset: bool) -> None:
        super().__init__("connection reset" if reset else "connection closed without an answer")
        self.reset = reset


class Headers(dict[str, str]):
    """Header fields under lower-case names."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        super().__init__((name.lower(), value.strip()) for name, value in pairs)


class Body(ABC):
    """A request body of known length, read once and in bounded blocks."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.unread = length

    def read(self, limit: int = BLOCK_BYTES) -> bytes:
        """At most `limit` bytes; b"" at the end. Raises ConnectionError if the client is gone."""
        if not self.unread:
            return b""
        block = self._next(min(limit, self.unread))
        if not block:
            raise ConnectionCut(reset=False)
        self.unread -= len(block)
        return block

    @abstractmethod
    def _next(self, limit: int) -> bytes:
        """Between 1 and `limit` bytes; b"" if the client ended early."""


@dataclass
class Request:
    """One request; `target` is the path with its query, as sent."""

    method: str
    target: str
    headers: Headers
    body: Body
    fault: Fault | None = None

    @property
    def path(self) -> str:
        """The path of the target, without the query and unquoted."""
        return unquote(urlsplit(self.target).path)

    @property
    def query(self) -> dict[str, str]:
        """The parameters of the target; if one is repeated, the last one counts."""
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))

    def suffers(self, do: str) -> bool:
        """True if the script wants this fault on this request."""
        return self.fault is not None and self.fault.do == do


@dataclass
class Response:
    """One answer; Content-Length is added by whoever puts it on the wire.

    `raw` replaces it on the wire, byte for byte, for answers that no proper server gives; the
    connection ends after it. `abrupt`: the connection ends at once, with whatever was not read.
    """

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    raw: Iterator[bytes] | None = None
    abrupt: bool = False


@dataclass(frozen=True)
class Route:
    """What a request leads to: its names in a fault script, and the answer."""

    on: str
    name: str
    answer: Callable[[Request], Response]


def head(response: Response, *, length: int | None, close: bool = True) -> bytes:
    """Status line and headers; without a `length` the body ends with the connection."""
    headers = {"date": formatdate(usegmt=True), **response.headers}
    if length is not None:
        headers["content-length"] = str(length)
    if close:
        headers["connection"] = "close"
    lines = [f"HTTP/1.1 {response.status} {responses.get(response.status, '')}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def carries(request: Request, token: str) -> bool:
    """True if the request shows this bearer token."""
    shown = request.headers.get("authorization", "")
    return hmac.compare_digest(shown.encode(), f"Bearer {token}".encode())


def json_response(status: int, document: Any, **headers: str) -> Response:
    """A JSON answer; underscores in header names become hyphens."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = json.dumps(document).encode()
    return Response(status, {"content-type": "application/json", **named}, body)


def read_body(body: Body) -> bytes:
    """The rest of a body whose length was found to be acceptable."""
    return b"".join(iter(body.read, b""))


#: Two for each file of the largest model: small values would take far more memory than bytes.
_MAX_VALUES = 300_000


def read_json(request: Request) -> Any:
    """The parsed body: {} for an empty one, None for one that is not strict JSON in UTF-8."""
    content = read_body(request.body)
    if sum(map(content.count, (b"[", b"{", b","))) > _MAX_VALUES:
        return None
    try:
        text = content.decode()
        return json.loads(text, parse_constant=_refuse, object_pairs_hook=_object) if text else {}
    except (ValueError, RecursionError):
        return None


def is_too_long(request: Request) -> bool:
    """True for a body that no call of the control plane has."""
    return request.body.length > _LARGEST_JSON_BYTES


def _refuse(name: str) -> Any:
    raise ValueError(name)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        raise ValueError("a name comes twice")
    return document
