"""What is sent over which network by whom; the comparison runs through it round after round."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
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
    UPLOAD,
    VENDOR,
    Task,
)
from bench.folders import make_model
from bench.measure import Failed, Network, Run, measured, sink

MIB = 1 << 20
SMALL_BYTES = 100_000
_ONE_BY_ONE = (RUN, UPLOAD, CURL, VENDOR, MEDIA_8, MEDIA_100, CLOUD, RCLONE)
_OVER_TLS = (RUN, CURL, VENDOR, MEDIA_8, RCLONE)
_AT_ONCE = (RUN, CURL, VENDOR, CLOUD_MANY, RCLONE)


@dataclass(frozen=True)
class Scenario:
    """A folder of ``shards`` weight files, a network, and who sends it."""

    name: str
    shards: int
    shard_bytes: int
    network: Network
    contenders: Sequence[str]

    @property
    def words(self) -> str:
        """For a heading."""
        size = self.shard_bytes
        each = f"{size // MIB} MiB" if size >= MIB else f"{size // 1000} KB"
        files = "one file" if self.shards == 1 else f"{self.shards} files"
        return f"{files} of {each}, {self.network.words}"


FULL = (
    Scenario("http-64", 1, 64 * MIB, Network(), _ONE_BY_ONE),
    Scenario("http-1024", 1, 1024 * MIB, Network(), (RUN, CURL, MEDIA_8)),
    Scenario("tls-64", 1, 64 * MIB, Network(tls=True), _OVER_TLS),
    Scenario("tls-1024", 1, 1024 * MIB, Network(tls=True), (RUN, CURL, MEDIA_8)),
    Scenario("many-0", 500, SMALL_BYTES, Network(), (*_AT_ONCE, MEDIA_8)),
    Scenario("many-40", 500, SMALL_BYTES, Network(latency_ms=40), _AT_ONCE),
    Scenario("http-256", 1, 256 * MIB, Network(), _ONE_BY_ONE),
    Scenario("several-tls", 4, 64 * MIB, Network(tls=True), _AT_ONCE),
    Scenario("slow-256", 1, 256 * MIB, Network(latency_ms=50), (RUN, CURL, MEDIA_8)),
    Scenario("capped", 8, 32 * MIB, Network(connection_mb_s=20), (RUN, CURL, CLOUD_MANY, RCLONE)),
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
    scenario: Scenario, rounds: int, without: Mapping[str, str], scratch: Path
) -> tuple[dict[str, list[Run]], dict[str, str]]:
    """Runs by contender, and the last error of each that failed, whose runs do not count.

    In each round everyone has their turn, so that whatever else the machine does hits all of them.
    """
    folder, place = scratch / "bench-model", scratch / "run"
    payload = make_model(folder, scenario.shards, scenario.shard_bytes)
    names = [name for name in scenario.contenders if name not in without]
    runs: dict[str, list[Run]] = {name: [] for name in names}
    failures: dict[str, str] = {}
    with sink(scenario.network, scratch) as where:
        for number in range(rounds):
            for name in names:
                place.mkdir()
                try:
                    task = Task(folder, where, place)
                    command = CONTENDERS[name].command(task)
                    log = place / "output"
                    run = measured(where, command, task.variables, payload, log)
                    runs[name].append(run)
                except Failed as failure:
                    failures[name] = str(failure)
                    print(f"{scenario.name}: {name} failed: {failure}", file=sys.stderr)
                else:
                    print(f"{scenario.name} {number + 1}/{rounds} {name}: {run.wall_s:.2f} s")
                shutil.rmtree(place)
    shutil.rmtree(folder)
    return {name: found for name, found in runs.items() if name not in failures}, failures
