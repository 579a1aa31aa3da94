"""Clocks that step, machines that sleep, URLs and sessions that die of age."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine.conftest import GRANULE
from tests.simulation.lab import FILES, SimLab, simulated
from tests.simulation.oracle import assert_all_is_well
from uploader.core.job import Stage, Status

DAY_S = 86_400.0


def at(lab: SimLab, name: str, nth: int, act: object) -> None:
    """Call ``act`` once, at the nth boundary of that name."""
    seen = 0

    def look(boundary: str) -> None:
        nonlocal seen
        seen += boundary == name
        if boundary == name and seen == nth:
            assert callable(act)
            act()
        lab.sim.boundary(boundary)

    lab.at_boundary = look


def calls(lab: SimLab, on: str) -> int:
    return sum(f": {on} before" in step for step in lab.sim.trace)


@pytest.mark.parametrize("step_s", [DAY_S, -DAY_S])
@pytest.mark.parametrize(
    ("name", "nth"), [("put block", 3), ("validate after", 1), ("urls after", 1)]
)
def test_a_wall_clock_that_steps_a_day_changes_nothing(
    source: Path, step_s: float, name: str, nth: int
) -> None:
    with simulated(source, 3) as lab:
        at(lab, name, nth, lambda: setattr(lab.sim, "stepped_s", step_s))
        lab.run_through()
        assert_all_is_well(lab)
        took_s = lab.sim.boot_s()
        assert took_s < 600, "a step of the wall clock must not be waited for"


@pytest.mark.parametrize("name", ["put block", "urls after", "validate after", "start after"])
def test_a_machine_that_sleeps_for_half_a_day_goes_on(source: Path, name: str) -> None:
    with simulated(source, 4) as lab:
        at(lab, name, 1, lambda: lab.sim.suspend(DAY_S / 2))
        lab.run_through()
        assert_all_is_well(lab)


@pytest.mark.long
def test_a_job_asks_for_urls_once_however_much_longer_than_they_live_it_takes(
    source: Path,
) -> None:
    with simulated(source, 5, url_life_s=30) as lab:
        lab.bytes_per_s = GRANULE / 20
        lab.run_through()
        assert_all_is_well(lab)
        assert lab.world.report()["urls_calls"] == len(FILES)
        assert lab.world.report()["refused"] == []


def test_a_session_needs_no_url_however_old(source: Path) -> None:
    with simulated(source, 6, url_life_s=30) as lab:
        at(lab, "put block", 1, lambda: setattr(lab.sim, "crash_at", lab.sim.boundaries + 1))
        assert not lab.run_once()
        lab.at_boundary = lab.sim_boundary
        opened = [f for j in (1, 2) for f in lab.jobs.files(j) if f.session and not f.stored]
        assert opened
        lab.run_once(off_s=2 * DAY_S)
        assert_all_is_well(lab)
        again = [f for j in (1, 2) for f in lab.jobs.files(j) if f.sessions != 1]
        assert again == []


def test_a_session_that_dies_while_the_machine_is_off_starts_that_file_over(source: Path) -> None:
    with simulated(source, 7) as lab:
        at(lab, "put block", 1, lambda: setattr(lab.sim, "crash_at", lab.sim.boundaries + 1))
        assert not lab.run_once()
        lab.at_boundary = lab.sim_boundary
        lab.run_once(off_s=8 * DAY_S)
        assert_all_is_well(lab, bounded=False)
        assert max(f.sessions for j in (1, 2) for f in lab.jobs.files(j)) == 2


def test_a_file_that_loses_two_old_sessions_is_too_big_for_its_link(source: Path) -> None:
    with simulated(source, 7) as lab:
        while not any(job.status is Status.FAILED for job in lab.jobs.jobs()):
            assert lab.crashes < 9
            begun = f"{lab.crashes}"
            lab.bytes_per_s = 1000.0
            # Late enough for the rows to say that bytes of two files have been sent.
            at(lab, "put block", 8, lambda: setattr(lab.sim, "crash_at", lab.sim.boundaries + 1))
            lab.run_once(off_s=6.9 * DAY_S if begun != "0" else 0)
            lab.world.config.session_life_s = 6.5 * DAY_S
        failed = [job for job in lab.jobs.jobs() if job.status is Status.FAILED]
        assert failed
        assert {job.reason.code for job in failed if job.reason} == {"session_too_short"}


def test_the_deadline_of_validation_stands_still_while_the_machine_is_off(source: Path) -> None:
    with simulated(source, 8, landing_polls=40) as lab:
        for _ in range(5):
            at(
                lab,
                "validate after",
                4,
                lambda: setattr(lab.sim, "crash_at", lab.sim.boundaries + 1),
            )
            assert not lab.run_once(off_s=3 * DAY_S, deadline_s=600.0, poll_interval_s=30.0)
        assert {job.stage for job in lab.jobs.jobs()} == {Stage.VALIDATE}
        lab.at_boundary = lab.sim_boundary
        lab.run_once(off_s=3 * DAY_S, deadline_s=7200.0, poll_interval_s=30.0)
        assert_all_is_well(lab)
