"""How long an upload would take, and which file would outlive its session."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from uploader.core.job import Manifest, ManifestFile
from uploader.core.timetable import Entry, Timetable, always, local_time
from uploader.intake.forecast import Forecast, forecast

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)

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
        (40, 50, Forecast(40, "`rate`")),
        (100, 50, Forecast(50, "transfer.bandwidth_limit")),
        (None, 50, Forecast(50, "transfer.bandwidth_limit")),
    ],
)
def test_a_given_rate_holds_as_far_as_the_limit_allows(
    given_bps: float | None, limit_bps: int | None, expected: Forecast | None
) -> None:
    assert forecast(given_bps, always(limit_bps), None, 1000, NOW) == expected


@pytest.mark.parametrize(
    ("given_bps", "size_bytes", "takes_s"),
    [
        (1000, 2000 * 3600, 3 * 3600),  # two hours at 500 B/s, then one at 1000
        (400, 400 * 3600, 3600),
        (None, 500 * 3600, 3600),
        (None, 500 * 3 * 3600, None),
    ],
)
def test_a_timetable_is_followed_from_now_on(
    given_bps: float | None, size_bytes: int, takes_s: float | None
) -> None:
    local = local_time(NOW).replace(hour=17)
    limit = Timetable("", (Entry(0, 500), Entry(local.weekday() * 1440 + 19 * 60, None)))
    found = forecast(given_bps, limit, None, size_bytes, local.astimezone())
    assert (found and round(size_bytes / found.rate_bps)) == takes_s
