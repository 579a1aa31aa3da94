"""How much of a list of foreign words is kept, wherever it is written down or shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from uploader.core.text import and_more

#: An honest service warns of a few things.
MOST_LINES = 100
MAX_LINE_CHARS = 1000


def few_lines(words: Sequence[object], line: Callable[[str], str]) -> tuple[str, ...]:
    """``words``, each by ``line`` and not longer than that; the last counts those left out.

    It takes time in proportion to what is kept, and changes nothing the second time.
    """
    most = MOST_LINES - 1 if len(words) > MOST_LINES else MOST_LINES
    kept = [line(str(one))[:MAX_LINE_CHARS] for one in words[:most]]
    more = len(words) - len(kept)
    return (*kept, and_more(more)) if more else tuple(kept)
