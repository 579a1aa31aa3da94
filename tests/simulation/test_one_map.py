"""One map of URLs is enough: whatever a second one would be, and wherever the process dies."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.engine.conftest import GRANULE
from tests.simulation.again import Case, each
from tests.simulation.lab import FILES, TOTAL, SimLab, simulated
from tests.simulation.oracle import IN_FLIGHT, assert_no_secret
from uploader.core.job import Status

REFUSALS: dict[str, dict[str, Any]] = {
    "409": {"do": "status", "status": 409},
    "405": {"do": "status", "status": 405},
}
SECOND_MAPS = (*REFUSALS, "moved")


def prepare(lab: SimLab, second_map: str) -> None:
    """What the service says to each job's second getUploadEndpoint, and to all after it."""
    if second_map in REFUSALS:
        for job in FILES:
            fault = {"on": "urls", "match": job, "nth": 2, "times": 1, **REFUSALS[second_map]}
            lab.world.script.add([fault])
        return
    answered: list[str] = []

    def move(name: str) -> None:
        answered.extend([name] if name == "urls after" else [])
        if len(answered) >= len(FILES):
            lab.world.config.object_prefix = "elsewhere"
        lab.sim.boundary(name)

    lab.at_boundary = move


def live(source: Path, second_map: str, *crash_at: int) -> int:
    with simulated(source, 1) as lab:
        prepare(lab, second_map)
        lab.run_through(*crash_at)
        report = lab.world.report()
        for job in lab.jobs.jobs():
            if second_map in REFUSALS:
                lab.assert_ready(job.id)
            assert job.status is Status.DONE, lab.dump()
            # A model is created again only if its one map was lost on the way.
            assert lab.kinds(job.id).count("recreated") <= lab.crashes
        assert report["refused"] == []
        assert report["early_validations"] == report["bytes_below_confirmed"] == 0
        read = sum(entry["body_bytes_read"] for entry in report["objects"].values())
        assert read - TOTAL <= lab.crashes * IN_FLIGHT * GRANULE
        assert_no_secret(lab)
        return lab.sim.boundaries


def until_all_sessions_are_open(source: Path, second_map: str) -> list[int]:
    """Every boundary from the first map to the last session, in a life that nothing disturbs."""
    with simulated(source, 1) as lab:
        prepare(lab, second_map)
        lab.run_through()
        trace = [step.split(": ")[-1] for step in lab.sim.trace]
    first = trace.index("urls before") + 1
    last = len(trace) - trace[::-1].index("start after")
    return list(range(first, min(last + 4, len(trace)) + 1))


@pytest.mark.long
@pytest.mark.parametrize("second_map", SECOND_MAPS)
def test_a_kill_at_any_moment_around_the_sessions_costs_nothing(
    source: Path, second_map: str
) -> None:
    points: list[Case] = [(at,) for at in until_all_sessions_are_open(source, second_map)]
    assert len(points) > 15
    each(partial(live, source, second_map), points)


@pytest.mark.parametrize(
    "second_map",
    [SECOND_MAPS[0], *(pytest.param(m, marks=pytest.mark.long) for m in SECOND_MAPS[1:])],
)
def test_a_kill_before_between_and_after_the_sessions_costs_nothing(
    source: Path, second_map: str
) -> None:
    points = until_all_sessions_are_open(source, second_map)
    each(partial(live, source, second_map), [(at,) for at in points[:: len(points) // 6]])
