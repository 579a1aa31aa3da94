"""How long an upload would take, and which file would outlive its session."""

from __future__ import annotations

import pytest

from uploader.core.job import Manifest, ManifestFile
from uploader.intake.forecast import Forecast, forecast

WEEK_S = 7 * 86400


def manifest(*sizes: int) -> Manifest:
    files = (ManifestFile(f"{i}.bin", size, str(i)) for i, size in enumerate(sizes))
    return Manifest("/models/x", tuple(files))


def test_it_takes_as_long_as_all_bytes_at_that_rate() -> None:
    assert Forecast(100, "").takes_s(manifest(1000, 500)) == 15


@pytest.mark.parametrize(
    ("sizes", "rate_bps", "max_files", "warned"),
    [
        ((), 1, 4, None),
        ((WEEK_S,), 1, 4, None),
        ((WEEK_S + 1,), 1, 4, "0.bin"),
        ((WEEK_S + 1,), 2, 4, None),
        # Four share the rate, so that each has a quarter of it …
        ((1, WEEK_S, WEEK_S, WEEK_S), 2, 4, "1.bin"),
        # … and one at a time does not.
        ((1, WEEK_S, WEEK_S, WEEK_S), 2, 1, None),
        # A large file among small ones has the rate to itself before long.
        ((WEEK_S, 1, 1, 1), 1.1, 4, None),
    ],
)
def test_a_file_that_outlives_its_session_is_warned_of(
    sizes: tuple[int, ...], rate_bps: float, max_files: int, warned: str | None
) -> None:
    found = list(Forecast(rate_bps, "").session_life(manifest(*sizes), max_files))
    assert [(one.check, one.severity, one.file) for one in found] == (
        [("session_life", "warning", warned)] if warned else []
    )


@pytest.mark.parametrize(
    ("given_bps", "limit_bps", "expected"),
    [
        (None, None, None),
        (100, None, Forecast(100, "`rate`")),
        (100, 50, Forecast(100, "`rate`")),
        (None, 50, Forecast(50, "transfer.bandwidth_limit")),
    ],
)
def test_a_given_rate_comes_before_a_limit_and_a_limit_before_nothing(
    given_bps: float | None, limit_bps: int | None, expected: Forecast | None
) -> None:
    assert forecast(given_bps, limit_bps, None) == expected
