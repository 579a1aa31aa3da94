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
from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain

MASK = "***"

#: How much of a foreign text is read.
_MAX_FOREIGN_CHARS = 8 * 1024
#: How much of its end is left out if it is longer, not counting what is ignored in a spelling: the
#: beginning of a secret that is spelled with eleven characters for each of its own.
_MAX_CUT_CHARS = 4 * 1024
#: A shorter secret may look like an ordinary word in one of its spellings.
_MIN_SPELLED_CHARS = 8
#: A longer one (a whole URL) is only searched for as it is: its parts are known secrets, too.
_MAX_SPELLED_CHARS = 1024

#: This much of a spelling's end is looked for first.
_END_CHARS = 6

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
    if len(value) >= _MIN_SPELLED_CHARS and value not in _KEYS:
        _KEYS.append(value)


def known_keys() -> list[bytes]:
    """Every key that `remember` got, as a file would hold it."""
    return [key.encode() for key in _KEYS.copy()]


def redact(text: str, *known: str) -> str:
    """``text`` without signed queries, session ids, keys and any of the ``known`` secrets.

    Every key that `remember` got is known.

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
    if "?" in text:
        text = _RUN.sub(lambda run: _without_query(run[0], every=every_query), text)
    for pattern in _PATTERNS:
        text = pattern.sub(MASK, text)
    return text


def _without_known(text: str, known: tuple[str, ...]) -> str:
    secrets = sorted({*filter(None, known), *_KEYS.copy()}, key=len, reverse=True)
    for secret in secrets:
        text = text.replace(secret, MASK)
    return _without_spellings(text, secrets)


def _without_query(run: str, *, every: bool) -> str:
    place, mark, query = run.partition("?")
    address = every and ("=" in query or "://" in place or place.startswith("/"))
    if query and (address or _SECRET_PARAMETER.search(query)):
        return f"{place}{mark}{MASK}"
    return run


def _without_spellings(text: str, secrets: list[str]) -> str:
    """``text`` without the ``secrets`` in their spellings, whatever stands between the characters.

    They are searched for in the text without all that may be ignored, so that the patterns need
    not allow for it between any two characters, which would take time beyond proportion.
    """
    bare = _IGNORED.sub("", text)
    secrets = [one for one in secrets if _has_spellings(one) and _ends(one).search(bare)]
    if not secrets:
        return text
    pieces, starts, places, at, end = [], [], [], 0, 0
    for ignored in chain(_IGNORED.finditer(text), (None,)):
        piece = text[end : ignored.start() if ignored else len(text)]
        if piece:
            pieces.append(piece)
            starts.append(at)
            places.append(end)
            at += len(piece)
        end = ignored.end() if ignored else end
    squeezed = "".join(pieces)

    def place(found: int) -> int:
        piece = bisect_right(starts, found) - 1
        return places[piece] + found - starts[piece]

    def begin(found: int) -> int:
        at = place(found)
        return at - 1 if text[at - 1 : at] == "\\" else at

    spans = sorted(
        (begin(found.start()), place(found.end() - 1) + 1)
        for secret in secrets
        for pattern in _spellings(secret)
        for found in pattern.finditer(squeezed)
    )
    kept, end = [], 0
    for start, stop in spans:
        if start >= end:
            kept += [text[end:start], MASK]
        end = max(end, stop)
    return "".join([*kept, text[end:]])


@functools.lru_cache(maxsize=32)
def _bare(secret: str) -> str:
    return _IGNORED.sub("", secret)


def _has_spellings(secret: str) -> bool:
    return secret.isascii() and _MIN_SPELLED_CHARS <= len(_bare(secret)) <= _MAX_SPELLED_CHARS


@functools.lru_cache(maxsize=32)
def _ends(secret: str) -> re.Pattern[str]:
    """How every spelling of ``secret`` ends; most texts hold none, and this is made in no time."""
    raw = secret.encode()
    literal = {form[-_END_CHARS:] for form in (raw.hex(), *_base64_forms(raw))}
    written = "".join(map(_written, _bare(secret)[-_END_CHARS:]))
    return re.compile("|".join([written, *map(re.escape, sorted(literal))]), re.IGNORECASE)


@functools.lru_cache(maxsize=32)
def _spellings(secret: str) -> tuple[re.Pattern[str], ...]:
    """What to search for in a text without all that is ignored."""
    raw = secret.encode()
    return (
        re.compile("".join(map(_written, _bare(secret))), re.IGNORECASE),
        re.compile(raw.hex(), re.IGNORECASE),
        re.compile("|".join(map(re.escape, sorted(_base64_forms(raw))))),
    )


#: What may stand between two characters of a secret: whatever is not a visible character of ASCII,
#: the backslash of an escape, a line break as JSON or a traceback writes it, and blanks in a URL.
#: It is possessive, as backtracking would take a hundred bytes of memory for each character.
_PERCENT = r"%(?:25){0,4}"
_IGNORED = re.compile(
    r"(?:[^!-~]|\\[nrt]?"
    rf"|{_PERCENT}(?:20|0[9ad])|{_PERCENT}e2{_PERCENT}80{_PERCENT}8[b-f])++",
    re.IGNORECASE,
)
#: How HTML begins what it writes by number or name, and HTML that shows HTML.
_ENTITY = r"&(?:amp;){0,4}"


def _written(char: str) -> str:
    """The ways to write a character, without the backslash that may precede it."""
    number = ord(char)
    code = rf"u{number:04x}|u\{{0*+{number:x}\}}|x{number:02x}"
    html = "|".join([rf"#0*+{number};?", rf"#x0*+{number:x};?", *_html_names()[char]])
    return rf"(?:{re.escape(char)}|{_PERCENT}{number:02x}|{code}|{_ENTITY}(?:{html}))"


@functools.cache
def _html_names() -> Mapping[str, list[str]]:
    """How HTML calls characters, like ``lowbar;``."""
    from html.entities import html5  # noqa: PLC0415 - most texts hold no secret, in no spelling

    names = defaultdict[str, list[str]](list)
    for name, char in html5.items():
        names[char].append(name)
    return names


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
