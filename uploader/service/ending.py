"""How what runs in the foreground ends by a signal: in good order, and at once by a second one."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable
from types import FrameType


def at_signals(numbers: Iterable[int], end: Callable[[], None]) -> list[int]:
    """Call ``end`` at the first of those signals, and leave at a second one of its kind.

    The first is in the list then. ``end`` is called in the main thread, whatever that does: it must
    take no lock, as that of an Event, which the main thread may hold.
    """
    came: list[int] = []

    def first(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, lambda again, _: os._exit(128 + again))
        came.append(number)
        end()

    for number in numbers:
        signal.signal(number, first)
    return came
