"""The one list of secret patterns, and the type that does not print its secret.

Two layers (docs/invariants.md, no. 8): values known to be secret travel as `Secret`; text that came
from elsewhere (a server's message, a file's name, a library's exception) passes `foreign_line`
before it is kept, and `redact` before it is printed. Both take time in proportion to the text,
whatever it says: it comes from outside.
"""

from __future__ import annotations

import base64
import functools
import re
from collections import deque
from dataclasses import dataclass

MASK = "***"

#: How much of a foreign text is read.
_MAX_FOREIGN_CHARS = 8 * 1024
#: A shorter secret may look like an ordinary word in one of its spellings.
_MIN_SPELLED_CHARS = 8
#: A longer one (a whole URL) is only searched for as it is: its parts are known secrets, too.
_MAX_SPELLED_CHARS = 1024

#: The API keys of this process, newest last: a replaced key is still a secret.
_KEYS: deque[str] = deque(maxlen=8)

_RUN = re.compile(r"[^\s\"'<>]+")
_SECRET_PARAMETER = re.compile(
    r"upload_id|x-goog-|x-amz-|signature|sig=|token|credential|api_?key", re.IGNORECASE
)
#: Session ids and signatures without their URL, bearer headers, keys of Fireworks and others.
_PATTERNS: tuple[re.Pattern[str], ...] = (
    re.compile(r"(?<=upload_id=)[^\s&\"'<>]+", re.IGNORECASE),
    re.compile(r"(?<=signature=)[^\s&\"'<>]+", re.IGNORECASE),
    re.compile(r"(?<=bearer )[^\s\"',]+", re.IGNORECASE),
    re.compile(r"\b(?:fw|hf)_[A-Za-z0-9_-]{6,}"),
    re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}"),
)


def remember(key: ApiKey) -> None:
    """Make `redact` and `foreign_line` find this key, too, from now on."""
    value = key.reveal()
    if len(value) >= _MIN_SPELLED_CHARS and value not in _KEYS:
        _KEYS.append(value)


def redact(text: str, *known: str) -> str:
    """``text`` without signed queries, session ids, keys and any of the ``known`` secrets.

    Every key that `remember` got is known.

    A known secret is found in every spelling: percent-encoded, as JSON escapes it, in base64 or
    hexadecimal, in other case, broken over lines.
    """
    return _masked(text, known, every_query=False)


def foreign_line(text: str, max_chars: int, *known: str) -> str:
    """Foreign text as one printable line of at most ``max_chars``, cut and redacted.

    Every query string of an address is masked, whatever its parameters are called.
    """
    cut = len(text) > _MAX_FOREIGN_CHARS
    masked = _masked(text[:_MAX_FOREIGN_CHARS], known, every_query=True)
    line = " ".join("".join(c if c.isprintable() else " " for c in masked).split())
    if cut and len(line) <= max_chars:  # no part of a secret may stay if the cut goes through it
        line = line[:-_MAX_SPELLED_CHARS]
    return line if len(line) <= max_chars else line[: max_chars - 1] + "…"


def _masked(text: str, known: tuple[str, ...], *, every_query: bool) -> str:
    for secret in sorted({*filter(None, known), *_KEYS.copy()}, key=len, reverse=True):
        text = text.replace(secret, MASK)
        for spelling in _spellings(secret):
            text = spelling.sub(MASK, text)
    text = _RUN.sub(lambda run: _without_query(run[0], every=every_query), text)
    for pattern in _PATTERNS:
        text = pattern.sub(MASK, text)
    return text


def _without_query(run: str, *, every: bool) -> str:
    place, mark, query = run.partition("?")
    address = every and ("=" in query or "://" in place or place.startswith("/"))
    if query and (address or _SECRET_PARAMETER.search(query)):
        return f"{place}{mark}{MASK}"
    return run


@functools.lru_cache(maxsize=32)
def _spellings(secret: str) -> tuple[re.Pattern[str], ...]:
    if not _MIN_SPELLED_CHARS <= len(secret) <= _MAX_SPELLED_CHARS or not secret.isascii():
        return ()
    # Each character has its own ways of being written, and a line may break between any two.
    encoded = "|".join(map(_broken, sorted(_base64_forms(secret.encode()))))
    return (
        re.compile(_BREAK.join(map(_written, secret)), re.IGNORECASE),
        re.compile(_broken(secret.encode().hex()), re.IGNORECASE),
        re.compile(encoded),
    )


#: The line breaks of MIME, a traceback or JSON text.
_BREAK = r"(?:\s|\\[nrt]){0,3}"


def _broken(text: str) -> str:
    return _BREAK.join(map(re.escape, text))


def _written(char: str) -> str:
    number = ord(char)
    return rf"(?:\\?{re.escape(char)}|%{number:02x}|\\u{number:04x})"


def _base64_forms(secret: bytes) -> set[str]:
    """What ``secret`` surely looks like inside base64, wherever in it the secret begins."""
    forms = set()
    for shift in range(3):
        text = base64.b64encode(bytes(shift) + secret).decode("ascii")
        sure = text[(shift * 8 + 5) // 6 : (shift + len(secret)) * 8 // 6]
        forms |= {sure, sure.replace("+", "-").replace("/", "_")}
    return forms


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """A string that prints as ``***``; only `reveal` gives it away."""

    value: str

    def reveal(self) -> str:
        """The string itself: for the request that needs it, never for text that people read."""
        return self.value

    def __repr__(self) -> str:
        return f"{type(self).__name__}({MASK})"

    __str__ = __repr__


class SessionUri(Secret):
    """A GCS resumable session: a bearer secret that lives up to a week.

    See docs/gcs-resumable.md §1.1.
    """


class SignedUrl(Secret):
    """A signed upload URL: a bearer secret until it expires (docs/fireworks.md §2)."""


class ApiKey(Secret):
    """The Fireworks API key."""
