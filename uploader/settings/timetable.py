"""A bandwidth limit as people write it: a rate or a timetable (docs/configuration.md §6)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from uploader.core.timetable import DAYS, MINUTES_OF_A_DAY, Entry, Timetable, always
from uploader.settings.units import parse_rate

#: The right form, for whoever wrote another one.
FORM = 'write a rate like "20MB/s", "off", or a timetable like "Mon-08:00,20MB/s 19:00,off"'
LOWEST, HIGHEST = "8KiB/s", "1TB/s"
_ENTRY = re.compile(r"(?:([A-Za-z]{1,12})-)?([0-9]{1,2}):([0-9]{2}),(.+)")
_MAX_CHARS = 2000
#: One for every half an hour of a week.
_MAX_ENTRIES = 336


def parse_limit(value: object) -> Timetable:
    """A rate, "off", or entries like "Mon-08:00,20MB/s" with a blank between them.

    An entry without a day holds on every day. Raises ValueError, which shows the right form.
    """
    if isinstance(value, Timetable):
        return value
    text = " ".join(value.split()) if isinstance(value, str) else str(value)
    if len(text) > _MAX_CHARS:
        raise ValueError(FORM)
    if "," not in text:
        return always(_rate(value), text)
    entries = sorted(_entries(text), key=lambda entry: entry.minute)
    if len(entries) > _MAX_ENTRIES:
        raise ValueError(f"a week may have {_MAX_ENTRIES} entries, not {len(entries):,}; {FORM}")
    for one, following in pairwise(entries):
        if one.minute == following.minute:
            when = _moment(one.minute)
            raise ValueError(f"two entries begin on {when}; give each moment one entry: {FORM}")
    return Timetable(text, tuple(entries))


def _entries(text: str) -> Iterator[Entry]:
    # "20 MB/s" is a rate, too: an entry begins where a time does.
    for word in re.split(r" (?=\S*:)", text):
        found = _ENTRY.fullmatch(word)
        if found is None:
            raise ValueError(f"{word!r:.60} is not an entry; {FORM}")
        day, hour, minute, rate = found.groups()
        if int(hour) > 23 or int(minute) > 59:  # noqa: PLR2004 - a clock's
            raise ValueError(f"there is no time {hour}:{minute}; a day is 00:00 to 23:59: {FORM}")
        rate_bps = _rate(rate)
        for number in range(len(DAYS)) if day is None else (_day(day),):
            yield Entry(number * MINUTES_OF_A_DAY + int(hour) * 60 + int(minute), rate_bps)


def _day(name: str) -> int:
    for number, day in enumerate(_FULL):
        if name.casefold() in (day.casefold(), DAYS[number].casefold()):
            return number
    raise ValueError(f"there is no day {name!r}; days are {', '.join(DAYS)}: {FORM}")


_FULL = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def _rate(value: object) -> int | None:
    try:
        rate_bps = parse_rate(value)
    except ValueError:
        raise ValueError(FORM) from None
    low, high = parse_rate(LOWEST), parse_rate(HIGHEST)
    if rate_bps is not None and not (low or 0) <= rate_bps <= (high or 0):
        raise ValueError(f"a rate may be from {LOWEST} to {HIGHEST}; {FORM}")
    return rate_bps


def _moment(minute: int) -> str:
    day, rest = divmod(minute, MINUTES_OF_A_DAY)
    return f"{DAYS[day]}-{rest // 60:02}:{rest % 60:02}"
