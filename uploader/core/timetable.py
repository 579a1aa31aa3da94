"""How many bytes per second may be sent, and when: a rate, or a timetable of rates.

An entry holds from its time on until the next entry begins, week after week, by the local clock as
it is read on a wall. If that clock is put forward over the time of an entry, the entry begins at
once; if it is put back over it, the entry before it holds again until its time comes once more.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MINUTES_OF_A_DAY = 24 * 60
_WEEK = timedelta(days=7)
#: A forecast looks no further.
_LOOKS_AHEAD = timedelta(days=366)


@dataclass(frozen=True, slots=True)
class Entry:
    """From ``minute`` of the week, counted from Monday 00:00: a rate; None is unlimited."""

    minute: int
    rate_bps: int | None


@dataclass(frozen=True, slots=True)
class Timetable:
    """``entries`` in the order of the week; a single one holds always. ``text`` is as written."""

    text: str
    entries: tuple[Entry, ...]

    def __str__(self) -> str:
        return self.text

    @property
    def never_limits(self) -> bool:
        """Whether it is "off" at all times."""
        return all(entry.rate_bps is None for entry in self.entries)

    def at(self, local: datetime) -> int | None:
        """The rate in force at that local time, in bytes per second; None is unlimited."""
        begun = bisect_right(self.entries, _minute_of_week(local), key=lambda one: one.minute)
        # Before the first entry of a week the last one of the week before holds.
        return self.entries[begun - 1].rate_bps

    def next_change(self, local: datetime) -> datetime | None:
        """When the rate changes next, by the local clock; None if it never does."""
        monday, now_bps = _week_begins(local), self.at(local)
        for week in (monday, monday + _WEEK):
            for entry in self.entries:
                begins = week + timedelta(minutes=entry.minute)
                if begins > local and entry.rate_bps != now_bps:
                    return begins
        return None

    def takes_s(self, size_bytes: float, rate_bps: float | None, local: datetime) -> float | None:
        """How many seconds ``size_bytes`` take from ``local`` on, on a link of ``rate_bps``.

        None if that cannot be known: the link's rate is not, and at times there is no limit.
        """
        left, took_s = size_bytes, 0.0
        for span_s, limit_bps in self._spans(local):
            known = [rate for rate in (rate_bps, limit_bps) if rate is not None]
            if not known:
                return None
            carries = min(known) * span_s
            if left <= carries:
                return took_s + left / min(known)
            left, took_s = left - carries, took_s + span_s
        return took_s * size_bytes / (size_bytes - left)  # about as it went until then

    def _spans(self, local: datetime) -> Iterator[tuple[float, int | None]]:
        """The rates from now on, each with its seconds, for about a year."""
        rate_bps, week, last = self.at(local), _week_begins(local), local + _LOOKS_AHEAD
        if all(entry.rate_bps == rate_bps for entry in self.entries):
            yield math.inf, rate_bps
        while local < last:
            for entry in self.entries:
                begins = week + timedelta(minutes=entry.minute)
                if begins > local:
                    yield (begins - local).total_seconds(), rate_bps
                    local, rate_bps = begins, entry.rate_bps
            week += _WEEK


def always(rate_bps: int | None, text: str = "") -> Timetable:
    """One rate at all times; None is unlimited."""
    written = text or ("off" if rate_bps is None else f"{rate_bps}B/s")
    return Timetable(written, (Entry(0, rate_bps),))


UNLIMITED = always(None)


def local_time(now: datetime) -> datetime:
    """The aware ``now`` as this machine's clocks on the wall show it, without a zone."""
    return now.astimezone().replace(tzinfo=None)


def _minute_of_week(local: datetime) -> int:
    return local.weekday() * MINUTES_OF_A_DAY + local.hour * 60 + local.minute


def _week_begins(local: datetime) -> datetime:
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight - timedelta(days=local.weekday())
