"""Does a function's time grow with its text, or with the square of it?"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

_SIZE = 1 << 17
_FACTOR = 8
#: Linear is 8, quadratic 64; CPU time alone counts, so other work on the machine matters little.
_MAX_RATIO = 24.0
#: Below this the clock's own grain decides.
_LEAST_S = 0.004


def assert_linear(read: Callable[[str], object], unit: str) -> None:
    """One MiB of ``unit`` takes about eight times what an eighth of it takes."""
    small, large = (_cost(read, unit, size) for size in (_SIZE, _SIZE * _FACTOR))
    assert large < _MAX_RATIO * max(small, _LEAST_S), f"{unit!r}: {small:.4f} s → {large:.4f} s"


def cpu_s(run: Callable[[], object]) -> float:
    """The CPU that one run takes; what earlier tests left behind is not cleared away meanwhile."""
    gc.disable()
    began_s = time.process_time()
    try:
        run()
        return time.process_time() - began_s
    finally:
        gc.enable()


def _cost(read: Callable[[str], object], unit: str, size: int) -> float:
    text = (unit * size)[:size]
    return min(cpu_s(lambda: read(text)) for _ in range(2))
