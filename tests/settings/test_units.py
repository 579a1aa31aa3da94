"""Sizes, rates, durations and timetables: read as people write them, refused if misreadable."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.settings.conftest import from_file
from uploader.settings import units
from uploader.settings.load import describe
from uploader.settings.timetable import parse_limit

KIB, MIB, GIB = 1024, 1024**2, 1024**3


@pytest.mark.parametrize(
    ("written", "entries"),
    [
        ("off", [(0, None)]),
        ("20MB/s", [(0, 20_000_000)]),
        (20_000_000, [(0, 20_000_000)]),
        ("Mon-08:00,20MB/s Mon-19:00,off", [(480, 20_000_000), (1140, None)]),
        ("sunday-9:05,1 MB/s  MON-08:00,off", [(480, None), (6 * 1440 + 545, 1_000_000)]),
        ("08:00,1MB/s", [(day * 1440 + 480, 1_000_000) for day in range(7)]),
    ],
)
def test_a_bandwidth_limit_is_a_rate_or_a_timetable(
    written: object, entries: list[tuple[int, int | None]]
) -> None:
    found = parse_limit(written)
    assert [(entry.minute, entry.rate_bps) for entry in found.entries] == entries
    assert parse_limit(str(found)) == found


@pytest.mark.parametrize(("days", "fits"), [("", False), ("Mon-", True)])
def test_a_timetable_has_at_most_one_entry_for_every_half_an_hour(days: str, *, fits: bool) -> None:
    written = " ".join(f"{days}0:{minute:02},9KB/s" for minute in range(49))
    if fits:
        assert len(parse_limit(written).entries) == 49
    else:
        with pytest.raises(ValueError, match="may have 336 entries, not 343"):
            parse_limit(written)


@given(st.text(alphabet="MonTuedayfri-:,0123456789KiB/s of\t", max_size=60) | st.integers())
def test_any_text_is_a_bandwidth_limit_or_shows_the_right_form(value: object) -> None:
    try:
        parse_limit(value)
    except ValueError as problem:
        assert "Mon-08:00,20MB/s 19:00,off" in str(problem)  # noqa: PT017 - else a limit


def test_values_with_a_unit_are_described_as_they_were_written(config: Path) -> None:
    found = from_file(config, "[transfer]\nbandwidth_limit = '20 MB/s'\n")
    assert ("transfer.bandwidth_limit", "20 MB/s", str(config)) in describe(found)


SIZES = [
    (262144, 262144),
    ("4096", 4096),
    ("64MiB", 64 * MIB),
    ("64 MiB", 64 * MIB),
    ("64MB", 64_000_000),
    ("1.5GiB", 3 * GIB // 2),
    ("256kB", 256_000),
    ("256KiB", 256 * KIB),
    ("5TiB", 5 * 1024 * GIB),
    ("7B", 7),
]


@pytest.mark.parametrize(("text", "size"), SIZES)
def test_sizes_read_like_people_write_them(text: object, size: int) -> None:
    assert units.parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "MiB", "64M", "64mib", "64Mb", "-1", "1e3", "1,5GB", True, None]
)
def test_a_size_that_can_be_misread_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="64MiB"):
        units.parse_size(text)


@pytest.mark.parametrize(
    ("text", "rate"),
    [("off", None), ("20MB/s", 20_000_000), ("20MB", 20_000_000)],
)
def test_rates(text: object, rate: int | None) -> None:
    assert units.parse_rate(text) == rate


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (30, 30.0),
        (0.5, 0.5),
        ("31", 31.0),
        ("30s", 30.0),
        ("500ms", 0.5),
        ("90min", 5400.0),
        ("90m", 5400.0),
        ("1h30m", 5400.0),
        ("1h 30min", 5400.0),
        ("1.5h", 5400.0),
        ("2d", 172800.0),
    ],
)
def test_durations_read_like_people_write_them(text: object, seconds: float) -> None:
    assert units.parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "s", "-1s", "1h30", "1 year", "1e3s", "30S", False, None, "٣s"]
)
def test_a_duration_that_can_be_misread_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="30s"):
        units.parse_duration(text)


@given(st.decimals(0, 10**6, places=3), st.sampled_from(["B", "kB", "KiB", "MB", "GiB", "TB"]))
def test_a_size_is_its_number_times_its_unit(number: Decimal, unit: str) -> None:
    power = {"B": 0, "k": 1, "K": 1, "M": 2, "G": 3, "T": 4}[unit[0]]
    base = 1024 if "i" in unit else 1000
    assert units.parse_size(f"{number}{unit}") == int(number * base**power)


@given(st.one_of(st.text(), st.floats(), st.integers(), st.booleans(), st.none()))
def test_any_words_give_a_value_or_a_value_error(value: object) -> None:
    for parse in (units.parse_size, units.parse_rate, units.parse_duration):
        try:
            parse(value)
        except ValueError as problem:
            assert str(problem)  # noqa: PT017 - any other exception fails the test
