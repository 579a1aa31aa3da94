"""Colours say what a word means: good, under way, stopped, wrong. The words say it without them."""

from __future__ import annotations

import re
from typing import TextIO

from uploader.core.job import Status

_GREEN, _CYAN, _YELLOW, _RED, _DIM = "32", "36", "33", "31", "2"
#: By the heading of a column: the colour of each word in it.
_BY_HEADING: dict[str, dict[str, str]] = {
    "STATUS": {
        Status.DONE: _GREEN,
        Status.ACTIVE: _CYAN,
        Status.PAUSED: _YELLOW,
        Status.BLOCKED: _RED,
        Status.FAILED: _RED,
        Status.CANCELLED: _DIM,
    },
}
#: By the word that a line begins with.
_BY_LEAD = {"error: ": _RED, "warning: ": _YELLOW, "hint: ": _CYAN, "left out: ": _DIM}
_LEAD = re.compile("|".join(rf"^ *{lead}" for lead in _BY_LEAD))


def paint(word: str, heading: str, stream: TextIO) -> str:
    """``word``, of a table's column under ``heading``, in the colour of its meaning."""
    return _painted(word, _BY_HEADING.get(heading, {}).get(word), stream)


def paint_lead(line: str, stream: TextIO) -> str:
    """``line`` with the word that it begins with, like ``error:``, in its colour."""
    found = _LEAD.match(line)
    if found is None:
        return line
    lead = found[0]
    return _painted(lead, _BY_LEAD[lead.lstrip()], stream) + line[len(lead) :]


def is_terminal(stream: TextIO) -> bool:
    """Whether somebody sees its colours."""
    return stream.isatty()


def _painted(text: str, colour: str | None, stream: TextIO) -> str:
    if colour is None or not is_terminal(stream):
        return text
    from uploader.settings.load import wants_colour  # pydantic is slow to import

    return f"\x1b[{colour}m{text}\x1b[0m" if wants_colour() else text
