"""The plots: `python -m bench.plot FOLDER` draws results.png from FOLDER/results.json."""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl

from bench.contenders import RUN, UPLOAD
from bench.report import Outcome, read, wall


def main(folder: Path) -> None:
    """Bars of seconds, a plot for each scenario."""
    mpl.use("agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415  # after `use`

    outcomes = list(read(folder).outcomes.values())
    columns = min(3, len(outcomes))
    rows = -(-len(outcomes) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(6 * columns, 3 * rows), squeeze=False)
    for axis, outcome in zip(axes.flat, outcomes, strict=False):
        _bars(axis, outcome)
    for axis in list(axes.flat)[len(outcomes) :]:
        axis.set_visible(False)
    figure.tight_layout()
    figure.savefig(folder / "results.png", dpi=80)


def _bars(axis: mpl.axes.Axes, outcome: Outcome) -> None:
    names = list(outcome.runs)
    times = [sorted(map(wall, outcome.runs[name])) for name in names]
    middle = [outcome.median(name, wall) or 0.0 for name in names]
    less = [mid - walls[0] for mid, walls in zip(middle, times, strict=True)]
    more = [walls[-1] - mid for mid, walls in zip(middle, times, strict=True)]
    colours = ["tab:orange" if name in (RUN, UPLOAD) else "tab:blue" for name in names]
    axis.barh(names, middle, xerr=[less, more], color=colours, ecolor="black", capsize=2)
    axis.invert_yaxis()
    axis.set_title(outcome.scenario.words, fontsize=8)
    axis.set_xlabel("seconds: median, shortest and longest", fontsize=7)
    axis.tick_params(labelsize=7)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
