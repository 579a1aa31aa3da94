"""What came out, as text, JSON and plots."""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
import statistics
import subprocess
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench.contenders import CLOUD, CLOUD_MANY, CURL, MEDIA_8, MEDIA_100, RCLONE, RUN, UPLOAD
from bench.measure import Run
from bench.scenarios import Scenario

GIB = 1 << 30
_PACKAGES = {
    "uploader-for-fireworks": (RUN, UPLOAD),
    "google-resumable-media": (MEDIA_8, MEDIA_100),
    "google-cloud-storage": (CLOUD, CLOUD_MANY),
    "requests": (RUN,),
}
_PROGRAMS = (CURL, RCLONE)


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
        return statistics.median(map(of, self.runs[name])) if name in self.runs else None

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
        """What each further GiB takes: between 64 and 256 MiB, so that starting costs nothing."""
        small, large = self.outcomes.get(f"{kind}-64"), self.outcomes.get(f"{kind}-256")
        if not small or not large or name not in small.runs or name not in large.runs:
            return None
        pairs = zip(small.runs[name], large.runs[name], strict=True)
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
    document = {
        "facts": results.facts,
        "absent": results.absent,
        "scenarios": {
            name: {
                "what": outcome.scenario.words,
                "load": outcome.load,
                "failures": outcome.failures,
                "runs": {who: [asdict(run) for run in runs] for who, runs in outcome.runs.items()},
            }
            for name, outcome in results.outcomes.items()
        },
    }
    (folder / "results.json").write_text(json.dumps(document, indent=1) + "\n")
    plotted = _plot(results, folder / "results.png")
    (folder / "RESULTS.md").write_text(page(results, plotted=plotted))


def _plot(results: Results, path: Path) -> bool:
    try:
        import matplotlib as mpl  # noqa: PLC0415  # the group `bench`, and heavy
    except ImportError:
        return False
    mpl.use("agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415  # after `use`

    columns = min(3, len(results.outcomes))
    rows = -(-len(results.outcomes) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(6 * columns, 3 * rows), squeeze=False)
    for axis, outcome in zip(axes.flat, results.outcomes.values(), strict=False):
        names = list(outcome.runs)
        walls = [[run.wall_s for run in outcome.runs[name]] for name in names]
        middle = [statistics.median(times) for times in walls]
        less = [mid - min(times) for mid, times in zip(middle, walls, strict=True)]
        more = [max(times) - mid for mid, times in zip(middle, walls, strict=True)]
        colours = ["tab:orange" if name in (RUN, UPLOAD) else "tab:blue" for name in names]
        axis.barh(names, middle, xerr=[less, more], color=colours, ecolor="black", capsize=2)
        axis.invert_yaxis()
        axis.set_title(outcome.scenario.words, fontsize=8)
        axis.set_xlabel("seconds: median, shortest and longest", fontsize=7)
        axis.tick_params(labelsize=7)
    for axis in list(axes.flat)[len(results.outcomes) :]:
        axis.set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=80)
    return True
