"""Whose key it is: what it blocks, what heals, and what the key of another account leaves alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.engine.conftest import Lab
from uploader.core.exits import exit_of
from uploader.core.job import Stage, Status


def test_the_account_is_asked_for_if_nobody_named_it(lab: Lab) -> None:
    lab.enqueue(lab.model(), account="-")
    lab.run()
    lab.assert_ready()
    assert lab.job().account == "sandbox"


def test_a_job_of_another_account_is_blocked(lab: Lab) -> None:
    lab.account = "mine"
    lab.enqueue(lab.model())
    lab.run()
    job = lab.job()
    assert job.status is Status.BLOCKED
    assert job.reason is not None
    assert job.reason.code == "other_account"
    assert lab.world.report()["creates"] == 0


def test_a_job_of_another_account_than_the_keys_creates_nothing(lab: Lab) -> None:
    lab.enqueue(lab.model(), account="acme")
    lab.run()
    job = lab.job()
    assert (job.status, job.stage) == (Status.BLOCKED, Stage.CREATE)
    assert job.reason is not None
    assert job.reason.code == "other_account"
    assert job.reason.message.endswith("account acme; the API key belongs to account sandbox")
    assert "`uploader cancel 1` and enqueue the folder with --account sandbox" in job.reason.hint
    assert lab.world.report()["creates"] == 0


@pytest.mark.parametrize("stage", [Stage.UPLOAD, Stage.VALIDATE])
def test_a_job_at_work_is_blocked_by_the_key_of_another_account_and_goes_on_with_its_own(
    lab: Lab, stage: Stage
) -> None:
    """To such a key its model looks as if it were gone."""
    own = lab.world.config.account_id
    lab.account = None
    lab.world.script.add([{"on": "urls", "do": "status", "status": 503, "times": 3}])
    lab.enqueue(lab.model())
    lab.run_until(lambda: lab.job().stage is stage)
    lab.world.config.account_id = "beta"
    lab.run_until(lambda: lab.job().status is not Status.ACTIVE)
    job = lab.job()
    assert (job.status, job.stage) == (Status.BLOCKED, stage)
    assert job.reason is not None
    assert job.reason.code == "other_account"
    lab.world.config.account_id = own
    lab.run()
    lab.assert_ready()


@pytest.mark.parametrize("status", [200, 404, 501])
def test_a_service_that_does_not_name_the_keys_account_is_believed_about_its_models(
    lab: Lab, status: int
) -> None:
    lab.world.script.add([{"on": "verify", "do": "status", "status": status, "times": 0}])
    lab.enqueue(lab.model(), account="sandbox")
    lab.run()
    lab.assert_ready()
    lab.enqueue(lab.model("other"), account="sandbox")
    lab.world.script.add([{"on": "urls", "do": "status", "status": 404, "times": 0}])
    lab.run()
    reason = lab.job(2).reason
    assert reason
    assert reason.code == "model_gone"


@pytest.mark.parametrize("stage", [Stage.CREATE, Stage.UPLOAD, Stage.VALIDATE])
@pytest.mark.parametrize("fault", [{"do": "status", "status": 503}, {"do": "reset-before"}])
def test_nothing_is_gone_before_the_service_has_said_whose_key_it_is(
    lab: Lab, stage: Stage, fault: dict[str, Any]
) -> None:
    """One lost answer to that does not make another account's 404 count."""
    own = lab.world.config.account_id
    lab.world.script.add([{"on": "urls", "do": "status", "status": 503, "times": 3}])
    lab.enqueue(lab.model())
    lab.run_until(lambda: lab.job().stage is stage)
    lab.world.config.account_id = "beta"
    lab.world.script.add([{"on": "verify", "times": 1, **fault}])
    lab.run_until(lambda: lab.job().status is not Status.ACTIVE)
    reason = lab.job().reason
    assert reason
    assert (lab.job().status, reason.code) == (Status.BLOCKED, "other_account")
    lab.world.config.account_id = own
    lab.run()
    lab.assert_ready()


def test_a_key_that_is_refused_blocks_also_if_only_its_account_was_asked_for(lab: Lab) -> None:
    lab.world.script.add([{"on": "verify", "do": "status", "status": 403, "times": 0}])
    lab.enqueue(lab.model(), account="sandbox")
    lab.run()
    assert lab.job().status is Status.BLOCKED
    assert lab.world.report()["creates"] == 0


def test_a_job_of_another_service_is_left_alone(lab: Lab) -> None:
    lab.enqueue(lab.model(), base_url="https://elsewhere.example")
    lab.run()
    assert lab.job().status is Status.ACTIVE
    assert lab.job().stage is Stage.CREATE


def test_a_bad_key_blocks_and_a_new_start_tries_again(lab: Lab) -> None:
    lab.world.config.key_valid = False
    lab.enqueue(lab.model())
    lab.run()
    job = lab.job()
    assert job.status is Status.BLOCKED
    assert exit_of(job.status, job.reason) == 8
    lab.world.config.key_valid = True
    lab.run()
    lab.assert_ready()
    assert "healed" in lab.kinds()


def test_a_changed_key_heals_blocked_jobs_by_itself(lab: Lab) -> None:
    lab.key = "fw_wrong_key_000000"
    lab.enqueue(lab.model())

    def cure() -> bool:
        if lab.job().status is Status.BLOCKED:
            lab.key = lab.world.config.api_key
        return lab.job().status is Status.DONE

    lab.run_until(cure)
    lab.assert_ready()


def test_a_key_that_the_service_knows_a_little_later_heals_too(lab: Lab) -> None:
    lab.key = "fw_wrong_key_000000"
    lab.enqueue(lab.model())

    def cure() -> bool:
        if lab.job().status is Status.BLOCKED:
            lab.key = "fw_new_key_0000000"
        if lab.kinds().count("blocked") == 3:
            lab.world.config.api_key = "fw_new_key_0000000"
        return lab.job().status is Status.DONE

    lab.run_until(cure)
    lab.assert_ready()


def test_a_changed_key_that_stays_wrong_is_tried_a_few_times_only(lab: Lab) -> None:
    lab.world.config.key_valid = False
    lab.enqueue(lab.model())
    with lab.worker() as worker:

        def change() -> None:
            lab.until(lambda: lab.job().status is Status.BLOCKED)
            lab.key = "fw_wrong_key_000000"
            lab.until(lab.passed(15 * 60.0))
            worker.drain()

        lab.finish(worker.run, change)
    assert lab.kinds().count("healed") == 1 + 3


def test_a_suspended_account_blocks_instead_of_polling(lab: Lab) -> None:
    body = {"code": 9, "message": "account is suspended, check billing", "details": []}
    lab.world.script.add([{"on": "validate", "do": "status", "status": 412, "body": body}])
    lab.enqueue(lab.model())
    lab.run()
    assert lab.job().status is Status.BLOCKED


def test_a_key_that_is_another_one_each_time_tries_no_quota_again_and_again(lab: Lab) -> None:
    lab.world.script.add(
        [{"on": "create", "do": "status", "status": 429, "body": {"code": 8, "message": "quota"}}]
    )
    lab.enqueue(lab.model())
    keys = iter(range(10**6))
    with lab.worker() as worker:
        context = replace(worker._context, key_fingerprint=lambda: str(next(keys)))
        worker._healing._context = context
        lab.drive(worker, lab.passed(20 * 60.0))
    assert lab.kinds().count("healed") <= 1
