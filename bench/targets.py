"""What is aimed at, and how far it is reached."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench.contenders import CURL, RUN, VENDOR
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


def _further(kind: str, of: Callable[..., float]) -> Callable[[Results], float | None]:
    def figure(results: Results) -> float | None:
        ours = results.further(kind, RUN, of)
        curls = results.further(kind, CURL, of)
        return ours / curls if ours is not None and curls else None

    return figure


def _requests_per_file(results: Results) -> float | None:
    outcome = results.outcomes.get("many-0")
    requests = outcome.median(RUN, lambda run: run.requests) if outcome else None
    return requests / (outcome.scenario.shards + 4) if outcome and requests else None


def _largest(results: Results) -> float | None:
    peaks = [outcome.median(RUN, lambda run: run.peak_mb) for outcome in results.outcomes.values()]
    return max((peak for peak in peaks if peak is not None), default=None)


#: Found with 1 GiB on 2 CPUs of other work, on 2026-11-26: look again when the send loop changes.
_PROFILE = (
    "Threads one by one (`/proc/PID/task/*/schedstat`): the one that sends takes 0.28 s of CPU per"
    " GiB over HTTP and 0.52 s over TLS, curl 0.24 s and 0.45 s; the worker's other threads take"
    " the rest. `perf record` of the one that sends, over HTTP: 69 % are the kernel's, mostly"
    " copies, which curl has too; 22 % the interpreter's, for each of 4 096 blocks (`pread`,"
    " `poll`, `send`); 6 % CRC32C."
)
_WAITS = (
    "Threads one by one, over TLS: the one that sends needs 1.7 to 3.1 s per GiB, curl 1.3 to"
    " 2.5 s. It waits for a CPU for 37 to 51 % of that (curl: 31 to 48 %), and for the sink or"
    " another thread of its process for a third (curl: a third)."
)
_START = "Starting, about 0.6 s of CPU, is in it."
_EXCHANGES = "Two requests for each file, one to open its session and one for its bytes;"
TARGETS = (
    Target(
        "500 files of 100 KB, 0 ms: time through that of the vendor's script",
        1.5,
        _ratio("many-0", RUN, VENDOR),
        why=f"{_EXCHANGES} the script has one. {_START}",
    ),
    Target(
        "500 files of 100 KB, 40 ms: times as fast as the vendor's script",
        5,
        _ratio("many-40", VENDOR, RUN),
        at_least=True,
        why=f"{_EXCHANGES} what is left is 1.8 s of CPU, 0.6 s of it for starting, which other work"
        " on the machine stretches several times; the script mostly waits for answers.",
    ),
    Target(
        "requests for each of 504 files, the control plane's included", 2.05, _requests_per_file
    ),
    Target(
        "one stream, HTTP: CPU of a further GiB through curl's",
        1.1,
        _further("http", cpu),
        why=_PROFILE,
    ),
    Target(
        "one stream, TLS: CPU of a further GiB through curl's",
        1.15,
        _further("tls", cpu),
        why=_PROFILE,
    ),
    Target(
        "one stream, HTTP: time of a further GiB through curl's",
        1.25,
        _further("http", wall),
        why=_WAITS,
    ),
    Target(
        "one stream, TLS: time of a further GiB through curl's",
        1.1,
        _further("tls", wall),
        why=_WAITS,
    ),
    Target(
        "4 files of 64 MiB, TLS: share of the rate of 4 curls",
        0.95,
        _ratio("several-tls", CURL, RUN),
        at_least=True,
        why=_START,
    ),
    Target("the largest peak of memory of `uploader run` above, MB", 120, _largest),
)
_ELSEWHERE = (
    "the rate at 50 and 100 ms through that at 0 ms in the same minutes (≥ 0.9 from 1 GiB on)",
    "the many files at 100 ms (≥ 8 times the script), and 5 000 of them through 500",
    "`fsync` per file (`tests/engine/test_many_files.py` counts transactions)",
    "16 and 64 files in flight by configuration; one link that all connections share",
    "resuming after SIGTERM and SIGKILL, the idle daemon, large job tables: tests hold these",
    "files of more than 1 GiB, and any network but loopback",
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
