"""How many files are in flight, if nobody says so: found by trying. Pure: no thread, no clock.

As azcopy does it: a few more files are tried, and kept if the server then confirms enough more
bytes per second in all. If a service asks for less, or a connection stalls, the number is halved
at once, and grows again by one at a time.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, replace

START, MOST = 4, 64
#: How many times as many files are tried; the next smaller step follows one that did not help.
_STEPS = (1.5, 1.2)
#: A step is kept if it gains this part of what files that do not hinder each other would gain …
_ENOUGH = 0.3
#: … and more than rates vary by themselves.
_MIN_GAIN = 0.08
#: Seconds over which a rate is measured; many small confirmations say as much in less time.
_WINDOW_S, _QUICK_S = 5.0, 1.0
_QUICK_COUNT = 8
#: Seconds without a try: after none helped, after trouble, and within which trouble counts once.
_REST_S, _RECOVER_S, _CALM_S = 300.0, 30.0, 10.0

Point = tuple[float, int]


class Gauge:
    """Bytes per second that the server confirmed, over all files in flight, since `restart`.

    A PUT is confirmed only at its end, so its bytes count evenly over the time that it took. So
    only the time is looked at for which all PUTs are known, and which began after those that were
    under way at `restart`: they began under other conditions.
    """

    def __init__(self) -> None:
        self.since_s = 0.0
        #: How many times the server has confirmed something since then.
        self.confirmations = 0
        self._running: dict[Hashable, list[Point]] = {}
        self._unsettled: set[Hashable] = set()
        self._ended: list[list[Point]] = []
        self._at_once: list[Point] = [(0.0, 0)]

    def restart(self, at_s: float) -> None:
        """Measure from ``at_s`` on."""
        self.since_s, self.confirmations = at_s, 0
        for points in self._running.values():
            del points[:-1]
        self._unsettled = set(self._running)
        self._ended.clear()
        self._at_once = [(at_s, 0)]

    def saw(self, file: Hashable, at_s: float, confirmed: int, *, ended: bool = False) -> None:
        """At ``at_s`` the server confirmed the last of ``confirmed`` bytes of a file in flight."""
        points = self._running.get(file)
        if points is None:  # what came before the first look came at once
            self._confirmed_at_once(at_s, confirmed)
            if not ended:
                self._running[file] = [(at_s, confirmed)]
            return
        if confirmed > points[-1][1]:
            points.append((at_s, confirmed))
            self.confirmations += 1
        if file in self._unsettled and (ended or points[-1][0] > self.since_s):
            self._unsettled.remove(file)
            self.since_s = max(self.since_s, at_s)
        if ended:
            self._ended.append(self._running.pop(file))

    def _confirmed_at_once(self, at_s: float, confirmed: int) -> None:
        if confirmed:
            last_s, total = self._at_once[-1]
            self._at_once.append((max(at_s, last_s), total + confirmed))
            self.confirmations += 1

    def rate(self, now_s: float) -> tuple[float, float]:
        """For how many seconds all is known, and how many bytes per second were confirmed then."""
        until_s = min((points[-1][0] for points in self._running.values()), default=now_s)
        span_s = until_s - self.since_s
        if span_s <= 0 or self._unsettled:
            return 0.0, 0.0
        known = (self._at_once, *self._ended, *self._running.values())
        gained = sum(_at(points, until_s) - _at(points, self.since_s) for points in known)
        return span_s, gained / span_s


def _at(points: Iterable[Point], moment_s: float) -> float:
    """The height at that moment of the line through the points; level before and after them."""
    before: Point | None = None
    for at_s, height in points:
        if at_s > moment_s:
            if before is None:
                return height
            return before[1] + (height - before[1]) * (moment_s - before[0]) / (at_s - before[0])
        before = (at_s, height)
    return before[1] if before else 0.0


@dataclass(frozen=True, slots=True)
class Measured:
    """The rate with this many files in flight, in bytes per second."""

    files: int
    rate_bps: float


@dataclass(frozen=True, slots=True)
class Tuning:
    """Where the search stands: ``files`` may be in flight."""

    files: int = START
    #: While more files are tried: what they are compared with.
    before: Measured | None = None
    step: int = 0
    #: After trouble: one file more at a time.
    recovers: bool = False
    rests_until_s: float = 0.0
    calm_until_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Look:
    """What is seen once a second.

    ``free``: no file waits for a slot, or more are still in flight than may be, so that nothing
    can be learned. ``limited``: a bandwidth limit binds. ``trouble``: why less is to be sent.
    """

    at_s: float
    span_s: float = 0.0
    rate_bps: float = 0.0
    confirmations: int = 0
    free: bool = False
    limited: bool = False
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """What follows: the next state, what to say about it, and whether to measure anew."""

    tuning: Tuning
    message: str = ""
    restart: bool = False


def tune(tuning: Tuning, look: Look) -> Decision:
    """The one thing that follows from a look."""
    if look.trouble:
        return _slow_down(tuning, look)
    if look.limited or look.free:
        return Decision(_given_up(tuning), restart=True)
    if look.at_s < tuning.rests_until_s:
        return Decision(tuning, restart=True)
    enough = look.confirmations >= _QUICK_COUNT * tuning.files
    if look.span_s < (_QUICK_S if enough else _WINDOW_S):
        return Decision(tuning)
    return _try_more(tuning, look) if tuning.before is None else _judge(tuning, tuning.before, look)


def _slow_down(tuning: Tuning, look: Look) -> Decision:
    if look.at_s < tuning.calm_until_s:
        return Decision(tuning, restart=True)
    files = max(1, tuning.files // 2)
    after = Tuning(
        files,
        recovers=True,
        rests_until_s=look.at_s + _RECOVER_S,
        calm_until_s=look.at_s + _CALM_S,
    )
    moved = f"{tuning.files} → {_files(files)}: {look.trouble}" if files != tuning.files else ""
    return Decision(after, moved, restart=True)


def _given_up(tuning: Tuning) -> Tuning:
    """What was tried cannot be measured now."""
    if tuning.before is None:
        return tuning
    return replace(tuning, files=tuning.before.files, before=None)


def _try_more(tuning: Tuning, look: Look) -> Decision:
    grown = tuning.files + 1
    if not tuning.recovers:
        grown = max(grown, round(tuning.files * _STEPS[tuning.step]))
    if tuning.files >= MOST or not look.rate_bps:
        return Decision(replace(tuning, rests_until_s=look.at_s + _REST_S), restart=True)
    before = Measured(tuning.files, look.rate_bps)
    return Decision(replace(tuning, files=min(grown, MOST), before=before), restart=True)


def _judge(tuning: Tuning, before: Measured, look: Look) -> Decision:
    gain = look.rate_bps / before.rate_bps - 1
    enough = _ENOUGH * (tuning.files / before.files - 1)
    # After trouble each step is so small that its gain is, too.
    if gain >= (enough if tuning.recovers else max(_MIN_GAIN, enough)):
        moved = f"{before.files} → {_files(tuning.files)}: {gain:+.0%}"
        return Decision(replace(tuning, before=None), moved.replace("%", " %"), restart=True)
    moved = f"{before.files} → {tuning.files} → {_files(before.files)}: {gain:+.0%}"
    last = tuning.recovers or tuning.step == len(_STEPS) - 1
    after = replace(
        tuning,
        files=before.files,
        before=None,
        recovers=False,
        step=tuning.step if last else tuning.step + 1,
        rests_until_s=look.at_s + _REST_S if last else 0.0,
    )
    return Decision(after, moved.replace("%", " %"), restart=True)


def _files(count: int) -> str:
    return f"{count} file{'s' * (count != 1)}"
