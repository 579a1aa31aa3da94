"""Reads small JSON files of a model folder and trusts nothing in them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from uploader import files
from uploader.core.foreign_json import TooMany, count_of, parsed

#: Far more than any has, except an index and a tokenizer's vocabulary. Anything longer is read only
#: if it is plain, as every index is: one wide character or one escape makes text of four times its
#: bytes.
MAX_JSON_BYTES = 10_000_000
#: More than any of them has. As Python objects a value takes two hundred times its two bytes.
_MAX_VALUES = 300_000
_NOT_UTF_8 = "is UTF-16: loaders read UTF-8 only"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


class Malformed(ValueError):
    """A file is not what its name says; the text is worded to follow the file's name."""


class TooLong(Malformed):
    """Only its length is known."""


class Allowance:
    """How much of one folder's files is read or kept in all, because names of a file are cheap."""

    def __init__(self, left: int) -> None:
        self._left = left

    def take(self, count: int) -> None:
        """Raises TooLong for what is not to be read any more."""
        if count > self._left:
            raise TooLong("was not read: the files before it are already longer than in any model")
        self._left -= count


def light(problem: Malformed) -> Malformed:
    """``problem`` without what its traceback keeps in memory: all that was read of the file."""
    problem.__context__ = None
    return problem.with_traceback(None)


class NoObject(Malformed):
    """It is JSON, but not an object."""


def read_object(
    path: Path,
    constants: list[str] | None = None,
    allowance: Allowance | None = None,
    values: Allowance | None = None,
) -> dict[str, Any]:
    """The JSON object in ``path``; raises Malformed, also for a file that cannot be read.

    ``constants`` collects the words that only Python calls JSON: NaN, Infinity, -Infinity. Its
    length is taken from ``allowance``, and the number of its values from ``values``.
    """
    text = read_text(path, MAX_JSON_BYTES, allowance)
    if values:
        values.take(count_of(text))
    return parse_object(text, constants)


def read_text(path: Path, most: int, allowance: Allowance | None = None) -> str:
    """The text of a JSON file of at most ``most`` bytes; raises Malformed, TooLong.

    Its length is taken from ``allowance`` before it is read.
    """
    try:
        with files.opened(path) as file:
            length = os.fstat(file.fileno()).st_size
            if length > most:
                raise TooLong(f"is longer than any file of its kind ({most // 1_000_000} MB)")
            if allowance:
                allowance.take(length)
            raw = file.read(length)
        if len(raw) > MAX_JSON_BYTES and (b"\\" in raw or not raw.isascii()):
            raise TooLong("is too long to be read: it is not in plain ASCII")
        text = raw.decode("utf-8-sig")
    except OSError as problem:
        raise Malformed(f"cannot be read: {problem.strerror}") from None
    except UnicodeDecodeError as problem:
        utf_16 = problem.object.startswith(_UTF_16)
        raise Malformed(_NOT_UTF_8 if utf_16 else "is not JSON: it is not UTF-8") from None
    if "\0" in text[:2]:
        raise Malformed(_NOT_UTF_8)
    return text


def parse_object(text: str, constants: list[str] | None = None) -> dict[str, Any]:
    """``text`` as a JSON object; raises Malformed, and TooLong for one of countless values.

    ``constants`` is that of `read_object`.
    """

    def constant(word: str) -> float:
        if constants is not None:
            constants.append(word)
        return float(word)

    try:
        found = parsed(text, _MAX_VALUES, parse_constant=constant)
    except TooMany:
        why = f"holds more values than any file of its kind ({_MAX_VALUES:,})"
        raise TooLong(why) from None
    except ValueError:
        raise Malformed("is not JSON") from None
    if not isinstance(found, dict):
        raise NoObject("is not a JSON object")
    return found
