"""One job ends every worker that has it, as an input that takes all memory would."""

from __future__ import annotations

import threading
from pathlib import Path

from tests.engine.conftest import GRANULE
from tests.simulation.lab import SimLab
from uploader.core.job import Stage, Status


def test_a_job_that_ends_every_worker_leaves_the_others_one_without_it(tmp_path: Path) -> None:
    lab = SimLab(tmp_path, 1, landing_polls=1)
    lab.bytes_per_s = float(GRANULE)  # nothing is confirmed before the worker dies
    deadly = lab.enqueue(lab.model("deadly", a_bin=9 * GRANULE))
    other = lab.enqueue(lab.model("other", b_bin=33 * GRANULE))

    def kill(name: str) -> None:
        mine = threading.current_thread().name.startswith(f"job {deadly} ")
        if name == "put block" and mine:
            lab.sim.crash_at = lab.sim.boundaries + 1
        lab.sim_boundary(name)

    lab.at_boundary = kill
    deaths = 0
    while lab.job(other).stage is not Stage.READY:
        deaths += not lab.run_once()
        assert deaths < 12
    assert deaths > 4, "it never ended a worker while the other one had not come further"
    lab.assert_ready(other)
    assert lab.job(deadly).status is Status.ACTIVE
    lab.at_boundary = lab.sim_boundary
    while not lab.run_once():
        pass
    lab.assert_ready(deadly)
    lab.close()
