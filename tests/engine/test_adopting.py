"""A model that exists already: what is adopted is what the job would have created."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.engine.conftest import GRANULE, Lab
from uploader.core.job import Kind, NewJob, Stage, Status
from uploader.core.lifecycle import Verb
from uploader.sandbox.script import Script


def folder_of(lab: Lab, **sizes: int) -> Path:
    folder = lab.folder / "model"
    return folder if folder.exists() else lab.model("model", **sizes)


def options(lab: Lab, **fields: Any) -> NewJob:
    """The job of the folder `model` with these fields of its model."""
    new = lab.new_job(folder_of(lab))
    model = {**new.create_body["model"], **fields}
    return replace(new, create_body={**new.create_body, "model": model}, options=fields)


def adapter(lab: Lab, base: str, rank: int) -> NewJob:
    details = {"baseModel": base, "r": rank, "targetModules": ["q_proj"]}
    body = {"modelId": "model", "model": {"kind": Kind.LORA.remote, "peftDetails": details}}
    new = lab.new_job(folder_of(lab, fireworks_json=GRANULE))
    return replace(new, kind=Kind.LORA, create_body=body, options=details)


def given_up(lab: Lab, new: NewJob, *, delete_remote: bool = False) -> None:
    """Job 1 has created its model, and sent nothing, when it is cancelled and cleaned up after."""
    lab.world.script.add([{"on": "urls", "do": "status", "status": 503, "times": 1}])
    lab.jobs.enqueue(new, lab.clock.now())
    lab.run_until(lambda: lab.job().stage is Stage.UPLOAD)
    assert lab.job().created_remotely
    lab.jobs.apply(1, Verb.CANCEL, lab.clock.now(), delete_remote=delete_remote)


def run_next(lab: Lab, new: NewJob) -> None:
    job_id, _ = lab.jobs.enqueue(new, lab.clock.now())
    lab.run_until(lambda: lab.job(job_id).status is not Status.ACTIVE)


def adopted(lab: Lab, job_id: int) -> str:
    events = lab.jobs.events(job_id)
    return next(event.message for event in events if event.kind == "adopted")


def test_no_private_file_goes_to_a_model_that_everybody_may_read(lab: Lab) -> None:
    given_up(lab, options(lab, public=True))
    run_next(lab, options(lab))
    reason = lab.job(2).reason
    assert reason is not None
    assert (reason.code, "everybody may read it" in reason.message) == ("exists_differently", True)
    assert "`uploader model delete accounts/sandbox/models/model`, then `uploader retry 2`" in (
        reason.hint
    )
    assert (lab.world.report()["objects"], lab.job(2).bytes_sent) == ({}, 0)


def test_a_job_that_was_refused_goes_on_as_its_hint_says(lab: Lab) -> None:
    given_up(lab, options(lab, public=True))
    run_next(lab, options(lab))
    del lab.world.models["sandbox", "model"]
    lab.jobs.apply(2, Verb.RETRY, lab.clock.now())
    lab.run_until(lambda: lab.job(2).status is not Status.ACTIVE)
    lab.assert_ready(2)
    assert "public" not in lab.world.models["sandbox", "model"].fields


@pytest.mark.parametrize("later_s", [0, 600], ids=["at once", "once a worker is there again"])
def test_a_model_that_is_deleted_with_its_job_is_made_anew(lab: Lab, later_s: float) -> None:
    given_up(lab, options(lab, public=True), delete_remote=True)
    lab.sim.suspend(later_s)
    run_next(lab, options(lab))
    lab.assert_ready(2)
    assert lab.job(2).created_remotely
    assert "public" not in lab.world.models["sandbox", "model"].fields


@pytest.mark.parametrize(("base", "rank"), [("b", 8), ("a", 16)])
def test_an_adapter_is_not_sent_to_the_model_of_another_one(lab: Lab, base: str, rank: int) -> None:
    given_up(lab, adapter(lab, "accounts/fireworks/models/a", 8))
    run_next(lab, adapter(lab, f"accounts/fireworks/models/{base}", rank))
    reason = lab.job(2).reason
    assert (lab.job(2).status, reason and reason.code) == (Status.FAILED, "exists_differently")
    assert lab.world.report()["objects"] == {}


def test_other_options_are_told_when_a_model_is_adopted(lab: Lab) -> None:
    given_up(lab, options(lab, contextLength=4096, supportsTools=True))
    run_next(lab, options(lab, contextLength=32768))
    lab.assert_ready(2)
    assert adopted(lab, 2) == (
        "the model existed and is compatible, but stays as it is: its contextLength is 4096, ours "
        "is 32768; its supportsTools is true, ours is not set"
    )


EVERYTHING = {
    "public": True,
    "displayName": "Mine",
    "description": "two  words ",
    "contextLength": 4096,
    "supportsTools": True,
    "conversationConfig": {"style": "jinja"},
    "deprecationDate": {"year": 2027, "month": 1},
}


@pytest.mark.parametrize("kind", Kind)
def test_a_model_whose_own_creation_was_not_answered_is_adopted_as_what_it_is(
    lab: Lab, kind: Kind
) -> None:
    lab.world.script.add([{"on": "create", "do": "lost-answer"}])
    new = adapter(lab, "accounts/f/models/a", 8) if kind is Kind.LORA else options(lab)
    model = {**new.create_body["model"], **EVERYTHING, "kind": kind.remote}
    if kind in (Kind.EMBEDDING, Kind.DRAFT):
        del model["baseModelDetails"]
    run_next(lab, replace(new, kind=kind, create_body={**new.create_body, "model": model}))
    lab.assert_ready()
    assert adopted(lab, 1) == "the model existed and is compatible"


def without_names(lab: Lab, kind: Kind) -> NewJob:
    """A job whose body does not tell the service the names of its files."""
    if kind is Kind.LORA:
        return adapter(lab, "accounts/f/models/a", 8)
    new = lab.new_job(folder_of(lab, fireworks_json=GRANULE))
    body = {"modelId": "model", "model": {"kind": kind.remote}}
    return replace(new, kind=kind, create_body=body)


def other_files(lab: Lab, first: NewJob) -> NewJob:
    other = lab.new_job(lab.model("another", adapter_model_bin=GRANULE))
    return replace(other, model_id="model", kind=first.kind, create_body=first.create_body)


def assert_not_adopted(lab: Lab, job_id: int, words: str) -> None:
    job = lab.job(job_id)
    assert job.reason is not None
    assert (job.status, job.reason.code) == (Status.FAILED, "exists_differently")
    assert words in job.reason.message
    assert job.bytes_sent == 0


NAMELESS = [kind for kind in Kind if kind is not Kind.BASE]


@pytest.mark.parametrize("kind", NAMELESS)
def test_no_file_of_an_earlier_job_stays_in_a_model_without_names(lab: Lab, kind: Kind) -> None:
    """Whoever loads it may take the old weights that lie beside the new ones."""
    lab.world.config.landing_polls = 100
    first = without_names(lab, kind)
    lab.jobs.enqueue(first, lab.clock.now())
    lab.run_until(lambda: lab.job().stage is Stage.VALIDATE)
    lab.jobs.apply(1, Verb.CANCEL, lab.clock.now())
    lab.run()
    lab.world.config.landing_polls = 0
    run_next(lab, other_files(lab, first))
    assert_not_adopted(lab, 2, "may have files of job 1 that job 2 has not, like fireworks.json")


def test_a_file_that_may_have_arrived_counts_as_one_that_has(lab: Lab) -> None:
    lab.world.script.add(
        [{"on": "put", "do": "lost-answer", "times": 0}, {"on": "query", "do": "status",
         "status": 503, "times": 0}]
    )  # fmt: skip
    first = without_names(lab, Kind.LORA)
    lab.jobs.enqueue(first, lab.clock.now())
    lab.run_until(lambda: lab.file("fireworks.json").attempts > 0)
    assert lab.world.report()["objects"]
    assert not lab.file("fireworks.json").stored
    lab.jobs.apply(1, Verb.CANCEL, lab.clock.now())
    lab.run()
    lab.world.script = Script()
    run_next(lab, other_files(lab, first))
    assert_not_adopted(lab, 2, "like fireworks.json")


def test_the_names_of_a_run_that_was_to_be_replaced_are_not_forgotten(lab: Lab) -> None:
    """Its model still has them if the job is cancelled before a worker has deleted it."""
    lab.world.config.landing_polls = 100
    first = without_names(lab, Kind.LORA)
    lab.jobs.enqueue(first, lab.clock.now())
    lab.run_until(lambda: lab.job().stage is Stage.VALIDATE)
    lab.jobs.apply(1, Verb.PAUSE, lab.clock.now())
    lab.run()
    new = other_files(lab, first)
    lab.jobs.restart(lab.sealed(), new, lab.clock.now(), replace=True)
    lab.jobs.apply(1, Verb.CANCEL, lab.clock.now())
    lab.world.config.landing_polls = 0
    run_next(lab, new)
    assert_not_adopted(lab, 2, "may have files of job 1 that job 2 has not")


def test_a_model_that_was_called_deleted_with_its_job_and_is_shown_again_has_its_files(
    lab: Lab,
) -> None:
    first = without_names(lab, Kind.LORA)
    lab.world.config.landing_polls = 100
    lab.jobs.enqueue(first, lab.clock.now())
    lab.run_until(lambda: lab.job().stage is Stage.VALIDATE)
    lab.world.script.add([
        {"on": "delete", "do": "status", "status": 200, "body": {}, "times": 1},
        {"on": "get", "do": "status", "status": 404, "body": {"code": 5}, "times": 2},
    ])  # fmt: skip
    lab.jobs.apply(1, Verb.CANCEL, lab.clock.now(), delete_remote=True)
    lab.run()
    assert not lab.job().model_exists
    lab.world.script = Script()
    run_next(lab, other_files(lab, first))
    assert_not_adopted(lab, 2, "like fireworks.json")


def test_the_files_of_an_earlier_job_are_not_in_a_model_that_was_created_later(lab: Lab) -> None:
    given_up(lab, without_names(lab, Kind.LORA))
    lab.run()
    lab.world.forget_objects(lab.world.models.pop(("sandbox", "model")))
    lab.clock.wait(threading.Event(), 90)
    lab.world.script.add([{"on": "create", "do": "lost-answer", "times": 1}])
    run_next(lab, other_files(lab, without_names(lab, Kind.LORA)))
    assert adopted(lab, 2)


def test_the_same_model_told_with_another_second_has_the_files_of_an_earlier_job(lab: Lab) -> None:
    """A POST and a GET may tell one moment differently."""
    given_up(lab, without_names(lab, Kind.LORA))
    lab.world.models["sandbox", "model"].created_at += 30
    run_next(lab, other_files(lab, without_names(lab, Kind.LORA)))
    reason = lab.job(2).reason
    assert reason
    assert reason.code == "exists_differently"


def test_a_model_that_is_another_one_by_now_has_no_file_of_an_earlier_job(lab: Lab) -> None:
    first = without_names(lab, Kind.LORA)
    given_up(lab, first, delete_remote=True)
    lab.clock.wait(threading.Event(), 90)
    lab.world.script.add([{"on": "create", "do": "lost-answer", "times": 1}])
    new = lab.new_job(lab.model("another", adapter_config_json=GRANULE))
    run_next(lab, replace(new, model_id="model", kind=first.kind, create_body=first.create_body))
    assert adopted(lab, 2)


@pytest.mark.parametrize("fields", [{"public": True}, {"state": "READY"}])
def test_a_model_that_was_there_is_not_created_whatever_a_post_is_answered(
    lab: Lab, fields: dict[str, Any]
) -> None:
    """The documentation calls the POST of a model that exists a no-op (docs/fireworks.md §0.7)."""
    body = {"name": "accounts/sandbox/models/model", "state": "UPLOADING", **fields}
    lab.world.script.add([{"on": "create", "do": "status", "status": 200, "body": body}])
    run_next(lab, options(lab))
    reason = lab.job().reason
    assert reason is not None
    assert (lab.job().status, reason.code in ("exists_differently", "already_exists")) == (
        Status.FAILED,
        True,
    )
    assert "created" not in lab.kinds()
    assert lab.job().bytes_sent == 0


def test_a_model_that_is_not_shown_is_not_adopted(lab: Lab) -> None:
    """A gateway may have answered in the place of the service, and `{}` is not public."""
    given_up(lab, options(lab, public=True))
    lab.world.script.add([{"on": "get", "do": "status", "status": 200, "body": {}, "times": 3}])
    run_next(lab, options(lab))
    assert_not_adopted(lab, 2, "everybody may read it")
    assert "retrying" in lab.kinds(2)


def test_with_the_same_names_an_adapter_goes_on(lab: Lab) -> None:
    lab.world.config.landing_polls = 100
    lab.jobs.enqueue(adapter(lab, "accounts/f/models/a", 8), lab.clock.now())
    lab.run_until(lambda: lab.job().stage is Stage.VALIDATE)
    lab.jobs.apply(1, Verb.CANCEL, lab.clock.now())
    lab.run()
    lab.world.config.landing_polls = 0
    run_next(lab, adapter(lab, "accounts/f/models/a", 8))
    assert lab.job(2).status is Status.DONE
