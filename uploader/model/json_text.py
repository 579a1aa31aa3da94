"""JSON read pair by pair, for objects that are too large to be Python objects."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

#: Anything in a large object besides its many pairs is short.
_MAX_VALUE = 1_000_000
_SPACE = re.compile(r"[ \t\n\r]*")
_PLAIN = re.compile(r'([^"\\\x00-\x1f]*)"')
#: A whole pair without an escape, which nearly all are, and what ends it.
_PAIR = re.compile(
    r'[ \t\n\r]*"([^"\\\x00-\x1f]*)"[ \t\n\r]*:[ \t\n\r]*"([^"\\\x00-\x1f]*)"[ \t\n\r]*([,}])'
)
_DECODER = json.JSONDecoder()


class JsonText:
    """A place in the text of a JSON object. Raises ValueError, IndexError if it is not one."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._place = 0

    def at(self, char: str) -> bool:
        """Whether the next thing begins with ``char``."""
        found = _SPACE.match(self._text, self._place)
        self._place = found.end() if found else self._place
        return self._text[self._place] == char

    def members(self) -> Iterator[str]:
        """The keys of an object; the caller reads each value before the next key."""
        self._take("{")
        if self.at("}"):
            self._place += 1
            return
        while True:
            key = self.string()
            self._take(":")
            yield key
            if self.at("}"):
                self._place += 1
                return
            self._take(",")

    def pairs(self) -> Iterator[tuple[str, str]]:
        """The members of an object of strings. Raises TypeError for any other value."""
        self._take("{")
        more = not self.at("}")
        self._place += not more
        while more:
            found = _PAIR.match(self._text, self._place)
            if found:
                self._place = found.end()
                yield found[1], found[2]
                more = found[3] == ","
                continue
            key = self.string()
            self._take(":")
            if not self.at('"'):
                raise TypeError
            yield key, self.string()
            more = not self.at("}")
            self._take("," if more else "}")

    def string(self) -> str:
        """The string that comes next. Raises ValueError for anything else."""
        self._take('"')
        found = _PLAIN.match(self._text, self._place)
        if found:
            self._place = found.end()
            return found[1]
        text, self._place = _DECODER.raw_decode(self._text, self._place - 1)
        return str(text)

    def value(self) -> Any:
        """Any value, of a bounded length."""
        self.at("")
        part = self._text[self._place : self._place + _MAX_VALUE]
        value, length = _DECODER.raw_decode(part)
        self._place += length
        return value

    def end(self) -> None:
        """Nothing but white space is left. Raises ValueError for anything else."""
        if self._text[self._place :].strip(" \t\n\r"):
            raise ValueError

    def _take(self, char: str) -> None:
        if not self.at(char):
            raise ValueError
        self._place += 1
