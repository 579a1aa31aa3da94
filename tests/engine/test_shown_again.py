"""A model that the service calls gone and shows again has the files of an earlier run."""

from __future__ import annotations

import pytest

from tests.engine.conftest import Lab
from tests.engine.test_gone import KEY, delete_by_hand, gone, in_stage, make_another
from tests.engine.test_new_life import MODEL, rescan
from uploader.core.errors import UsageError
from uploader.core.job import Stage, Status
from uploader.core.lifecycle import Verb
from uploader.core.remote_model import A_SECOND


def test_a_model_that_was_called_deleted_and_is_shown_again_is_not_gone_on_with(
    lab: Lab,
) -> None:
    """It has the files of an earlier run; its deletion may be carried out later."""
    folder = in_stage(lab, Stage.UPLOAD)
    lab.jobs.apply(1, Verb.PAUSE, lab.clock.now())
    lab.jobs.restart(lab.sealed(), lab.new_job(folder), lab.clock.now(), replace=True)
    lab.world.config.landing_polls = 0
    lab.world.script.add([
        {"on": "delete", "do": "status", "status": 200, "body": {}, "times": 1},
        {"on": "get", "nth": 2, "do": "status", "status": 404, "body": {"code": 5}, "times": 1},
    ])  # fmt: skip
    asked: list[str] = []

    def look(name: str) -> None:
        asked.append(name)
        if name == "get before" and asked.count(name) == 5:
            delete_by_hand(lab)  # carried out at last

    lab.boundary = look
    lab.run()
    lab.assert_ready()
    assert asked.count("create before") == 1, "only once it is gone"
    assert "adopted" not in lab.kinds()
    told = [event.message for event in lab.jobs.events() if event.kind == "retrying"]
    assert any("shows a model again that it had said was gone" in message for message in told)


def test_nor_if_its_creation_is_answered_by_showing_it(lab: Lab) -> None:
    """The documentation calls the POST of a model that exists a no-op (docs/fireworks.md §0.7)."""
    folder = in_stage(lab, Stage.UPLOAD)
    lab.jobs.apply(1, Verb.PAUSE, lab.clock.now())
    lab.jobs.restart(lab.sealed(), lab.new_job(folder), lab.clock.now(), replace=True)
    lab.world.config.landing_polls = 0
    created_at = lab.job().model_created_at
    assert created_at
    shown = {"name": MODEL, "state": "UPLOADING", "createTime": created_at.isoformat()}
    lab.world.script.add([{"on": "create", "do": "status", "status": 200, "body": shown,
                           "times": 3}])  # fmt: skip
    lab.run()
    lab.assert_ready()
    assert lab.kinds().count("created") == 2, "one for each run"


def test_two_seconds_lie_between_a_model_and_the_next_one(lab: Lab) -> None:
    """So that their times tell them apart, also in whole seconds."""
    folder = lab.model("model", a_bin=1)
    lab.world.script.add([{"on": "urls", "do": "status", "status": 409, "times": 1}])
    lab.enqueue(folder)
    times: list[float] = []

    def look(name: str) -> None:
        if name == "create after":
            times.append(lab.world.models[KEY].created_at)

    lab.boundary = look
    lab.run()
    lab.assert_ready()
    first, second = times
    assert second - first >= 2 * A_SECOND.total_seconds()


def test_a_model_that_was_called_gone_keeps_the_names_of_its_files(lab: Lab) -> None:
    folder = gone(lab, Stage.UPLOAD)
    (folder / "b.bin").write_bytes(b"more")
    with pytest.raises(UsageError, match="existed and cannot be changed") as caught:
        rescan(lab, folder)
    assert "--replace" in caught.value.hint
    rescan(lab, folder, replace=True)
    lab.run()
    lab.assert_ready()


def test_one_that_stays_ends_the_job_with_a_hint(lab: Lab) -> None:
    gone(lab, Stage.UPLOAD)
    again = make_another(lab, "UPLOADING")
    created_at = lab.job().model_created_at
    assert created_at
    again.created_at = created_at.timestamp()
    folder = lab.folder / "model"
    lab.jobs.restart(lab.sealed(), lab.new_job(folder), lab.clock.now(), replace=True)
    lab.run()
    reason = lab.job().reason
    assert reason
    assert (lab.job().status, reason.code) == (Status.FAILED, "malformed")
    assert "uploader model delete" in reason.hint
    assert "uploader retry 1" in reason.hint
    assert lab.job().bytes_sent == 0
