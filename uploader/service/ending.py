"""How what runs in the foreground ends by a signal: in good order, and at once by a second one."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable
from types import FrameType


def at_signals(numbers: Iterable[int], end: Callable[[], None]) -> list[int]:
    """Call ``end`` at the first of these signals, and exit at a second one of the same kind.

    The first is then in the list that was returned. ``end`` interrupts the main thread anywhere, so
    it must take no lock that this may hold, not even that of an Event.
    """
    came: list[int] = []

    def first(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, lambda again, _: os._exit(128 + again))
        came.append(number)
        end()

    for number in numbers:
        signal.signal(number, first)
    return came
