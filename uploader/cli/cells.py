"""Text measured in the cells of a terminal: a CJK character takes two, an accent none.

`rich.cells` knows this, too, but costs every `uploader status` more to import than the rest of
this room; the tests compare the two.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from unicodedata import category, east_asian_width

#: The vowels and finals of decomposed Hangul (file names of macOS): drawn into the cell before.
_JAMO = re.compile("[\u1160-\u11ff\ud7b0-\ud7ff]")
#: A sign that is narrow as text but, with the selector after it, is drawn as a wide emoji.
_AS_EMOJI = re.compile("([#*0-9\xa9\xae\u203c-\u3299])\ufe0f")
_CELLS = {"W": 2, "F": 2}  # wide and full-width, of Unicode's Annex 11
#: A number stays with what it counts: 1.9 MiB, 12 errors.
_CHUNK = re.compile(r"(?:[\d.]+ (?=[A-Za-z]))?\S+")


def cells(text: str) -> int:
    """How many columns of a terminal ``text`` takes; it has no character that is not drawn."""
    if text.isascii():
        return len(text)
    return sum(map(_cells, text)) + sum(_cells(char) == 1 for char in _AS_EMOJI.findall(text))


def _cells(char: str) -> int:
    if category(char) in {"Mn", "Me"} or _JAMO.match(char):
        return 0
    return _CELLS.get(east_asian_width(char), 1)


def padded(text: str, columns: int) -> str:
    """``text`` and spaces, ``columns`` wide if it is not wider itself."""
    return text + " " * (columns - cells(text))


def shorten(text: str, columns: int) -> str:
    """``text`` in at most this many ``columns``: beginnings and ends tell names apart.

    No character loses its accents, and none is cut in two: the result may be a column narrower.
    """
    if cells(text) <= columns:
        return text
    tail = (columns - 1) // 2
    drawn = _with_accents(text)
    begin, end = _fitting(drawn, columns - 1 - tail), _fitting(reversed(drawn), tail)
    return f"{''.join(begin)}…{''.join(reversed(end))}"


def _with_accents(text: str) -> list[str]:
    """Each character with those after it that are drawn into its cells."""
    starts = [i for i, char in enumerate(text) if i == 0 or _cells(char)]
    return [text[i:j] for i, j in zip(starts, [*starts[1:], len(text)], strict=True)]


def _fitting(drawn: Iterable[str], columns: int) -> list[str]:
    """The first of these that fit into this many columns together."""
    fitting = []
    for one in drawn:
        columns -= cells(one)
        if columns < 0:
            break
        fitting.append(one)
    return fitting


def wrapped(text: str, columns: int, lead: str = "") -> list[str]:
    """``lead`` and a sentence in lines of ``columns``, broken at spaces and under each other.

    A name or path without spaces is never broken, so that it can be copied: its line is longer.
    """
    room = columns - cells(lead)
    lines, begin, end = [], 0, 0
    for chunk in _CHUNK.finditer(text):
        if end > begin and cells(text[begin : chunk.end()]) > room:
            lines.append(text[begin:end])
            begin = chunk.start()
        end = chunk.end()
    indents = [lead, *[" " * cells(lead)] * len(lines)]
    return [indent + line for indent, line in zip(indents, [*lines, text[begin:end]], strict=True)]
