"""The one list of secret patterns, and the type that does not print its secret.

Two layers (docs/invariants.md, no. 8): values known to be secret travel as `Secret`; text that came
from elsewhere (a server's message, a file's name, a library's exception) passes `foreign_line`
before it is kept, and `redact` before it is printed. Both take time in proportion to the text,
whatever it says: it comes from outside.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from uploader.core.spellings import MIN_CHARS, origin, read, spans

MASK = "***"

#: How much of a foreign text is read.
_MAX_FOREIGN_CHARS = 8 * 1024
#: How much of its end is left out if it is longer, not counting what is ignored in a spelling: the
#: beginning of a secret that is spelled with eleven characters for each of its own.
_MAX_CUT_CHARS = 4 * 1024
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
    # hf_quant_config.json, which quantized checkpoints have, is not a key.
    re.compile(r"\b(?:fw|hf)_(?!quant_config\.json\b)[A-Za-z0-9_-]{6,}"),
    re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}"),
)


def remember(key: ApiKey) -> None:
    """Make `redact` and `foreign_line` find this key, too, from now on."""
    value = key.reveal()
    if len(value) >= MIN_CHARS and value not in _KEYS:
        _KEYS.append(value)


def known_keys() -> list[bytes]:
    """Every key that `remember` got, as a file would hold it."""
    return [key.encode() for key in _KEYS.copy()]


def redact(text: str, *known: str) -> str:
    """``text`` without signed queries, session ids, keys and any of the ``known`` secrets.

    Every key that `remember` got is known. What only looks like a secret is found as it is, and
    with its codes of URLs, JSON or HTML.

    A known secret is found in the spellings that software writes: percent-encoded (again and
    again), as JSON or HTML escapes it, in base64 or hexadecimal; each of them in other case, spaced
    out or broken over lines.
    """
    return _masked(text, known, every_query=False)


def tells(text: str, *known: str) -> bool:
    """Does ``text`` tell a secret that `redact` knows? What only looks like one does not count."""
    return _without_known(text, known) != text


def foreign_line(text: str, max_chars: int, *known: str) -> str:
    """Foreign text as one printable line of at most ``max_chars``, cut and redacted.

    Every query string of an address is masked, whatever its parameters are called.
    """
    masked = _masked(text[:_MAX_FOREIGN_CHARS], known, every_query=True)
    if len(text) > _MAX_FOREIGN_CHARS:
        masked = before_the_cut(masked)
    line = " ".join("".join(c if c.isprintable() else " " for c in masked).split())
    return line if len(line) <= max_chars else line[: max_chars - 1] + "…"


def before_the_cut(text: str) -> str:
    """``text`` without its end: the cut may go through a secret, whatever stands within that."""
    end, left = len(text), _MAX_CUT_CHARS
    for ignored in reversed([*_IGNORED.finditer(text)]):
        if end - ignored.end() >= left:
            break
        left -= end - ignored.end()
        end = ignored.start()
    return text[: max(0, end - left)]


def _masked(text: str, known: tuple[str, ...], *, every_query: bool) -> str:
    text = _without_known(text, known)
    found = [*_secret_parts(text, every_query=every_query)]
    if coded := [*_secret_parts(read(text), every_query=every_query)]:
        codes = origin(text)
        found += [codes.span(*at) for at in coded]
    return _without(text, found)


def _without_known(text: str, known: tuple[str, ...]) -> str:
    secrets = sorted({*filter(None, known), *_KEYS.copy()}, key=len, reverse=True)
    for secret in secrets:
        text = text.replace(secret, MASK)
    return _without(text, spans(text, secrets))


def _secret_parts(text: str, *, every_query: bool) -> Iterator[tuple[int, int]]:
    """What looks like a secret, known or not."""
    for run in _RUN.finditer(text) if "?" in text else ():
        place, mark, query = run[0].partition("?")
        address = every_query and ("=" in query or "://" in place or place.startswith("/"))
        if query and (address or _SECRET_PARAMETER.search(query)):
            yield run.start() + len(place) + len(mark), run.end()
    for pattern in _PATTERNS:
        yield from (found.span() for found in pattern.finditer(text))


def _without(text: str, parts: Iterable[tuple[int, int]]) -> str:
    kept, end = [], 0
    for begin, stop in sorted(parts):
        start = begin - 1 if text[begin - 1 : begin] == "\\" else begin
        if start >= end:
            kept += [text[end:start], MASK]
        end = max(end, stop)
    return "".join([*kept, text[end:]])


#: What is not counted at a cut: white space, characters without width, and both as codes.
_PERCENT = r"%(?:25){0,4}"
_IGNORED = re.compile(
    r"(?:\s|[\u00ad\u200b-\u200f\u2060-\u2064\ufeff]|\\[nrt]?"
    rf"|{_PERCENT}(?:20|0[9ad])|{_PERCENT}e2{_PERCENT}80{_PERCENT}8[b-f])++",
    re.IGNORECASE,
)


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
