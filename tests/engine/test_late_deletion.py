"""A DELETE that goes on at the service when nobody hears its answer."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from tests.engine.conftest import GRANULE, Lab
from tests.engine.test_new_life import assert_replaced, failed, other_files, rescan
from uploader.core.job import Stage
from uploader.core.lifecycle import Verb
from uploader.core.remote_model import DELETE_S
from uploader.store.tables import jobs

KEY = ("sandbox", "model")
LOST: tuple[dict[str, Any], ...] = (
    {"on": "delete", "do": "status", "status": 504, "times": 1},
    {"on": "delete", "do": "reset-before", "times": 1},
    {"on": "delete", "do": "lost-answer", "times": 1},
)


def replaced(lab: Lab, *faults: dict[str, Any]) -> int:
    """A new run of a failed job, with other files: its model has to be deleted first."""
    folder = failed(lab)
    other_files(folder)
    rescan(lab, folder, replace=True)
    lab.world.script.add(faults)
    return 1


def used_up(lab: Lab, *faults: dict[str, Any]) -> int:
    """The service takes no more files for the model, so the job deletes it by itself."""
    lab.world.script.add([{"on": "urls", "do": "status", "status": 409, "times": 1}, *faults])
    return lab.enqueue(lab.model(b_bin=4 * GRANULE))


def cancelled(lab: Lab, *faults: dict[str, Any]) -> int:
    """Another job for the name of a model whose job was cancelled, and which is to be deleted."""
    lab.world.script.add(faults)
    lab.bytes_per_s = GRANULE / 4
    folder = lab.model(b_bin=4 * GRANULE)
    first = lab.enqueue(folder)
    lab.run_until(lambda: lab.job(first).bytes_sent > 0)
    lab.jobs.apply(first, Verb.CANCEL, lab.clock.now(), delete_remote=True)
    lab.run_until(lambda: "retrying" in lab.kinds(first))
    lab.bytes_per_s = None
    return lab.enqueue(folder)


def times(lab: Lab, call: str) -> list[float]:
    """When each of those calls began."""
    at: list[float] = []

    def boundary(name: str) -> None:
        if name == f"{call} before":
            at.append(lab.clock.boot_s())

    lab.boundary = boundary
    return at


@pytest.mark.parametrize("fault", LOST, ids=lambda fault: fault["do"])
@pytest.mark.parametrize("way", [replaced, used_up, cancelled])
def test_nothing_is_sent_to_that_name_while_it_may_go_on(
    lab: Lab, way: Callable[..., int], fault: dict[str, Any]
) -> None:
    began = times(lab, "delete")
    job_id = way(lab, fault)
    lab.run_until(lambda: bool(began))
    creates = lab.world.report()["creates"]
    lab.run_until(lambda: lab.clock.boot_s() > began[0] + DELETE_S - 60)
    job = lab.job(job_id)
    assert job.reason, lab.dump()
    assert (job.stage, job.reason.code) == (Stage.CREATE, "cleaning_first")
    assert lab.world.report()["creates"] == creates
    if model := lab.world.models.pop(KEY, None):  # it is carried out
        lab.world.forget_objects(model)
    lab.run()
    lab.assert_ready(job_id)
    assert lab.clock.boot_s() - began[0] < DELETE_S + 120


@pytest.mark.parametrize("way", [replaced, used_up])
def test_nobody_waits_for_one_that_was_answered(lab: Lab, way: Callable[..., int]) -> None:
    way(lab)
    created = times(lab, "create")
    lab.run()
    assert created[-1] < 60


def test_nor_for_ever_if_the_clock_is_set_back(lab: Lab) -> None:
    replaced(lab)
    with lab.engine.begin() as connection:
        ahead = lab.clock.now() + timedelta(seconds=86_400)
        connection.execute(update(jobs).values(deleting_since=ahead))
    created = times(lab, "create")
    lab.run()
    assert_replaced(lab)
    assert created[-1] < 60
