"""One job ends every worker that has it, as an input that takes all memory would."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.engine.conftest import GRANULE
from tests.simulation.lab import SimLab
from uploader.core.job import Stage, Status


class Deadly:
    """A job that ends its worker with its first block; its folder may be away for one try."""

    def __init__(self, lab: SimLab) -> None:
        self._lab, self._folder = lab, lab.model("deadly", a_bin=9 * GRANULE)
        self._elsewhere = self._folder.with_name("elsewhere")
        self.id = lab.enqueue(self._folder)
        self._tries = 0
        lab.at_boundary = self._kill

    def goes_away(self) -> None:
        self._tries = self._lab.job(self.id).attempts
        self._folder.rename(self._elsewhere)

    def is_back(self) -> None:
        if self._elsewhere.exists():
            self._elsewhere.rename(self._folder)

    def _kill(self, name: str) -> None:
        if self._lab.job(self.id).attempts > self._tries:
            self.is_back()
        mine = threading.current_thread().name.startswith(f"job {self.id} ")
        if name == "put block" and mine:
            self._lab.sim.crash_at = self._lab.sim.boundaries + 1
        self._lab.sim_boundary(name)


@pytest.mark.parametrize("away", [False, True], ids=["always there", "away now and then"])
def test_a_job_that_ends_every_worker_leaves_the_others_one_without_it(
    tmp_path: Path, *, away: bool
) -> None:
    lab = SimLab(tmp_path, 1, landing_polls=1)
    lab.bytes_per_s = float(GRANULE)  # nothing is confirmed before the worker dies
    deadly = Deadly(lab)
    other = lab.enqueue(lab.model("other", b_bin=33 * GRANULE))
    deaths = 0
    while lab.job(other).stage is not Stage.READY:
        if away and deaths % 4 == 3:  # a try that fails gives the job back
            deadly.goes_away()
        deaths += not lab.run_once()
        deadly.is_back()
        assert deaths < 12
    assert deaths > 4, "it never ended a worker while the other one had not come further"
    lab.assert_ready(other)
    lab.at_boundary = lab.sim_boundary
    if lab.job(deadly.id).status is Status.ACTIVE:  # away for too many tries, it counts as gone
        while not lab.run_once():
            pass
        lab.assert_ready(deadly.id)
    lab.close()
