"""How long somebody has lately waited for slow calls."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from uploader.core.slowness import MOST_S, SLOW_CALL_S, Slowness


def after(calls: Iterable[tuple[float, float]]) -> tuple[Slowness, float]:
    """After calls that each took so many seconds, so many after the one before; and when."""
    found, now_s = Slowness(), 100.0
    for pause_s, took_s in calls:
        now_s += pause_s
        found = found.with_call(now_s, now_s + took_s)
        now_s += took_s
    return found, now_s


@pytest.mark.parametrize(
    ("calls", "waited_s"),
    [
        ([], 0.0),
        ([(0.0, 7.0)], 7.0),
        ([(0.0, SLOW_CALL_S)] * 10, 10 * SLOW_CALL_S),
        ([(0.0, SLOW_CALL_S / 2)] * 1000, 0.0),  # none of them is slow
        ([(0.0, 7.0), (4.0, 7.0)], 13.0),
        ([(0.0, 7.0), (40.0, 1.0)], 1.0),
        ([(0.0, 1.0), (3.0, 1.0)] * 1000, MOST_S),  # quick at times, slow for the most part
        ([(4.1, 1.0)] * 1000, 1.0),
        ([(0.0, 3600.0)], MOST_S),
    ],
)
def test_slow_calls_add_up_and_time_without_them_takes_them_away(
    calls: list[tuple[float, float]], waited_s: float
) -> None:
    found, now_s = after(calls)
    assert found.left_s(now_s) == pytest.approx(waited_s, abs=1.0)


def test_however_long_it_was_slow_it_is_forgotten_within_minutes() -> None:
    found, now_s = after([(0.0, 1.0)] * 100_000)
    assert found.left_s(now_s + 4 * MOST_S) == 0.0


def test_a_clock_that_stands_still_takes_nothing_away() -> None:
    found, now_s = after([(0.0, 9.0)])
    assert found.left_s(now_s - 5.0) == found.left_s(now_s) == 9.0
