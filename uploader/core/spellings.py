"""Where a text tells a secret in another spelling than its own.

Whoever writes the text may have chosen the secret, too, as the storage host chooses the id of a
session. So no pattern is made of a secret: the text is read as what its codes stand for, and what
is looked for in that is a string. It takes time in proportion to the text, whatever both are.
"""

from __future__ import annotations

import base64
import functools
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator

#: A shorter secret may look like an ordinary word in one of its spellings.
MIN_CHARS = 8
#: What may stand between two characters of a secret, or of a code: whatever is not a visible
#: character of ASCII, and a line break as JSON or a traceback writes it.
_BETWEEN = re.compile(r"(?:[^!-~]|(?<!\\)\\++[nrt])++")
#: Codes of URLs (of URLs, again and again), of programs and JSON, and of HTML (of HTML); and the
#: backslash before what needs none.
_CODE = re.compile(
    r"%(?:25(?=[0-9a-f]{2}))*+(?P<percent>[0-9a-f]{2})"
    r"|\\++(?:u(?P<four>[0-9a-f]{4})|x(?P<two>[0-9a-f]{2})|u\{0*+(?P<braces>[0-9a-f]{1,6})\})?"
    r"|&(?:amp;)*+(?:\#0*+(?P<number>[0-9]{1,7});?|\#x0*+(?P<hex>[0-9a-f]{1,6});?"
    r"|(?P<name>[a-z]{1,32});)?",
    re.IGNORECASE,
)


def read(text: str) -> str:
    """``text`` with each code as the character that it stands for."""
    return _CODE.sub(_char, text)


def origin(text: str) -> Origin:
    """Where the characters that `read` returns come from: it takes much memory for many codes."""
    return Origin(_CODE, _char, text)


def spans(text: str, secrets: Iterable[str]) -> list[tuple[int, int]]:
    """Where ``text`` begins and ends to tell one of the ``secrets``; some may overlap.

    As it is or percent-encoded, as JSON or HTML escapes it, in base64 or hexadecimal; each of them
    in other case, but for base64, and with anything invisible or beyond ASCII in between.
    """
    bare = _BETWEEN.sub("", text)
    meant = read(bare)
    forms = [form for secret in secrets for form in _forms(secret)]
    as_shown, as_meant = (_places(one, one.lower(), forms) for one in (bare, meant))
    if not as_shown and not as_meant:
        return []
    shown, coded = Origin(_BETWEEN, lambda _: "", text), origin(bare)
    return [shown.span(*at) for at in as_shown + [coded.span(*at) for at in as_meant]]


@functools.lru_cache(maxsize=32)
def _forms(secret: str) -> tuple[tuple[str, bool], ...]:
    """What to look for, and whether in this case only; nothing for what may be a word."""
    bare = _BETWEEN.sub("", secret)
    meant = read(bare)
    if not secret.isascii() or len(meant) < MIN_CHARS:
        return ()
    raw = secret.encode()
    folded = {bare.lower(), meant.lower(), raw.hex()}
    return *((form, False) for form in folded), *((form, True) for form in _base64_forms(raw))


def _places(text: str, folded: str, forms: Iterable[tuple[str, bool]]) -> list[tuple[int, int]]:
    return [at for form, is_cased in forms for at in _each(text if is_cased else folded, form)]


def _each(text: str, form: str) -> Iterator[tuple[int, int]]:
    at = text.find(form)
    while at >= 0:
        yield at, at + len(form)
        at = text.find(form, at + len(form))


class Origin:
    """Where the characters of a text that was rewritten come from.

    It has pieces that are as they were, each with an offset, and characters in the place of a code.
    """

    def __init__(
        self, code: re.Pattern[str], write: Callable[[re.Match[str]], str], text: str
    ) -> None:
        self._starts, self._begins, self._ends = list[int](), list[int](), list[int]()
        at = end = 0
        for found in code.finditer(text):
            if end < found.start():
                self._add(at, end, found.start())
                at += found.start() - end
            end = found.end()
            if write(found):
                self._add(at, found.start(), end)
                at += 1
        self._add(at, end, len(text))

    def _add(self, start: int, begin: int, end: int) -> None:
        self._starts.append(start)
        self._begins.append(begin)
        self._ends.append(end)

    def span(self, start: int, stop: int) -> tuple[int, int]:
        """From where the character at ``start`` begins to where the one before ``stop`` ends."""
        return self._of(start)[0], self._of(stop - 1)[1]

    def _of(self, at: int) -> tuple[int, int]:
        piece = bisect_right(self._starts, at) - 1
        begin, end = self._begins[piece], self._ends[piece]
        is_code = (
            piece + 1 < len(self._starts) and self._starts[piece + 1] == self._starts[piece] + 1
        )
        if is_code:
            return begin, end
        place = begin + at - self._starts[piece]
        return place, place + 1


def _char(code: re.Match[str]) -> str:
    """What a code stands for; nothing if that is not a visible character of ASCII."""
    if code["name"]:
        return _html_names().get(code["name"], "&")
    if code["number"]:
        return _visible(int(code["number"]))
    hexadecimal = code["percent"] or code["four"] or code["two"] or code["braces"] or code["hex"]
    if hexadecimal:
        return _visible(int(hexadecimal, 16))
    return "&" if code[0].startswith("&") else ""


def _visible(number: int) -> str:
    return chr(number) if ord("!") <= number <= ord("~") else ""


@functools.cache
def _html_names() -> dict[str, str]:
    """What stands for what HTML calls by a name, like ``lowbar;``; nothing if it is invisible."""
    from html.entities import html5  # noqa: PLC0415 - most texts have none

    return {name.rstrip(";"): _visible(ord(char[0])) for name, char in html5.items()}


def _base64_forms(secret: bytes) -> set[str]:
    """What ``secret`` surely looks like inside base64, wherever in it the secret begins."""
    forms = set()
    for shift in range(3):
        text = base64.b64encode(bytes(shift) + secret).decode("ascii")
        sure = text[(shift * 8 + 5) // 6 : (shift + len(secret)) * 8 // 6]
        forms |= {sure, sure.replace("+", "-").replace("/", "_")}
    return forms
