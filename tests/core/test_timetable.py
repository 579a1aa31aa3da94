"""A rate, or a timetable of rates: what holds when, when it changes, and how long bytes take."""

from __future__ import annotations

import time
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uploader.core.timetable import DAYS, Entry, Timetable, always

#: A Monday.
MONDAY = datetime(2026, 11, 23)  # noqa: DTZ001 - a clock on the wall has no zone
DAY = 24 * 60


def on(day: str, clock: str) -> datetime:
    hour, minute = map(int, clock.split(":"))
    return MONDAY + timedelta(days=DAYS.index(day), hours=hour, minutes=minute)


def minute(day: str, clock: str) -> int:
    return round((on(day, clock) - MONDAY).total_seconds() / 60)


#: From Monday 08:00 on 20, from 19:00 of every day on unlimited.
OFFICE = Timetable(
    "Mon-08:00,20B/s 19:00,off",
    (
        Entry(minute("Mon", "08:00"), 20),
        *(Entry(minute(day, "19:00"), None) for day in DAYS),
    ),
)
#: Two entries, neither of which is at the beginning of a week.
WORKDAYS = Timetable("", (Entry(minute("Mon", "08:00"), 5), Entry(minute("Fri", "19:00"), 7)))


@pytest.mark.parametrize(
    ("table", "day", "clock", "rate"),
    [
        (always(3), "Sun", "23:59", 3),
        (always(None), "Mon", "00:00", None),
        (OFFICE, "Mon", "07:59", None),
        (OFFICE, "Mon", "08:00", 20),
        (OFFICE, "Mon", "18:59", 20),
        (OFFICE, "Mon", "19:00", None),
        (OFFICE, "Tue", "12:00", None),
        (WORKDAYS, "Thu", "00:00", 5),
        (WORKDAYS, "Fri", "19:00", 7),
        # An entry holds until the next, over the end of a week, too.
        (WORKDAYS, "Mon", "07:59", 7),
    ],
)
def test_the_last_entry_that_has_begun_holds(
    table: Timetable, day: str, clock: str, rate: int | None
) -> None:
    assert table.at(on(day, clock)) == rate


@pytest.mark.parametrize(
    ("table", "at", "change"),
    [
        (always(3), on("Mon", "12:00"), None),
        (OFFICE, on("Mon", "12:00"), on("Mon", "19:00")),
        # Entries that change nothing are passed over.
        (OFFICE, on("Mon", "19:00"), on("Mon", "08:00") + timedelta(days=7)),
        (WORKDAYS, on("Mon", "07:00"), on("Mon", "08:00")),
        (WORKDAYS, on("Sat", "07:00"), on("Mon", "08:00") + timedelta(days=7)),
        (Timetable("", (Entry(5, 1), Entry(9, 1))), on("Mon", "12:00"), None),
    ],
)
def test_the_next_change_is_the_next_entry_with_another_rate(
    table: Timetable, at: datetime, change: datetime | None
) -> None:
    assert table.next_change(at) == change


@pytest.mark.parametrize(
    ("table", "rate_bps", "at", "size_bytes", "takes_s"),
    [
        (always(None), 10, on("Mon", "12:00"), 100, 10),
        (always(5), 10, on("Mon", "12:00"), 100, 20),
        (always(50), 10, on("Mon", "12:00"), 100, 10),
        (always(5), None, on("Mon", "12:00"), 100, 20),
        (always(None), None, on("Mon", "12:00"), 100, None),
        # One hour at 20, then as fast as the link is.
        (OFFICE, 100, on("Mon", "18:00"), 20 * 3600 + 100, 3601),
        (OFFICE, None, on("Mon", "18:00"), 20 * 3600, 3600),
        (OFFICE, None, on("Mon", "18:00"), 20 * 3600 + 1, None),
        (WORKDAYS, None, on("Fri", "18:00"), 5 * 3600 + 7 * 10, 3610),
    ],
)
def test_bytes_take_as_long_as_each_rate_on_the_way_allows(
    table: Timetable, rate_bps: float | None, at: datetime, size_bytes: int, takes_s: float | None
) -> None:
    assert table.takes_s(size_bytes, rate_bps, at) == takes_s


def test_what_takes_more_than_a_year_is_estimated_in_no_time() -> None:
    average = 5 + 2 * (minute("Mon", "08:00") + 7 * DAY - minute("Fri", "19:00")) / (7 * DAY)
    found = WORKDAYS.takes_s(10**12, None, on("Mon", "08:00"))
    assert found == pytest.approx(10**12 / average, rel=0.01)


def test_a_rate_for_each_minute_of_a_week_is_estimated_in_no_time() -> None:
    table = Timetable("", tuple(Entry(at, 8000 + at % 2) for at in range(7 * DAY)))
    begun_s = time.process_time()
    takes_s = table.takes_s(10**14, None, on("Wed", "12:00"))
    assert takes_s == pytest.approx(10**14 / 8000.5, rel=0.001)
    assert time.process_time() - begun_s < 10.0, "in proportion to the entries, not to their square"


TABLES = st.lists(
    st.tuples(st.integers(0, 7 * DAY - 1), st.none() | st.integers(1, 9)), min_size=1, max_size=9
).map(lambda found: Timetable("", tuple(Entry(*one) for one in sorted(dict(found).items()))))


@given(TABLES, st.integers(0, 14 * DAY))
def test_until_the_next_change_nothing_changes_and_then_it_does(
    table: Timetable, minutes: int
) -> None:
    local = MONDAY + timedelta(minutes=minutes)
    change = table.next_change(local)
    last = change or local + timedelta(days=8)
    moment = local
    while moment < last:
        assert table.at(moment) == table.at(local)
        moment += timedelta(minutes=97)
    if change is not None:
        assert table.at(change) != table.at(local)


@given(TABLES, st.integers(0, 14 * DAY), st.integers(1, 10**8), st.none() | st.integers(1, 9))
def test_bytes_take_as_long_as_minute_by_minute(
    table: Timetable, minutes: int, size_bytes: int, rate_bps: int | None
) -> None:
    begun = MONDAY + timedelta(minutes=minutes)
    left, took_s = float(size_bytes), 0
    while took_s < 2 * 7 * DAY * 60:
        known = [one for one in (rate_bps, table.at(begun + timedelta(seconds=took_s))) if one]
        if not known or left <= 60 * min(known):
            break
        left, took_s = left - 60 * min(known), took_s + 60
    else:
        return  # as it went until then
    expected = took_s + left / min(known) if known else None
    assert table.takes_s(size_bytes, rate_bps, begun) == pytest.approx(expected)
