"""The head of a request, read strictly: nonsense is reported, never guessed at."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import parse_qsl, unquote, urlsplit

from uploader.sandbox.wire import Headers

_TARGET = re.compile(r"/(?!/)[!-~]*")
_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FIELD_VALUE = re.compile(r"[\t -~\x80-\xff]*")
_LENGTH = re.compile(r"[0-9]{1,19}")
#: Fields that may come several times; all others may come only once (RFC 9110 §5.3).
_LISTS = {"x-goog-hash", "accept", "accept-encoding", "accept-language", "cookie", "via"}
_LISTS |= {"x-forwarded-for", "cache-control", "connection"}


class Nonsense(ValueError):
    """The request is malformed; the message says why, without quoting the request."""


def check_target(target: str) -> None:
    """Raises Nonsense for a target that is not a path with a query, in UTF-8 once decoded."""
    if not _TARGET.fullmatch(target):
        raise Nonsense("the target is not a path")
    split = urlsplit(target)
    try:
        unquote(split.path, errors="strict")
        pairs = parse_qsl(split.query, keep_blank_values=True, errors="strict")
    except ValueError:
        raise Nonsense("the target is not text in UTF-8") from None
    if len({name for name, _ in pairs}) < len(pairs):
        raise Nonsense("a parameter of the query comes twice")


def read_fields(pairs: Iterable[tuple[str, str]]) -> Headers:
    """The header fields. Raises Nonsense for illegal ones, and for one that comes twice."""
    fields: dict[str, str] = {}
    for name, raw in pairs:
        value, key = raw.strip(), name.lower()
        if not _FIELD_NAME.fullmatch(name) or not _FIELD_VALUE.fullmatch(value):
            raise Nonsense("a header field is malformed")
        if key in fields and key not in _LISTS:
            raise Nonsense("a header field comes twice")
        fields[key] = f"{fields[key]},{value}" if key in fields else value
    return Headers(fields.items())


def body_length(headers: Headers) -> int:
    """The length of the body. Raises Nonsense if it is not a number, or far too large."""
    length = headers.get("content-length", "0")
    if not _LENGTH.fullmatch(length):
        raise Nonsense("Content-Length is not a length")
    if headers.get("content-length") and "transfer-encoding" in headers:
        raise Nonsense("Content-Length and Transfer-Encoding exclude each other")
    return int(length)
