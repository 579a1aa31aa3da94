"""Events that say the same again and again: how many of them a history keeps. Pure.

A service that stays away for days fails thousands of files a minute between them. The first of each
kind are reported, then one a minute, with the number of those that were left out before it; the
counts in the rows of files and jobs are of all. A job that waits is given back and taken again,
maybe each second: what was reported of it before still counts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache

from uploader.core.events import EventKind
from uploader.core.redact import redact
from uploader.core.text import and_more

#: This many are reported at once; after that, one in every `EVERY_S` seconds.
FIRST = 100
EVERY_S = 60.0
#: A worker remembers the counts of this many jobs; any other job starts at the first once more.
_MOST_JOBS = 4096
#: The longest message of an event that stands for others: their number must still fit in its row.
_MAX_MESSAGE_CHARS = 900


_WORD = re.compile(r"[\w.:-]+")


def words_of(message: object) -> str:
    """Without numbers, times and ids: those of a service that is away differ in each answer."""
    return _WORD.sub(lambda word: "#" if any(map(str.isdigit, word[0])) else word[0], str(message))


@dataclass(slots=True)
class _Told:
    at: datetime
    may_tell: float
    may_tell_last: float = 1.0
    left_out: int = 0
    message: str = ""
    path: str | None = None

    def see(self, now: datetime) -> None:
        """As time passes, more may be reported; a clock that is set back takes nothing away."""
        more = max(0.0, (now - self.at).total_seconds()) / EVERY_S
        self.may_tell = min(FIRST, self.may_tell + more)
        self.may_tell_last = min(1.0, self.may_tell_last + more)
        self.at = now


@dataclass(slots=True)
class Repeats:
    """What was reported of one job, and left out, since a worker took it for the first time."""

    _told: dict[tuple[EventKind, str], _Told] = field(default_factory=dict)

    def told(
        self, kind: EventKind, like: str, message: str, path: str | None, now: datetime
    ) -> str | None:
        """The message to write; None if this event is left out. ``like``: what makes two alike."""
        mine = self._told.setdefault((kind, like), _Told(now, FIRST))
        mine.see(now)
        if mine.may_tell < 1:
            mine.left_out, mine.message, mine.path = mine.left_out + 1, message, path
            return None
        mine.may_tell -= 1
        more, mine.left_out = mine.left_out, 0
        return _with(message, more)

    def last(
        self, now: datetime, *, seldom: bool = False
    ) -> Iterator[tuple[EventKind, str, str | None]]:
        """Kind, message and path of the last of each kind that was left out, with the others.

        ``seldom``: once a minute at most; until then it stays left out.
        """
        for (kind, _), mine in self._told.items():
            mine.see(now)
            if mine.left_out and (mine.may_tell_last >= 1 or not seldom):
                more, mine.left_out, mine.may_tell_last = mine.left_out - 1, 0, 0.0
                yield kind, _with(mine.message, more), mine.path


def repeats_of_jobs() -> Callable[[int], Repeats]:
    """The `Repeats` of a job by its id, the same each time."""
    return lru_cache(_MOST_JOBS)(lambda _: Repeats())


def _with(message: str, more: int) -> str:
    if not more:
        return message
    return f"{redact(message)[:_MAX_MESSAGE_CHARS]} ({and_more(more)} like it)"
