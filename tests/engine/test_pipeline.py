"""From a row to READY, and every answer on the way that is not the usual one."""

from __future__ import annotations

from typing import Any

import pytest

from tests.engine.conftest import GRANULE, Lab
from uploader.core.exits import exit_of
from uploader.core.job import Kind, Mode, Stage, Status
from uploader.core.lifecycle import Verb


@pytest.mark.parametrize("url_kind", ["resumable", "session"])
def test_a_folder_becomes_ready_by_sessions(lab: Lab, url_kind: str) -> None:
    lab.world.config.url_kind = url_kind
    lab.enqueue(lab.model(a_bin=9 * GRANULE + 1, b_bin=GRANULE, c_json=3))
    lab.run()
    lab.assert_ready()
    job = lab.job()
    assert job.bytes_sent == job.bytes_confirmed == job.bytes_total == 10 * GRANULE + 4
    assert all(file.verified and file.mode is Mode.SESSION for file in lab.jobs.files(1))
    assert lab.object()["puts"] == 3  # 4 + 4 + 1 granules and a byte
    assert lab.world.report()["creates"] == 1


@pytest.mark.parametrize("url_kind", ["put", "refused"])
def test_a_folder_becomes_ready_by_plain_puts(lab: Lab, url_kind: str) -> None:
    lab.world.config.url_kind = url_kind
    lab.enqueue(lab.model(a_bin=9 * GRANULE + 1, b_bin=GRANULE))
    lab.run()
    lab.assert_ready()
    assert {file.mode for file in lab.jobs.files(1)} == {Mode.PUT}
    assert lab.job().bytes_sent == lab.job().bytes_total
    assert ("fell_back" in lab.kinds()) == (url_kind == "refused")
    assert lab.job().plain_put == (url_kind == "refused")


def test_the_history_tells_the_life_in_order(lab: Lab) -> None:
    lab.enqueue(lab.model())
    lab.run()
    kinds = lab.kinds()
    expected = ["enqueued", "created", "session_opened", "stored", "validating", "ready"]
    assert [kind for kind in kinds if kind in expected][: len(expected) - 1] == expected[:-1]
    assert kinds[-1] == "ready"


def test_validation_is_polled_without_an_attempt_and_warnings_are_kept(lab: Lab) -> None:
    lab.world.config.landing_polls = 4
    lab.world.config.warnings = ["no chat template"]
    lab.enqueue(lab.model())
    lab.run()
    lab.assert_ready()
    job = lab.job()
    assert job.warnings == ("no chat template",)
    assert job.attempts == 0
    assert job.polling_s > 4 * 0.9 * 30


@pytest.mark.parametrize("shape", ["numeric", "named", "text", "http-412"])
def test_every_shape_of_files_still_landing_is_a_reason_to_wait(lab: Lab, shape: str) -> None:
    lab.world.config.precondition_shape = shape
    lab.enqueue(lab.model())
    lab.run()
    lab.assert_ready()


def test_several_jobs_and_files_at_once(lab: Lab) -> None:
    for number in range(5):
        sizes = {f"f{n}_bin": (n + 1) * GRANULE for n in range(4)}
        lab.enqueue(lab.model(f"model-{number}", **sizes))
    lab.run()
    for job_id in range(1, 6):
        lab.assert_ready(job_id)


def create_remotely(lab: Lab, body: dict[str, Any]) -> None:
    """As another program would have."""
    with lab.worker() as worker:
        control = worker._context.control(None)  # type: ignore[arg-type]
        control.create("sandbox", body)
        control.close()


def base_body(*files: str) -> dict[str, Any]:
    details = {"checkpointFormat": "HUGGINGFACE", "worldSize": 1, "huggingfaceFiles": list(files)}
    return {"modelId": "model", "model": {"kind": Kind.BASE.remote, "baseModelDetails": details}}


def test_an_existing_model_that_fits_is_adopted(lab: Lab) -> None:
    create_remotely(lab, base_body("a.bin"))
    lab.enqueue(lab.model())
    lab.run()
    lab.assert_ready()
    assert not lab.job().created_remotely
    assert "adopted" in lab.kinds()


def test_an_existing_model_with_other_files_is_refused_with_a_diff(lab: Lab) -> None:
    create_remotely(lab, base_body("a.bin", "tokenizer.json"))
    lab.enqueue(lab.model(a_bin=5, b_bin=5))
    lab.run()
    job = lab.job()
    assert job.status is Status.FAILED
    assert job.reason is not None
    assert job.reason.code == "exists_differently"
    assert "lacks b.bin" in job.reason.message
    assert "also expects tokenizer.json" in job.reason.message


def test_a_model_that_is_ready_already_fails_the_job(lab: Lab) -> None:
    folder = lab.model()
    lab.enqueue(folder)
    lab.run()
    lab.jobs.remove(1, lab.clock.now())
    again = lab.enqueue(folder)
    lab.run()
    job = lab.job(again)
    assert job.reason is not None
    assert job.reason.code == "already_exists"
    assert exit_of(job.status, job.reason) == 7


def test_a_create_whose_answer_is_lost_is_not_called_ours(lab: Lab) -> None:
    lab.world.script.add([{"on": "create", "do": "lost-answer"}])
    lab.enqueue(lab.model())
    lab.run()
    lab.assert_ready()
    assert not lab.job().created_remotely
    assert lab.world.report()["creates"] == 1


def test_a_model_deleted_during_the_upload_fails_the_job(lab: Lab) -> None:
    lab.enqueue(lab.model())
    lab.world.script.add([{"on": "urls", "do": "status", "status": 404, "times": 0}])
    lab.run()
    reason = lab.job().reason
    assert reason is not None
    assert reason.code == "model_gone"


@pytest.mark.parametrize("status", [405, 409])
def test_refused_urls_let_live_sessions_finish_and_then_fail(lab: Lab, status: int) -> None:
    lab.enqueue(lab.model(a_bin=8 * GRANULE, b_bin=8 * GRANULE))
    lab.bytes_per_s = 4 * GRANULE / 10
    lab.run_until(lambda: any(o["persisted"] for o in lab.world.report()["objects"].values()))
    lab.bytes_per_s = None
    # Only a.bin has a session now; b.bin would need a URL.
    lab.world.script.add([{"on": "urls", "do": "status", "status": status, "times": 0}])
    opened = [file.path for file in lab.jobs.files(1) if file.session is not None]
    lab.run()
    job = lab.job()
    stored = [file.path for file in lab.jobs.files(1) if file.stored]
    if len(opened) == 2:
        lab.assert_ready()
        return
    assert stored == opened
    assert job.reason is not None
    assert job.reason.code == "urls_refused"
    assert lab.world.report()["early_validations"] == 0


@pytest.mark.parametrize(("on", "kind"), [("start", "resumable"), ("put", "put")])
def test_an_expired_url_is_asked_for_again_and_never_taken_for_a_refusal(
    lab: Lab, on: str, kind: str
) -> None:
    lab.world.config.url_kind = kind
    lab.world.script.add([{"on": on, "do": "expired-url", "times": 2}])
    lab.enqueue(lab.model(a_bin=GRANULE))
    lab.run()
    lab.assert_ready()
    assert "fell_back" not in lab.kinds()
    assert lab.world.report()["urls_calls"] == 3  # of a URL that has expired none is used again


def test_a_job_stopped_while_validating_goes_on_without_sending_a_byte(lab: Lab) -> None:
    lab.world.config.landing_polls = 3
    lab.enqueue(lab.model())
    lab.run_until(lambda: lab.job().stage is Stage.VALIDATE)
    read = lab.object()["body_bytes_read"]
    lab.run()
    lab.assert_ready()
    assert lab.object()["body_bytes_read"] == read == lab.job().bytes_total


def test_a_refused_model_fails_with_the_servers_words(lab: Lab) -> None:
    body = {"code": 3, "message": "architecture Foo is not supported", "details": []}
    fault = {"on": "validate", "do": "status", "status": 400, "body": body, "times": 0}
    lab.world.script.add([fault])
    lab.enqueue(lab.model())
    lab.run()
    reason = lab.job().reason
    assert reason is not None
    assert reason.code == "validation_failed"
    assert "architecture Foo" in reason.message


@pytest.mark.parametrize("name", ["a.bin", "hf_quant_config.json", "hf_processor.json"])
def test_a_400_that_names_a_stored_file_is_waited_for(lab: Lab, name: str) -> None:
    """Also one whose name looks like a key, and is masked in what the service says."""
    body = {"code": 3, "message": f"{name} not found", "details": []}
    fault = {"on": "validate", "do": "status", "status": 400, "body": body, "times": 3}
    lab.world.script.add([fault])
    folder = lab.model()
    (folder / name).write_bytes(b"{}")
    lab.enqueue(folder)
    lab.run()
    lab.assert_ready()


def test_what_is_waited_for_is_reported_in_our_words_and_not_as_an_error(lab: Lab) -> None:
    lab.world.config.landing_polls = 10_000
    lab.enqueue(lab.model())
    lab.run_until(lambda: lab.job().reason is not None)
    reason = lab.job().reason
    assert reason is not None
    assert reason.code == "validating"
    assert reason.message == "Fireworks is still gathering the files"


def test_a_400_that_names_a_stored_file_for_ever_fails(lab: Lab) -> None:
    body = {"code": 3, "message": "a.bin not found", "details": []}
    fault = {"on": "validate", "do": "status", "status": 400, "body": body, "times": 0}
    lab.world.script.add([fault])
    lab.enqueue(lab.model())
    lab.run()
    assert lab.job().status is Status.FAILED
    assert lab.job().polling_s >= 300


def test_a_validation_whose_answer_is_lost_is_looked_up(lab: Lab) -> None:
    lab.world.config.landing_polls = 0
    lab.world.script.add([{"on": "validate", "do": "lost-answer"}])
    lab.enqueue(lab.model())
    lab.run()
    lab.assert_ready()
    assert lab.world.report()["validate_calls"] == 1


def test_files_that_never_land_fail_at_the_deadline_with_our_ledger(lab: Lab) -> None:
    lab.world.config.landing_polls = 10_000
    lab.enqueue(lab.model())
    lab.run(deadline_s=200.0)
    reason = lab.job().reason
    assert reason is not None
    assert reason.code == "validation_timeout"
    assert "1 of 1 files stored" in reason.message
    lab.jobs.apply(1, Verb.RETRY, lab.clock.now())
    lab.world.config.landing_polls = 0
    lab.run()
    lab.assert_ready()


def test_a_deadline_already_past_still_polls_three_times(lab: Lab) -> None:
    lab.world.config.landing_polls = 10_000
    lab.enqueue(lab.model())
    lab.run(deadline_s=1.0)
    assert lab.world.report()["validate_calls"] == 3


def test_a_rate_limit_slows_down_and_blocks_nothing(lab: Lab) -> None:
    lab.world.config.requests_per_minute = 10
    for number in range(3):
        lab.enqueue(lab.model(f"model-{number}"))
    lab.run()
    for job_id in (1, 2, 3):
        lab.assert_ready(job_id)
