"""bench/RESULTS.md."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from bench import targets
from bench.contenders import CONTENDERS, CURL, RUN, VENDOR
from bench.report import GIB, Outcome, Results, cpu, wall

_ROUNDS = """\
In each round everyone has their turn, one after the other, so that whatever else the machine does
hits all of them; ratios are medians over the rounds of what two took in the same round. Seconds are
medians, with the shortest and the longest. CPU is that of the command and all its processes; memory
is the peak of its largest process, and cannot show less than the harness's own (about 25 MB).

curl's sessions are opened for it beforehand; everyone else opens their own. `uploader run` finds a
job that was enqueued before, `uploader upload` does all of it. rclone compares no hashes here
(`--ignore-checksum`). The sink does not delay the opening of a connection, which favours whoever
opens many. Its own CPU is in the last column: if it comes near to the seconds, the sink was the
limit.

A further GiB compares parts of the run that were minutes apart: if the load changed in between, its
seconds say little. CPU, and ratios within a part, are not touched by that.
"""


def page(results: Results, *, plotted: bool) -> str:
    """The whole page."""
    return "\n".join(_lines(results, plotted=plotted)) + "\n"


def _lines(results: Results, *, plotted: bool) -> Iterator[str]:
    yield "# uploader beside others"
    yield ""
    yield from _summary(results)
    yield ""
    loads = [outcome.load for outcome in results.outcomes.values()]
    rounds = {len(runs) for outcome in results.outcomes.values() for runs in outcome.runs.values()}
    yield "`make bench` wrote this page; `results.json` has every run."
    yield ""
    yield from (f"- {name}: {value}" for name, value in results.facts.items())
    yield f"- rounds: {', '.join(map(str, sorted(rounds)))}"
    if loads:
        words = "other work ran too" if max(loads) > 1 else "the machine was quiet"
        yield f"- load when each part began: {min(loads):.1f} to {max(loads):.1f}: {words}"
    yield ""
    yield _ROUNDS
    yield "## Targets"
    yield ""
    yield from targets.lines(results)
    yield from (f"- {name}: {reason}" for name, reason in results.absent.items())
    if plotted:
        yield ""
        yield "![seconds by scenario](results.png)"
    yield from _further(results)
    for outcome in results.outcomes.values():
        yield from _table(outcome)


def _summary(results: Results) -> Iterator[str]:
    many, far = results.outcomes.get("many-0"), results.outcomes.get("many-40")
    near = many.ratio(RUN, VENDOR, wall) if many else None
    gain = far.ratio(VENDOR, RUN, wall) if far else None
    if many and near is not None and gain is not None:
        yield (
            f"{many.scenario.shards} files of 100 KB take {near:.1f} times as long as with the"
            " vendor's script if a request takes no time; at 40 ms per request they arrive"
            f" {gain:.1f} times as fast as with it."
        )
    ours = [results.further(kind, RUN, cpu) for kind in ("http", "tls")]
    curls = [results.further(kind, CURL, cpu) for kind in ("http", "tls")]
    ratios = [our / its for our, its in zip(ours, curls, strict=True) if our and its]
    if len(ratios) == len(ours):
        yield (
            f"Each further GiB of a large file takes {ratios[0]:.2f} times the CPU of `curl -T`"
            f" over HTTP and {ratios[1]:.2f} times over TLS, checksum and journal included."
        )


def _further(results: Results) -> Iterator[str]:
    for kind in ("http", "tls"):
        curls = results.further(kind, CURL, cpu)
        if curls is None:
            continue
        yield ""
        yield f"## A further GiB over {kind.upper()}"
        yield ""
        yield "Between the smallest and the largest file that one sent: starting is not in it."
        yield ""
        yield "| | seconds | CPU seconds | CPU through curl's |"
        yield "|---|---|---|---|"
        for name in CONTENDERS:
            seconds, busy = (results.further(kind, name, of) for of in (wall, cpu))
            if seconds is not None and busy is not None:
                yield f"| {name} | {seconds:.2f} | {busy:.2f} | {busy / curls:.2f} |"


def _table(outcome: Outcome) -> Iterator[str]:
    yield ""
    yield f"## {outcome.scenario.words[0].upper()}{outcome.scenario.words[1:]}"
    yield ""
    yield (
        "| | seconds | through uploader run's | MB/s | CPU s | CPU s per GiB | peak MB"
        " | requests | connections | sink's CPU s |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for name, runs in outcome.runs.items():
        walls = [run.wall_s for run in runs]
        middle, busy = statistics.median(walls), statistics.median(run.cpu_s for run in runs)
        ratio = outcome.ratio(name, RUN, wall)
        cells = (
            f"{middle:.2f} ({min(walls):.2f} to {max(walls):.2f})",
            "" if ratio is None else f"{ratio:.2f}",
            f"{outcome.payload_bytes / 1e6 / middle:.0f}",
            f"{busy:.2f}",
            f"{busy * GIB / outcome.payload_bytes:.2f}",
            f"{statistics.median(run.peak_mb for run in runs):.0f}",
            f"{statistics.median(run.requests for run in runs):.0f}",
            f"{statistics.median(run.connections for run in runs):.0f}",
            f"{statistics.median(run.sink_cpu_s for run in runs):.2f}",
        )
        yield f"| {name} | {' | '.join(cells)} |"
    for name, failure in outcome.failures.items():
        yield ""
        yield f"{name} failed here: {failure.splitlines()[0]}"
