"""A simulated life that fails says how to live it again: one command, one environment variable."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar

REPLAY = "UPLOADER_TEST_REPLAY"

#: What makes one life of a test another than the next: seeds, kinds, crash points.
Case = tuple[int | str, ...]
_living: ContextVar[Case] = ContextVar("living", default=())


def each(live: Callable[..., object], cases: Iterable[Case]) -> None:
    """``live`` with each of the cases, or with the one to be replayed."""
    for case in _asked() or cases:
        before = _living.set(case)
        try:
            live(*case)
        finally:
            _living.reset(before)


def crash_points(live: Callable[[], int], part: int, parts: int) -> Iterator[Case]:
    """Every ``parts``-th boundary of a life that nothing disturbs."""
    last = live()
    yield from ((number,) for number in range(1 + part, last + 1, parts))


def command() -> str:
    """What lives the present life of the running test once more."""
    test, _, _ = os.environ["PYTEST_CURRENT_TEST"].rpartition(" (")
    words = ",".join(map(str, _living.get()))
    only = f"{REPLAY}={shlex.quote(words)} " if words else ""
    return f"{only}.venv/bin/pytest {shlex.quote(test)}"


def _asked() -> list[Case]:
    words = os.environ.get(REPLAY, "")
    case = tuple(int(word) if word.isdigit() else word for word in words.split(","))
    return [case] if words else []
