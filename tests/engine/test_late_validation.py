"""A validateUpload that goes on at the service when its job, or its run, is given up."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from tests.engine.conftest import GRANULE, Lab
from tests.engine.test_kept import kept
from tests.engine.test_new_life import rescan, rewrite
from uploader.core.job import Stage, Status
from uploader.core.lifecycle import Verb
from uploader.core.remote_model import VALIDATE_S
from uploader.store.tables import jobs

SIZE = 8 * GRANULE
KEY = ("sandbox", "model")


def given_up(lab: Lab, verb: Verb) -> Path:
    """The folder of a job that stood in `validate` when that was done to it; changed since."""
    lab.world.config.landing_polls = 100
    folder = lab.model(a_bin=SIZE, b_bin=5)
    lab.enqueue(folder)
    lab.run_until(lambda: lab.world.report()["validate_calls"] > 0)
    assert lab.job().stage is Stage.VALIDATE
    lab.jobs.apply(1, verb, lab.clock.now())
    lab.run_until(lambda: lab.job().lease is None)
    lab.world.config.landing_polls = 0
    rewrite(folder / "a.bin", SIZE)
    return folder


def unanswered(lab: Lab, verb: Verb) -> Path:
    """The same, if the call that was the last one may go on at the service."""
    lab.world.script.add([{"on": "validate", "do": "lost-answer", "times": 1}])
    return given_up(lab, verb)


def late(lab: Lab, job_id: int) -> None:
    """The earlier call ends when the first half of the new `a.bin` is there."""
    lab.bytes_per_s = GRANULE / 2
    lab.run_until(lambda: lab.file("a.bin", job_id).checkpoint.offset >= SIZE // 2)
    lab.world.models[KEY].state = "READY"
    lab.bytes_per_s = None
    lab.run()


def assert_refused(lab: Lab, job_id: int) -> None:
    job = lab.job(job_id)
    assert job.reason
    assert (job.status, job.reason.code) == (Status.FAILED, "already_exists"), lab.dump()
    assert "before this run asked for it" in job.reason.message
    assert f"`uploader retry {job_id} --rescan`" in job.reason.hint


def again(lab: Lab, folder: Path, job_id: int) -> None:
    """What the hint says."""
    lab.world.forget_objects(lab.world.models.pop(KEY))
    new = lab.new_job(folder)
    lab.jobs.restart(lab.sealed(job_id), new, lab.clock.now(), kept=lab.jobs.files(job_id))
    lab.run()
    lab.assert_ready(job_id)


def test_a_later_job_is_never_done_by_the_validation_of_a_cancelled_one(lab: Lab) -> None:
    folder = given_up(lab, Verb.CANCEL)
    later = lab.enqueue(folder)
    late(lab, later)
    assert_refused(lab, later)
    again(lab, folder, later)


def test_a_later_run_is_never_done_by_the_validation_of_an_earlier_one(lab: Lab) -> None:
    folder = given_up(lab, Verb.PAUSE)
    rescan(lab, folder, kept=kept(lab, folder))
    late(lab, 1)
    assert_refused(lab, 1)
    again(lab, folder, 1)


@pytest.mark.parametrize("replace", [True, False])
def test_a_later_run_whose_model_is_not_ready_before_it_asks_is_done_by_its_own(
    lab: Lab, *, replace: bool
) -> None:
    """A run begins with a look at the model, and looks once more before it asks."""
    folder = given_up(lab, Verb.PAUSE)
    seen: list[str] = []
    lab.boundary = seen.append
    rescan(lab, folder, replace=replace)
    lab.run()
    lab.assert_ready()
    asked = seen[: seen.index("validate before")].count("get before")
    assert asked == 2 + 3 * replace, "and before and after a DELETE, and twice before a POST"


def test_the_only_run_of_the_job_that_made_the_model_looks_as_often(lab: Lab) -> None:
    """Twice before its POST, and before it asks: somebody may have made the model again."""
    seen: list[str] = []
    lab.boundary = seen.append
    lab.enqueue(lab.model())
    lab.run()
    lab.assert_ready()
    assert seen[: seen.index("validate before")].count("get before") == 3


@pytest.mark.parametrize("do", ["lost-answer", "reset-after"])
def test_a_lost_answer_in_a_later_run_is_not_taken_for_somebody_elses(lab: Lab, do: str) -> None:
    folder = given_up(lab, Verb.PAUSE)
    lab.world.script.add([{"on": "validate", "do": do}])
    rescan(lab, folder)
    lab.run()
    lab.assert_ready()


def test_nor_is_what_a_run_that_stopped_while_it_validated_has_led_to(lab: Lab) -> None:
    folder = given_up(lab, Verb.PAUSE)
    lab.world.config.landing_polls = 100
    rescan(lab, folder)
    lab.run_until(lambda: lab.job().stage is Stage.VALIDATE)
    lab.world.models[KEY].state = "READY"
    lab.run()
    lab.assert_ready()


# -- a call that may go on is waited for -------------------------------------------------------


def created_s(lab: Lab, job_id: int) -> float:
    """Seconds until the job began to send."""
    began_s = lab.clock.boot_s()
    lab.run_until(lambda: lab.job(job_id).stage is not Stage.CREATE)
    return lab.clock.boot_s() - began_s


def assert_waits(lab: Lab, job_id: int) -> None:
    lab.run_until(lab.passed(100.0))
    job = lab.job(job_id)
    assert job.reason
    assert (job.stage, job.reason.code) == (Stage.CREATE, "cleaning_first")
    assert created_s(lab, job_id) < VALIDATE_S
    lab.run()
    lab.assert_ready(job_id)
    assert lab.job(job_id).reason is None


def test_a_later_job_waits_for_the_validation_of_a_cancelled_one(lab: Lab) -> None:
    folder = unanswered(lab, Verb.CANCEL)
    assert_waits(lab, lab.enqueue(folder))


@pytest.mark.parametrize("verbs", [[], [Verb.RETRY], [Verb.PAUSE, Verb.RESUME]])
def test_a_later_run_waits_for_that_of_an_earlier_one_whatever_is_tried(
    lab: Lab, verbs: list[Verb]
) -> None:
    folder = unanswered(lab, Verb.PAUSE)
    rescan(lab, folder)
    for verb in verbs:
        lab.jobs.apply(1, verb, lab.clock.now())
    assert_waits(lab, 1)


@pytest.mark.parametrize("answer", [400, 429])
@pytest.mark.parametrize("verb", [Verb.CANCEL, Verb.PAUSE])
def test_nor_is_one_forgotten_because_the_next_call_was_answered(
    lab: Lab, verb: Verb, answer: int
) -> None:
    """Its answer says nothing of the call before it."""
    refused = {"code": 9, "message": "validation is in progress", "details": []}
    lab.world.script.add(
        [
            {"on": "validate", "do": "status", "status": 504, "times": 1},
            {"on": "validate", "do": "status", "status": answer, "body": refused, "times": 2},
        ]
    )
    folder = given_up(lab, verb)
    if verb is Verb.CANCEL:
        assert_waits(lab, lab.enqueue(folder))
    else:
        rescan(lab, folder)
        assert_waits(lab, 1)


def test_what_has_become_ready_meanwhile_costs_no_byte(lab: Lab) -> None:
    folder = unanswered(lab, Verb.CANCEL)
    later = lab.enqueue(folder)
    lab.run_until(lab.passed(100.0))
    lab.world.models[KEY].state = "READY"
    lab.run()
    job = lab.job(later)
    assert job.reason
    assert (job.status, job.reason.code) == (Status.FAILED, "already_exists")
    assert (job.stage, job.bytes_sent) == (Stage.CREATE, 0)


def test_nobody_waits_for_a_call_that_was_answered(lab: Lab) -> None:
    folder = given_up(lab, Verb.CANCEL)
    assert created_s(lab, lab.enqueue(folder)) < 60


def test_nor_if_the_model_is_deleted_with_what_was_called(lab: Lab) -> None:
    folder = unanswered(lab, Verb.PAUSE)
    rescan(lab, folder, replace=True)
    assert created_s(lab, 1) < 60
    lab.run()
    lab.assert_ready()


def test_nor_for_a_cancelled_job_whose_model_is_deleted(lab: Lab) -> None:
    folder = unanswered(lab, Verb.PAUSE)
    lab.jobs.apply(1, Verb.CANCEL, lab.clock.now(), delete_remote=True)
    later = lab.enqueue(folder)
    assert created_s(lab, later) < 120
    lab.run()
    lab.assert_ready(later)


def test_nor_for_ever_if_the_clock_is_set_back(lab: Lab) -> None:
    folder = unanswered(lab, Verb.CANCEL)
    with lab.engine.begin() as connection:
        ahead = lab.clock.now() + timedelta(seconds=86_400)
        connection.execute(update(jobs).values(validating_since=ahead))
    assert created_s(lab, lab.enqueue(folder)) < 60
