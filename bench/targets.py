"""What is aimed at, and how far it is reached."""

from __future__ import annotations

import operator
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from bench.contenders import CURL, RUN, RUN_PLAIN, RUN_TRACED, VENDOR
from bench.measure import Run
from bench.report import Results, cpu, wall


@dataclass(frozen=True)
class Target:
    """A bound on one figure; ``why`` says what stands in the way if it is not met."""

    what: str
    bound: float
    figure: Callable[[Results], float | None]
    at_least: bool = False
    why: str = ""

    def row(self, results: Results) -> str:
        """A line of the table."""
        sign, holds = ("≥", operator.ge) if self.at_least else ("≤", operator.le)
        found = self.figure(results)
        if found is None:
            return f"| {self.what} | {sign} {self.bound:g} | | not measured in this run |"
        verdict = "met" if holds(found, self.bound) else f"**not met.** {self.why}".strip()
        return f"| {self.what} | {sign} {self.bound:g} | {found:.2f} | {verdict} |"


def _ratio(name: str, one: str, other: str) -> Callable[[Results], float | None]:
    def figure(results: Results) -> float | None:
        outcome = results.outcomes.get(name)
        return outcome.ratio(one, other, wall) if outcome else None

    return figure


def _further(
    kind: str, of: Callable[..., float], who: str = RUN
) -> Callable[[Results], float | None]:
    def figure(results: Results) -> float | None:
        ours = results.further(kind, who, of)
        curls = results.further(kind, CURL, of)
        return ours / curls if ours is not None and curls else None

    return figure


def _inverse(ratio: float | None) -> float | None:
    return 1 / ratio if ratio else None


def _of_run(
    name: str, of: Callable[[Run], float | None], who: str = RUN
) -> Callable[[Results], float | None]:
    """The median of a figure of one contender in one scenario, over the runs that have it."""

    def figure(results: Results) -> float | None:
        outcome = results.outcomes.get(name)
        runs = outcome.runs.get(who, ()) if outcome else ()
        found = [value for run in runs if (value := of(run)) is not None]
        return statistics.median(found) if found else None

    return figure


def _per_file(name: str, of: Callable[[Run], float | None], who: str) -> Callable[..., Any]:
    """The same for each file, those next to the weights included."""

    def figure(results: Results) -> float | None:
        whole = _of_run(name, of, who)(results)
        return None if whole is None else whole / (results.outcomes[name].scenario.shards + 4)

    return figure


def _through(name: str, other: str) -> Callable[[Results], float | None]:
    """The seconds of one scenario through those of another."""

    def figure(results: Results) -> float | None:
        one, base = (_of_run(which, wall)(results) for which in (name, other))
        return one / base if one is not None and base else None

    return figure


def _rate_kept(near: str, far: str) -> Callable[[Results], float | None]:
    """The rate of a further GiB with latency through that without."""

    def figure(results: Results) -> float | None:
        without, with_it = (results.further(kind, RUN, wall) for kind in (near, far))
        return without / with_it if without and with_it else None

    return figure


def _in_flight(run: Run) -> float:
    """At the end: where nothing was changed, what it starts with."""
    return run.in_flight or _STARTS_WITH


def _largest(results: Results) -> float | None:
    peaks = [outcome.median(RUN, lambda run: run.peak_mb) for outcome in results.outcomes.values()]
    return max((peak for peak in peaks if peak is not None), default=None)


_PACED = (
    "With BBR as its congestion control, a timer paces TCP, which costs this sender more than curl;"
    " CRC32C and the interpreter come on top. `bench/PROFILE.md` has the same without pacing."
)
_OVER_TLS = "CRC32C and the interpreter, which curl does without: `bench/PROFILE.md`."
_BUSY = f"Sender and sink share the processors, so that more CPU is more time. {_OVER_TLS}"
_HASHES = "Sender and sink take both processors: nothing is left for a third thread."
#: Files in flight, before anything is known of the network.
_STARTS_WITH = 4
_EXCHANGES = "Two requests for each file, one to open its session and one for its bytes;"
_WAITS_LITTLE = (
    f"{_EXCHANGES} what is left is CPU (`bench/PROFILE.md`), which other work on the machine"
    " stretches; the script mostly waits for answers."
)
TARGETS = (
    Target(
        "500 files of 100 KB, 0 ms: time through that of the vendor's script",
        1.5,
        _ratio("many-0", RUN, VENDOR),
        why=f"{_EXCHANGES} the script has one. What the kernel takes, what google-resumable-media"
        " by itself takes for its two, and what is left for checks and journal:"
        " `bench/PROFILE.md`.",
    ),
    Target(
        "500 files of 100 KB, 40 ms: times as fast as the vendor's script",
        5,
        _ratio("many-40", VENDOR, RUN),
        at_least=True,
        why=_WAITS_LITTLE,
    ),
    Target(
        "500 files of 100 KB, 100 ms: times as fast as the vendor's script",
        8,
        _ratio("many-100", VENDOR, RUN),
        at_least=True,
        why=_WAITS_LITTLE,
    ),
    Target("5 000 files of 100 KB: time through that of 500", 11, _through("many-5000", "many-0")),
    Target(
        "requests for each of 504 files, the control plane's included",
        2.05,
        _per_file("many-0", lambda run: run.requests, RUN),
    ),
    Target(
        "calls of fsync and fdatasync for each of 504 files",
        0.5,
        _per_file("many-fsync", lambda run: run.syncs, RUN_TRACED),
    ),
    Target(
        "one stream, HTTP: CPU of a further GiB through curl's",
        1.1,
        _further("http", cpu),
        why=_PACED,
    ),
    Target(
        "the same without SHA-256 (`integrity.sha256 = off`)",
        1.1,
        _further("http", cpu, RUN_PLAIN),
        why=_PACED,
    ),
    *(
        Target(
            f"SHA-256 while sending a large file, {network}: time through that without",
            1.03,
            _ratio(name, RUN, RUN_PLAIN),
            why=_HASHES,
        )
        for name, network in (
            ("http-4096", "HTTP"),
            ("tls-4096", "TLS"),
            ("shard-400", "HTTP, 400 MB/s"),
        )
    ),
    Target(
        "one stream, TLS: CPU of a further GiB through curl's",
        1.15,
        _further("tls", cpu),
        why=_OVER_TLS,
    ),
    Target(
        "one stream, HTTP: time of a further GiB through curl's",
        1.25,
        _further("http", wall),
        why=_PACED,
    ),
    Target(
        "one stream, TLS: time of a further GiB through curl's",
        1.1,
        _further("tls", wall),
        why=_BUSY,
    ),
    Target(
        "4 files at once, TLS: rate of a further GiB through that of 4 curls",
        0.95,
        lambda results: _inverse(_further("several-tls", wall)(results)),
        at_least=True,
        why=_BUSY,
    ),
    Target(
        "one stream, 50 ms per request: rate of a further GiB through that at 0 ms",
        0.9,
        _rate_kept("http", "slow"),
        at_least=True,
        why="On loopback even the longest PUT is over so soon that the wait for its answer counts.",
    ),
    *(
        Target(
            f"the same with 400 MB/s for each connection, {ms} ms: rate through that at 0 ms",
            0.9,
            _rate_kept("near", f"far{ms}"),
            at_least=True,
        )
        for ms in (50, 100)
    ),
    Target(
        "one link of 40 MB/s that all share: files in flight at the end",
        _STARTS_WITH,
        _of_run("shared", _in_flight),
    ),
    Target(
        "20 MB/s for each connection: files in flight at the end",
        _STARTS_WITH + 1,
        _of_run("finds", _in_flight),
        at_least=True,
    ),
    Target(
        "16 files in flight over TLS, peak of memory in MB",
        120,
        _of_run("flight-16", lambda run: run.peak_mb),
    ),
    Target(
        "64 files in flight over TLS, peak of memory in MB",
        120,
        _of_run("flight-64", lambda run: run.peak_mb),
    ),
    Target("the largest peak of memory of `uploader run` below, MB", 120, _largest),
)
_ELSEWHERE = (
    "resuming after SIGTERM and SIGKILL, the idle daemon, large job tables: tests hold these",
    "any network but loopback",
)


def lines(results: Results) -> Iterator[str]:
    """The table, and what is not in it."""
    yield "| what | target | here | |"
    yield "|---|---|---|---|"
    yield from (target.row(results) for target in TARGETS)
    yield ""
    yield "Not measured here:"
    yield from (f"- {what};" for what in _ELSEWHERE[:-1])
    yield f"- {_ELSEWHERE[-1]}."
