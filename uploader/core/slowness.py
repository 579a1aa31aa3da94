"""How long somebody has lately waited for calls that were slow.

A disk that answers each call late, but always in time, is as bad for others as one that is silent.
"""

from __future__ import annotations

from dataclasses import dataclass

#: A call that takes this many seconds is slow: if it read a block of a file, at 512 KiB/s at most.
SLOW_CALL_S = 0.5
#: More seconds of waiting are not counted.
MOST_S = 60.0
#: This many seconds without a slow call make up for one of waiting: few quick calls help little.
_TAKE_ONE_AWAY_S = 4.0


@dataclass(frozen=True, slots=True)
class Slowness:
    """``waited_s``: how many seconds were waited in slow calls, as of ``at_s``."""

    waited_s: float = 0.0
    at_s: float = 0.0

    def left_s(self, now_s: float) -> float:
        """What is left of it at ``now_s``, if no slow call was made since."""
        return max(0.0, self.waited_s - max(0.0, now_s - self.at_s) / _TAKE_ONE_AWAY_S)

    def with_call(self, began_s: float, now_s: float) -> Slowness:
        """The same with a call that began at ``began_s``, and has just ended or still goes on."""
        took_s = now_s - began_s
        if took_s < SLOW_CALL_S:
            return self
        return Slowness(min(MOST_S, self.left_s(began_s) + took_s), now_s)
