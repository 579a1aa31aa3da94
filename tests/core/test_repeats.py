"""What comes again and again is told a hundred times and then once a minute, and none is lost."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from uploader.core.events import EventKind
from uploader.core.repeats import FIRST, Repeats, repeats_of_jobs, words_of

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
DAY_S = 86400
FAILED = EventKind.FILE_FAILED


def others(message: str) -> int:
    found = re.search(r" \(and ([0-9,]+) more like it\)$", message)
    return int(found[1].replace(",", "")) if found else 0


def test_a_day_of_failures_is_told_in_a_bounded_number_of_events_that_count_them_all() -> None:
    repeats = Repeats()
    tries = [repeats.told(FAILED, "net", f"{n}", "a", NOW + timedelta(seconds=n / 2))
             for n in range(2 * DAY_S)]  # fmt: skip
    told = [message for message in tries if message is not None]
    assert FIRST + DAY_S // 60 - 2 <= len(told) <= FIRST + DAY_S // 60
    assert told[:FIRST] == [str(number) for number in range(FIRST)]
    last = [*repeats.last(NOW)]
    assert [(kind, path) for kind, _, path in last] == [(FAILED, "a")]
    assert last[0][1].startswith(str(2 * DAY_S - 1))
    written = [*told, last[0][1]]
    assert len(written) + sum(map(others, written)) == 2 * DAY_S
    assert [*repeats.last(NOW)] == []


def test_after_a_quiet_time_as_many_are_told_again() -> None:
    repeats = Repeats()
    for days in range(3):
        at = NOW + timedelta(days=days)
        assert all(repeats.told(FAILED, "net", "x", "a", at) for _ in range(FIRST))
        assert repeats.told(FAILED, "net", "x", "a", at) is None


def test_another_kind_or_reason_has_a_count_of_its_own_and_a_clock_that_steps_back_is_borne() -> (
    None
):
    repeats = Repeats()
    for _ in range(FIRST + 1):
        last = repeats.told(FAILED, "net", "x", "a", NOW)
    assert last is None
    assert repeats.told(FAILED, "net", "x", "a", NOW - timedelta(days=1)) is None
    assert repeats.told(FAILED, "tls", "x", "a", NOW) == "x"
    assert repeats.told(EventKind.SESSION_RESUMED, "net", "x", "a", NOW) == "x"


def test_how_many_there_were_is_said_even_at_the_end_of_a_long_message() -> None:
    repeats = Repeats()
    for _ in range(FIRST + 2):
        repeats.told(FAILED, "net", "x" * 5000, "a", NOW)
    ((_, message, _),) = repeats.last(NOW)
    assert (others(message), len(message) < 1000) == (1, True)


def test_what_was_left_out_is_told_in_between_once_a_minute_and_at_an_end_at_once() -> None:
    repeats = Repeats()
    for _ in range(FIRST):
        repeats.told(FAILED, "net", "x", "a", NOW)
    told: list[str] = []
    for second in range(300):
        at = NOW + timedelta(seconds=second)
        told += filter(None, [repeats.told(FAILED, "net", "x", "a", at)])
        told += [message for _, message, _ in repeats.last(at, seldom=True)]
    assert len(told) <= 2 * (1 + 300 // 60)
    ended = [message for _, message, _ in repeats.last(at)]
    assert len([*told, *ended]) + sum(map(others, [*told, *ended])) == 300


def test_each_job_has_its_own_and_of_countless_ones_a_bounded_number_is_remembered() -> None:
    of = repeats_of_jobs()
    first = of(0)
    assert of(0) is first
    assert of(1) is not first
    for job_id in range(10_000):
        of(job_id)
    assert of(0) is not first
    assert of(9_999) is of(9_999)


def test_what_differs_in_numbers_times_and_ids_says_the_same() -> None:
    one = "was answered 503: Reference 0f.1a-2b at 12:00:01"
    assert words_of(one) == words_of("was answered 502: Reference 9e.77 at 23:59:59")
    assert words_of(one) != words_of("was answered 503: Sorry")
