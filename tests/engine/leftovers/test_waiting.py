"""What waits for sessions that were left open, for how long, and what it says meanwhile."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.engine.conftest import GRANULE, Lab
from tests.engine.leftovers.ways import (
    FILES,
    Way,
    asked_to_end,
    cancelled,
    interrupted,
    refuse,
    rescanned,
    some_ways,
    watched,
)
from uploader.core.errors import NoThread
from uploader.core.job import Stage, Status
from uploader.core.resumable import SESSION_LIFE_S
from uploader.engine.leftovers import CLEANING_S
from uploader.store.claims import Claims


@some_ways
def test_the_job_says_what_it_waits_for(lab: Lab, then: Way) -> None:
    interrupted(lab)
    job_id = then(lab)
    refuse(lab, 503)
    seen = watched(lab, [])
    lab.run_until(lab.passed(200.0))
    job = lab.job(job_id)
    assert job.reason
    assert job.reason.code == "cleaning_first"
    assert "503" in job.reason.message
    assert job.not_before
    assert (job.status, job.stage, seen) == (Status.ACTIVE, Stage.CREATE, [])
    assert lab.kinds(job_id).count("retrying") == 1, "it says so once"
    lab.sim.suspend(SESSION_LIFE_S)
    lab.run()
    lab.assert_ready(job_id)


def test_it_says_so_while_it_ends_them(lab: Lab) -> None:
    interrupted(lab)
    rescanned(lab)
    said: list[object] = []

    def look(name: str) -> None:
        if name == "cancel before":
            reason = lab.job().reason
            said.append(reason and reason.code)

    lab.boundary = look
    lab.run()
    assert said == ["cleaning_first"] * len(FILES)
    assert lab.job().reason is None


def test_a_job_waits_for_no_worker_that_was_killed(lab: Lab) -> None:
    """The job that it had is cancelled, and no other worker is for that one."""
    old = interrupted(lab)
    claims = Claims(lab.engine, lab.clock.now)
    assert claims.claim("killed", lab.world.base_url, tuple(Stage), 60.0)
    job_id = cancelled(lab)
    lab.only = frozenset({job_id})
    seen = watched(lab, old)
    lab.run()
    lab.assert_ready(job_id)
    assert all(seen)


def test_a_job_waits_for_the_worker_that_may_still_send_for_a_cancelled_one(lab: Lab) -> None:
    lab.enqueue(lab.model(**FILES))
    claims = Claims(lab.engine, lab.clock.now)
    sender = claims.claim("sender", lab.world.base_url, tuple(Stage), 60.0)
    assert sender
    job_id = cancelled(lab)
    later = claims.claim("later", lab.world.base_url, tuple(Stage), 60.0)
    assert later
    assert later.job.id == job_id
    assert later.take_name("sandbox") is None
    sender.release()
    assert later.take_name("sandbox") == []


def test_a_service_that_is_down_is_not_asked_about_all_of_them_again_and_again(lab: Lab) -> None:
    interrupted(lab, **{f"f{number:02}_bin": 2 * GRANULE for number in range(15)})
    rescanned(lab)
    refuse(lab, 503)
    asked = asked_to_end(lab)
    lab.run_until(lab.passed(120.0))
    assert 0 < len(asked) <= 10 * lab.job().attempts


def test_several_of_them_are_ended_at_once(lab: Lab) -> None:
    many = 24
    old = interrupted(lab, **{f"f{number:02}_bin": 2 * GRANULE for number in range(many)})
    rescanned(lab)
    lab.world.script.add([{"on": "cancel", "do": "latency", "seconds": 2.0, "times": 0}])
    asked_s: list[float] = []
    lab.boundary = lambda name: (
        asked_s.append(lab.clock.boot_s()) if name == "cancel before" else None
    )
    lab.run()
    lab.assert_ready()
    assert len(asked_s) == many
    assert all(session.gone for session in old)
    assert max(asked_s) - min(asked_s) < many * 2.0 / 4


def test_without_another_thread_they_are_ended_one_after_the_other(lab: Lab) -> None:
    old = interrupted(lab)
    rescanned(lab)
    usual, refused = lab.spawn, list[str]()

    def spawn(name: str, run: Callable[[], None]) -> None:
        if name.endswith(" leftovers"):
            refused.append(name)
            raise NoThread("no thread can be started")
        usual(name, run)

    lab.spawn = spawn
    lab.run()
    lab.assert_ready()
    assert refused
    assert all(session.gone for session in old)


def test_a_job_with_many_of_them_lets_others_have_its_turn(lab: Lab) -> None:
    interrupted(lab, **{f"f{number:02}_bin": 2 * GRANULE for number in range(40)})
    rescanned(lab)
    lab.world.script.add([{"on": "cancel", "do": "latency", "seconds": 25.0, "times": 0}])
    lab.max_jobs = 1
    other = lab.enqueue(lab.model("other"))
    began_s = lab.clock.boot_s()
    lab.run_until(lambda: lab.job(other).stage is Stage.READY)
    assert lab.clock.boot_s() - began_s < 3 * CLEANING_S
    lab.run()
    lab.assert_ready()


def test_there_may_be_more_of_them_than_are_read_at_once(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uploader.store.leftovers._PORTION", 3)
    old = interrupted(lab, **{f"f{number}_bin": 2 * GRANULE for number in range(7)})
    rescanned(lab)
    seen = watched(lab, old)
    lab.run()
    lab.assert_ready()
    assert all(seen)


def test_nobody_waits_and_nothing_is_asked_if_none_was_left_open(lab: Lab) -> None:
    lab.enqueue(lab.model(**FILES))
    asked = asked_to_end(lab)
    lab.run()
    lab.assert_ready()
    assert asked == []
