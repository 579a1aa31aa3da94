"""What is sent over which network by whom; the comparison runs through it round after round."""

from __future__ import annotations

import re
import shutil
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.contenders import (
    CLOUD,
    CLOUD_MANY,
    CONTENDERS,
    CURL,
    MEDIA_8,
    MEDIA_100,
    RCLONE,
    RUN,
    RUN_PLAIN,
    RUN_TRACED,
    TRACE,
    UPLOAD,
    VENDOR,
    Task,
)
from bench.folders import make_model
from bench.measure import Failed, Network, Run, measured, sink

MIB = 1 << 20
SMALL_BYTES = 100_000
_ONE_BY_ONE = (RUN, RUN_PLAIN, UPLOAD, CURL, VENDOR, MEDIA_8, MEDIA_100, CLOUD, RCLONE)
_OVER_TLS = (RUN, RUN_PLAIN, CURL, VENDOR, MEDIA_8, RCLONE)
_AT_ONCE = (RUN, CURL, VENDOR, CLOUD_MANY, RCLONE)


@dataclass(frozen=True)
class Scenario:
    """A folder of ``shards`` weight files, a network, and who sends it."""

    name: str
    shards: int
    shard_bytes: int
    network: Network
    contenders: Sequence[str]
    #: Settings of uploader that are not its defaults, as variables.
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def words(self) -> str:
        """For a heading."""
        size = self.shard_bytes
        each = f"{size // MIB} MiB" if size >= MIB else f"{size // 1000} KB"
        files = "one file" if self.shards == 1 else f"{self.shards} files"
        given = "".join(f", {name}={value}" for name, value in self.variables.items())
        return f"{files} of {each}, {self.network.words}{given}"


def in_flight(files: int) -> dict[str, str]:
    """The setting of a number of files in flight."""
    return {"UPLOADER_TRANSFER__MAX_FILES": str(files)}


_SLOW_TLS = Network(tls=True, connection_mb_s=4)
#: The ones that most depends on come first: whatever is not begun in time is left out.
FULL = (
    Scenario("http-64", 1, 64 * MIB, Network(), _ONE_BY_ONE),
    Scenario("http-1024", 1, 1024 * MIB, Network(), (RUN, RUN_PLAIN, CURL, MEDIA_8)),
    Scenario("tls-64", 1, 64 * MIB, Network(tls=True), _OVER_TLS),
    Scenario("tls-1024", 1, 1024 * MIB, Network(tls=True), (RUN, RUN_PLAIN, CURL, MEDIA_8)),
    Scenario("many-0", 500, SMALL_BYTES, Network(), (*_AT_ONCE, MEDIA_8)),
    Scenario("many-40", 500, SMALL_BYTES, Network(latency_ms=40), (RUN, CURL, VENDOR)),
    Scenario("many-5000", 5000, SMALL_BYTES, Network(), (RUN,)),
    Scenario("many-fsync", 500, SMALL_BYTES, Network(), (RUN_TRACED,)),
    Scenario("flight-16", 64, 8 * MIB, _SLOW_TLS, (RUN,), in_flight(16)),
    Scenario("flight-64", 64, 8 * MIB, _SLOW_TLS, (RUN,), in_flight(64)),
    Scenario("shared", 96, 8 * MIB, Network(link_mb_s=40), (RUN,)),
    Scenario("finds", 128, 16 * MIB, Network(connection_mb_s=20), (RUN,)),
    Scenario("http-4096", 1, 4096 * MIB, Network(), (RUN, RUN_PLAIN, CURL, MEDIA_8)),
    Scenario("tls-4096", 1, 4096 * MIB, Network(tls=True), (RUN, RUN_PLAIN, CURL, MEDIA_8)),
    Scenario("shard-400", 1, 1024 * MIB, Network(connection_mb_s=400), (RUN, RUN_PLAIN)),
    Scenario("http-256", 1, 256 * MIB, Network(), _ONE_BY_ONE),
    Scenario("several-tls-256", 4, 64 * MIB, Network(tls=True), _AT_ONCE),
    Scenario("several-tls-1024", 4, 256 * MIB, Network(tls=True), (RUN, CURL)),
    Scenario("slow-1024", 1, 1024 * MIB, Network(latency_ms=50), (RUN, CURL, MEDIA_8)),
    Scenario("slow-3072", 1, 3072 * MIB, Network(latency_ms=50), (RUN, CURL)),
    *(
        Scenario(f"{kind}-{mib}", 1, mib * MIB, Network(latency_ms=ms, connection_mb_s=400), (RUN,))
        for kind, ms in (("near", 0), ("far50", 50), ("far100", 100))
        for mib in (1024, 3072)
    ),
    Scenario("capped", 8, 32 * MIB, Network(connection_mb_s=20), (RUN, CURL)),
    Scenario("many-100", 500, SMALL_BYTES, Network(latency_ms=100), (RUN, CURL, VENDOR)),
)
QUICK = (
    Scenario("http-64", 1, 64 * MIB, Network(), (RUN, CURL, VENDOR, MEDIA_8, RCLONE)),
    Scenario("http-256", 1, 256 * MIB, Network(), (RUN, CURL, VENDOR, MEDIA_8, RCLONE)),
    Scenario("many-0", 100, SMALL_BYTES, Network(), _AT_ONCE),
)
TINY = (Scenario("tiny", 2, 2 * MIB, Network(tls=True), tuple(CONTENDERS)),)


def absent(scenarios: Collection[Scenario]) -> dict[str, str]:
    """Whoever cannot run here, and why."""
    names = {name for scenario in scenarios for name in scenario.contenders}
    reasons = {name: CONTENDERS[name].missing() for name in CONTENDERS if name in names}
    return {name: f"{reason} was not there" for name, reason in reasons.items() if reason}


def compare(
    scenario: Scenario,
    rounds: int,
    without: Mapping[str, str],
    scratch: Path,
    ends_s: float = float("inf"),
) -> tuple[dict[str, list[Run]], dict[str, str]]:
    """Runs by contender, and the error of each that failed, whose runs do not count.

    In each round everyone has their turn, so that whatever else the machine does hits all of them.
    No round but the first begins after ``ends_s``, and nobody who failed has another turn.
    """
    folder = scratch / "bench-model"
    payload = make_model(folder, scenario.shards, scenario.shard_bytes)
    names = [name for name in scenario.contenders if name not in without]
    runs: dict[str, list[Run]] = {name: [] for name in names}
    failures: dict[str, str] = {}
    with sink(scenario.network, scratch) as where:
        for number in range(rounds):
            if number and time.monotonic() > ends_s:
                break
            for name in [name for name in names if name not in failures]:
                title = f"{scenario.name} {number + 1}/{rounds} {name}"
                try:
                    run = _one(scenario, name, Task(folder, where, scratch / "run"), payload)
                except (Failed, OSError) as failure:
                    failures[name] = str(failure)
                    print(f"{title} failed: {failure}", file=sys.stderr, flush=True)
                else:
                    runs[name].append(run)
                    print(f"{title}: {run.wall_s:.2f} s", flush=True)
    shutil.rmtree(folder)
    return {name: found for name, found in runs.items() if name not in failures}, failures


def _one(scenario: Scenario, name: str, task: Task, payload: int) -> Run:
    """One turn of one contender, in a scratch folder of its own. Raises Failed, OSError."""
    task.scratch.mkdir()
    try:
        variables = {**task.variables, **scenario.variables}
        log, trace = task.scratch / "output", task.scratch / TRACE
        run = measured(task.sink, CONTENDERS[name].command(task), variables, payload, log)
        if trace.exists():
            run = replace(run, syncs=trace.read_text().count("sync("))
        moves = re.findall(r"files in flight: .*?(\d+) files?:", log.read_text(errors="replace"))
        return replace(run, in_flight=int(moves[-1])) if moves else run
    finally:
        shutil.rmtree(task.scratch)
