"""What is left open remotely after a cancel is ended alongside the work on other jobs."""

from __future__ import annotations

from typing import Any

import pytest

from tests.engine.conftest import GRANULE, Lab
from uploader.core.job import Stage
from uploader.core.lifecycle import Verb
from uploader.core.resumable import SESSION_LIFE_S
from uploader.engine.job_run import CLEANING_S

FILES: Any = {f"f{number:02}_bin": 9 * GRANULE for number in range(20)}
#: How long storage takes to end one session.
SLOW_S = 25.0


def left(lab: Lab, *ids: int) -> int:
    """Sessions that these jobs still have."""
    return sum(file.session is not None for job_id in ids for file in lab.jobs.files(job_id))


def given_up(lab: Lab, *names: str, **sizes: int) -> list[int]:
    """Jobs that were cancelled once all of their sessions were open."""
    lab.max_jobs = len(names)
    lab.bytes_per_s = GRANULE / 20  # so that nothing is stored by then
    ids = [lab.enqueue(lab.model(name, **(sizes or FILES))) for name in names]
    lab.run_until(lambda: left(lab, *ids) == len(ids) * len(sizes or FILES))
    lab.bytes_per_s = None
    for job_id in ids:
        lab.jobs.apply(job_id, Verb.CANCEL, lab.clock.now())
    lab.max_jobs = 2
    return ids


@pytest.fixture
def slow(lab: Lab) -> Lab:
    lab.world.script.add([{"on": "cancel", "do": "latency", "seconds": SLOW_S, "times": 0}])
    return lab


def test_cancelled_jobs_hold_no_place_of_those_at_work(slow: Lab) -> None:
    cancelled = given_up(slow, "one", "two")
    other = slow.enqueue(slow.model("other"))
    began_s = slow.clock.boot_s()
    slow.run_until(lambda: slow.job(other).stage is Stage.READY)
    assert left(slow, *cancelled)
    assert slow.clock.boot_s() - began_s < 120


def test_whatever_storage_takes_to_end_sessions_each_cancelled_job_has_its_turn(slow: Lab) -> None:
    cancelled = given_up(slow, *"abcde")
    (last,) = given_up(slow, "last", x_bin=9 * GRANULE)
    began_s = slow.clock.boot_s()
    slow.run_until(lambda: "closed" in slow.kinds(last))
    assert left(slow, *cancelled) > 4 * len(FILES)
    assert slow.clock.boot_s() - began_s < 3 * (CLEANING_S + SLOW_S)


def test_no_session_is_ended_twice_however_many_turns_that_takes(slow: Lab) -> None:
    (cancelled,) = given_up(slow, "one")
    crossed: list[str] = []
    slow.boundary = lambda name: crossed.append(name) if name == "cancel before" else None
    slow.run()
    assert "closed" in slow.kinds(cancelled)
    assert (left(slow, cancelled), len(crossed)) == (0, len(FILES))
    assert len(FILES) * SLOW_S > 3 * CLEANING_S, "it took several turns"


def test_a_session_that_cannot_be_ended_keeps_no_other_one_open_and_ends_by_itself(
    lab: Lab,
) -> None:
    (cancelled,) = given_up(lab, "one")
    refused = {"on": "cancel", "match": "f00", "do": "status", "status": 503, "times": 0}
    lab.world.script.add([refused])
    lab.run_until(lambda: left(lab, cancelled) == 1)
    lab.run_until(lab.passed(600.0))
    assert "closed" not in lab.kinds(cancelled)
    lab.sim.suspend(SESSION_LIFE_S)
    lab.run()
    assert "closed" in lab.kinds(cancelled)


def test_a_service_that_is_down_is_not_asked_about_all_sessions_again_and_again(lab: Lab) -> None:
    given_up(lab, "one")
    lab.world.script.add([{"on": "cancel", "do": "status", "status": 503, "times": 0}])
    asked: list[str] = []
    lab.boundary = lambda name: asked.append(name) if name == "cancel before" else None
    lab.run_until(lab.passed(595.0))
    assert 0 < len(asked) <= 10 * 10, "ten a minute"
