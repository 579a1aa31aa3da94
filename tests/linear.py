"""Does a function's time grow with its text, or with its square? And how much memory it takes."""

from __future__ import annotations

import gc
import math
import time
import tracemalloc
from collections.abc import Callable

_SIZE = 1 << 17
_FACTOR = 8
#: Linear is 8, quadratic 64; only CPU time counts.
_MAX_RATIO = 24.0
#: Below this the clock's own grain decides.
_LEAST_S = 0.004
#: Other work on the machine only adds to what is measured: the least of a few is near the truth.
_MOST_ROUNDS = 5


def assert_linear(read: Callable[[str], object], unit: str) -> None:
    """One MiB of ``unit`` takes about eight times what an eighth of it takes."""
    text = unit * (_SIZE * _FACTOR // len(unit) + 1)
    assert_in_proportion(lambda size: cpu_s(lambda: read(text[:size])), _SIZE, repr(unit))


def assert_in_proportion(cost_s: Callable[[int], float], few: int, what: str) -> None:
    """Eight times as many as ``few`` cost about eight times as much."""
    small = large = math.inf
    for _ in range(_MOST_ROUNDS):
        small = min(small, cost_s(few))
        large = min(large, cost_s(few * _FACTOR))
        if large < _MAX_RATIO * max(small, _LEAST_S):
            return
    raise AssertionError(f"{what}: {small:.4f} s → {large:.4f} s")


def cpu_s(run: Callable[[], object]) -> float:
    """The CPU that one run takes; what earlier tests left behind is not cleared away meanwhile."""
    gc.disable()
    began_s = time.process_time()
    try:
        run()
        return time.process_time() - began_s
    finally:
        gc.enable()


def peak_bytes(run: Callable[[], object]) -> int:
    """The most memory that one run has at once."""
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
