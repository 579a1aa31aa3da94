"""JSON that others wrote, counted before it becomes objects: two bytes become a hundred."""

from __future__ import annotations

import json
from typing import Any

#: A model may have some ten thousand files. As Python objects, values that take two bytes on the
#: wire take up to a hundred.
MAX_ANSWER_VALUES = 200_000


class TooMany(ValueError):
    """It may hold more values than were allowed."""


def parsed(text: str | bytes, most: int, **how: Any) -> Any:
    """The value that ``text`` is. Raises TooMany, and ValueError for what is not JSON.

    ``how`` is for `json.loads`.
    """
    if count_of(text) > most:
        raise TooMany(f"it holds more than {most:,} values")
    try:
        return json.loads(text, **how)
    except RecursionError:
        raise ValueError("it is too deep") from None


def count_of(text: str | bytes) -> int:
    """How many values it has at most, besides the first.

    Each comes after a comma, or after what opens the list or object that it is in: counting these
    also bounds how deep they lie in one another.
    """
    marks: Any = ",[{" if isinstance(text, str) else (b",", b"[", b"{")
    return sum(map(text.count, marks))
