"""What came out, as text, JSON and plots."""

from __future__ import annotations

import datetime as dt
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench.contenders import CLOUD, CLOUD_MANY, CURL, MEDIA_8, MEDIA_100, RCLONE, RUN, UPLOAD
from bench.measure import ROOT, Network, Run
from bench.scenarios import Scenario

GIB = 1 << 30
_PACKAGES = {
    "uploader-for-fireworks": (RUN, UPLOAD),
    "google-resumable-media": (MEDIA_8, MEDIA_100),
    "google-cloud-storage": (CLOUD, CLOUD_MANY),
    "requests": (RUN,),
}
_PROGRAMS = (CURL, RCLONE)
CONTROL = Path("/proc/sys/net/ipv4/tcp_congestion_control")


@dataclass(frozen=True)
class Outcome:
    """One scenario: its runs by contender, and the machine's load when it began."""

    scenario: Scenario
    runs: Mapping[str, Sequence[Run]]
    failures: Mapping[str, str]
    load: float

    @property
    def payload_bytes(self) -> int:
        """The bytes of the weight files; the others are some KB."""
        return self.scenario.shards * self.scenario.shard_bytes

    def median(self, name: str, of: Callable[[Run], float]) -> float | None:
        """The median of a figure over the runs of a contender; None if it did not run."""
        return statistics.median(map(of, self.runs[name])) if self.runs.get(name) else None

    def ratio(self, name: str, to: str, of: Callable[[Run], float]) -> float | None:
        """The median, over the rounds, of a figure of ``name`` through that of ``to``."""
        if name not in self.runs or to not in self.runs:
            return None
        pairs = zip(self.runs[name], self.runs[to], strict=True)
        return statistics.median(of(one) / of(other) for one, other in pairs)


@dataclass
class Results:
    """Everything that one comparison found."""

    facts: dict[str, str]
    absent: Mapping[str, str]
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    def add(
        self,
        scenario: Scenario,
        runs: Mapping[str, Sequence[Run]],
        failures: Mapping[str, str],
        load: float,
    ) -> None:
        """Keep what one scenario found."""
        self.outcomes[scenario.name] = Outcome(scenario, runs, failures, load)

    def further(self, kind: str, name: str, of: Callable[[Run], float]) -> float | None:
        """What each further GiB takes, from the smallest file to the largest that it sent."""
        sent = [
            outcome
            for outcome in self.outcomes.values()
            if outcome.scenario.name.startswith(f"{kind}-") and name in outcome.runs
        ]
        if len(sent) < 2:
            return None
        sent.sort(key=lambda outcome: outcome.payload_bytes)
        small, large = sent[0], sent[-1]
        pairs = zip(small.runs[name], large.runs[name], strict=False)  # one may have fewer rounds
        seconds = statistics.median(of(more) - of(less) for less, more in pairs)
        return seconds * GIB / (large.payload_bytes - small.payload_bytes)


def wall(run: Run) -> float:
    """Seconds from start to end."""
    return run.wall_s


def cpu(run: Run) -> float:
    """Seconds of CPU, user and system."""
    return run.cpu_s


def facts(programs: Collection[str]) -> dict[str, str]:
    """Date, machine and versions."""
    found = {
        "date": f"{dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M} UTC",
        "machine": f"{os.cpu_count()} CPUs ({_processor()}), {platform.system()} "
        f"{platform.release()}, loopback",
        "Python": platform.python_version(),
    }
    if control := congestion_control():
        found["TCP"] = f"congestion control {control}"
    for package, names in _PACKAGES.items():
        try:
            found |= {package: version(package)} if set(programs) & set(names) else {}
        except PackageNotFoundError:
            found[package] = "unknown"
    for program in _PROGRAMS:
        if program in programs:
            said = subprocess.run(
                [program, "--version"], capture_output=True, text=True, check=True
            )
            found[program] = " ".join(said.stdout.split()[1:2])
    return found


def congestion_control() -> str:
    """How TCP decides when to send: some of these set a timer. Empty if the system does not say."""
    return CONTROL.read_text().strip() if CONTROL.exists() else ""


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def write(results: Results, folder: Path) -> None:
    """RESULTS.md, results.json and, if matplotlib is there, results.png."""
    from bench.text import page  # noqa: PLC0415  # it needs what is above

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(asdict(results), indent=1) + "\n")
    plotted = importlib.util.find_spec("matplotlib") is not None
    if plotted:  # in a process of its own: a child's peak memory includes that of its parent
        command = [sys.executable, "-m", "bench.plot", str(folder.absolute())]
        plotted = subprocess.run(command, cwd=ROOT, check=False).returncode == 0
    (folder / "RESULTS.md").write_text(page(results, plotted=plotted))


def read(folder: Path) -> Results:
    """What `write` wrote there."""
    document = json.loads((folder / "results.json").read_text())
    results = Results(document["facts"], document["absent"])
    for one in document["outcomes"].values():
        scenario = {**one["scenario"], "network": Network(**one["scenario"]["network"])}
        runs = {name: [Run(**run) for run in found] for name, found in one["runs"].items()}
        results.add(Scenario(**scenario), runs, one["failures"], one["load"])
    return results
