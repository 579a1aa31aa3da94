"""A server's words: found in JSON, XML, HTML or plain text, and made safe to keep.

These words come from outside: each function takes time in proportion to what it reads and raises
nothing. Sources: docs/fireworks.md, docs/gcs-resumable.md (shapes of an error).
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from urllib.parse import parse_qsl, unquote, urlsplit

import requests

from uploader.core.foreign_json import parsed
from uploader.core.redact import before_the_cut, foreign_line

#: How many characters of a server's words are kept, and how many of a body are read for them.
_MAX_WORDS_CHARS = 300
_MAX_READ_BYTES = 64 * 1024
_MAX_VALUES = 10_000
#: What is shorter at the end of a path is a word of an API, and no session's id.
_MIN_ID_CHARS = 8

_SECRET_PARAMETER = re.compile(r"signature|sig$|upload_id|token|credential", re.IGNORECASE)
_UNREAD = ("style", "script")
#: The names of those parts of a storage error that are meant for people.
_XML_PARTS = ("Code", "Message", "Details")
#: Headers with an id for support; the storage service's own is left out: it is a session's id.
_REQUEST_IDS = ("x-request-id", "x-fireworks-request-id", "cf-ray")


def body_text(response: requests.Response) -> str:
    """The beginning of a body, as text."""
    content = response.content
    text = content[:_MAX_READ_BYTES].decode("utf-8", "replace")
    # What is taken out of it afterwards may make it so short that nobody knows that it was cut.
    return before_the_cut(text) if len(content) > _MAX_READ_BYTES else text


def json_value(text: str) -> object:
    """``text`` as JSON; None if it is not JSON, or holds more values than an error has."""
    try:
        return parsed(text, _MAX_VALUES)
    except ValueError:
        return None


def plain_words(text: str) -> str:
    """The words of an XML error, of a balancer's HTML page, or of plain text."""
    found = [*_xml_parts(text)]
    words = ": ".join(dict.fromkeys(found)) if found else _without_tags(text)
    try:
        # Not cut here: what cuts a secret before it is masked lets the rest of it through.
        return html.unescape(words).strip()
    except ValueError:  # an entity with more digits than Python reads
        return words.strip()


def _xml_parts(text: str) -> Iterator[str]:
    found: list[tuple[int, str]] = []
    for name in _XML_PARTS:
        opening, closing = f"<{name}>", f"</{name}>"
        at = text.find(opening)
        while at >= 0:
            start = at + len(opening)
            end = text.find(closing, start)
            if end < 0:
                break
            found.append((at, text[start:end]))
            at = text.find(opening, end)
    yield from (part for _, part in sorted(found))


def _without_tags(text: str) -> str:
    """Text between tags; an unclosed tag is text, the content of style and script is not."""
    words, skipped = [], ""
    for number, piece in enumerate(text.split("<")):
        tag, closed, after = piece.partition(">")
        name = tag.lower()
        if skipped:
            if not name.startswith(f"/{skipped}"):
                continue
            skipped = ""
        if number and closed:
            skipped = next((word for word in _UNREAD if name.startswith(word)), "")
            words.append("" if skipped else after)
        else:
            words.append(f"<{piece}" if number else piece)
    return " ".join(words)


def phrase(status: int) -> str:
    """What HTTP calls a status."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "no words"


def kept(words: str, response: requests.Response | None = None) -> str:
    """``words`` as they may be kept: one short line without this request's own secrets."""
    secrets = () if response is None else secrets_of(response.request)
    return foreign_line(words, _MAX_WORDS_CHARS, *secrets)


def secrets_of(request: requests.PreparedRequest | None) -> tuple[str, ...]:
    """The secrets of a request: its URL, the secret values in it, and its bearer token.

    A session's id may be the last part of its path, if its query holds none.
    """
    if request is None:
        return ()
    url = request.url or ""
    parts = urlsplit(url)
    values = [v for name, v in parse_qsl(parts.query) if _SECRET_PARAMETER.search(name)]
    bearer = str(request.headers.get("Authorization", "")).removeprefix("Bearer ")
    last = parts.path.rstrip("/").rpartition("/")[2]
    is_id = len(last) >= _MIN_ID_CHARS and not (bearer or any(values))
    session = [last, unquote(last)] if is_id else []
    whole = [url, parts.query] if parts.query or is_id else []
    return tuple(dict.fromkeys(filter(None, [*whole, bearer, *values, *session])))


def http_date(text: str) -> datetime | None:
    """The time that a header gives, in UTC unless it says otherwise; None if it is not a time."""
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def request_id(response: requests.Response) -> str:
    """The id under which the service's support finds this exchange; empty if there is none."""
    found = next(filter(None, map(response.headers.get, _REQUEST_IDS)), "")
    return foreign_line(found, 100, *secrets_of(response.request))
