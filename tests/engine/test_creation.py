"""Whose model it is: it is looked for before it is created, and whenever it is read."""

from __future__ import annotations

import pytest

from tests.engine.conftest import Lab
from tests.engine.test_gone import KEY, delete_by_hand, in_stage, make_another
from tests.engine.test_new_life import MODEL, rescan
from uploader.core.job import Stage, Status
from uploader.core.lifecycle import Verb


def test_a_model_that_is_there_is_not_asked_for(lab: Lab) -> None:
    """The documentation calls the POST of a model that exists a no-op (docs/fireworks.md §0.7)."""
    lab.enqueue(lab.model())
    theirs = make_another(lab, "UPLOADING")
    shown = {"name": MODEL, "state": "UPLOADING"}
    lab.world.script.add([{"on": "create", "do": "status", "status": 200, "body": shown}])
    lab.run()
    lab.assert_ready()
    assert "adopted" in lab.kinds()
    assert not lab.job().created_remotely
    assert lab.world.models[KEY] is theirs


def test_a_look_that_is_not_answered_is_made_again_before_any_post(lab: Lab) -> None:
    """Were it left out, the POST of a model that exists would make it ours."""
    lab.enqueue(lab.model())
    make_another(lab, "UPLOADING")
    shown = {"name": MODEL, "state": "UPLOADING"}
    lab.world.script.add([
        {"on": "get", "nth": 1, "do": "status", "status": 503, "times": 1},
        {"on": "create", "do": "status", "status": 200, "body": shown},
    ])  # fmt: skip
    asked: list[str] = []
    lab.boundary = asked.append
    lab.run()
    lab.assert_ready()
    assert not lab.job().created_remotely
    assert "create before" not in asked


@pytest.mark.parametrize("seconds", [-5, 5])
def test_the_time_of_a_post_need_not_be_that_of_a_get(lab: Lab, seconds: float) -> None:
    def look(name: str) -> None:
        if name == "create after":
            lab.world.models[KEY].created_at += seconds

    lab.boundary = look
    lab.enqueue(lab.model())
    lab.run()
    lab.assert_ready()
    assert lab.job().created_remotely


@pytest.mark.parametrize(
    "answer",
    [
        {"do": "status", "status": 403, "body": {"code": 7}},
        {"do": "status", "status": 200, "body": {"ok": True}},
        {"do": "middle-box", "status": 404},
    ],
)
def test_a_look_that_is_refused_leaves_it_to_the_post(lab: Lab, answer: dict[str, object]) -> None:
    """A wrong base URL is answered like this, and its POST says so at once.

    If it is answered well, the model may have been there: no verb deletes it.
    """
    lab.world.script.add([{"on": "get", "nth": 1, "times": 2, **answer}])
    lab.enqueue(lab.model())
    lab.run()
    lab.assert_ready()
    assert "retrying" not in lab.kinds()
    assert not lab.job().created_remotely


@pytest.mark.parametrize(
    ("wrong", "made"), [(1, "2040-01-01T00:00:00Z"), (2, "2020-01-01T00:00:00Z")]
)
def test_nor_is_one_created_that_was_there_whatever_the_looks_said(
    lab: Lab, wrong: int, made: str
) -> None:
    """One 404 alone may be wrong; what is years old is not of this POST, whatever was said."""
    lab.enqueue(lab.model())
    theirs = make_another(lab, "UPLOADING")
    shown = {"name": MODEL, "state": "UPLOADING", "createTime": made}
    lab.world.script.add([
        {"on": "get", "do": "status", "status": 404, "body": {"code": 5}, "times": wrong},
        {"on": "create", "do": "status", "status": 200, "body": shown},
    ])  # fmt: skip
    lab.run_until(lambda: lab.job().stage is not Stage.CREATE)
    assert not lab.job().created_remotely
    assert "adopted" in lab.kinds()
    assert lab.world.models[KEY] is theirs


def test_one_such_answer_alone_costs_nothing(lab: Lab) -> None:
    lab.world.script.add([{"on": "get", "nth": 1, "times": 1, "do": "middle-box", "status": 404}])
    lab.enqueue(lab.model())
    lab.run()
    lab.assert_ready()
    assert lab.job().created_remotely


@pytest.mark.parametrize(
    "answer",
    [
        {"do": "middle-box", "status": 404},
        {"do": "status", "status": 404, "body": {"detail": "Not Found"}},
        {"do": "status", "status": 200, "body": {"ok": True}},
    ],
)
def test_a_server_that_is_none_of_the_services_is_told_at_once(
    lab: Lab, answer: dict[str, object]
) -> None:
    lab.world.script.add([
        {"on": "get", **answer},
        {"on": "create", "do": "middle-box", "status": 404, "body": "<html>no such page</html>"},
    ])  # fmt: skip
    lab.enqueue(lab.model())
    lab.run()
    assert lab.job().status is Status.FAILED
    assert "retrying" not in lab.kinds()


def test_one_get_without_its_time_does_not_forget_the_time(lab: Lab) -> None:
    folder = in_stage(lab, Stage.UPLOAD)
    known = lab.job().model_created_at
    assert known
    lab.jobs.apply(1, Verb.PAUSE, lab.clock.now())
    shown = {"name": MODEL, "state": "UPLOADING"}
    lab.world.script.add([{"on": "get", "nth": 1, "do": "status", "status": 200, "body": shown,
                           "times": 1}])  # fmt: skip
    rescan(lab, folder)
    lab.run_until(lambda: lab.job().stage is not Stage.CREATE)
    assert lab.job().model_created_at == known


def test_one_404_before_it_asks_ends_no_job(lab: Lab) -> None:
    lab.world.script.add([{"on": "get", "nth": 3, "do": "status", "status": 404,
                           "body": {"code": 5}, "times": 1}])  # fmt: skip
    lab.enqueue(lab.model())
    lab.run()
    lab.assert_ready()


@pytest.mark.parametrize(("made", "times"), [("2040", 1), ("2020", 5)])
def test_neither_one_answer_about_a_later_model_nor_some_about_an_older_one_end_a_job(
    lab: Lab, made: str, times: int
) -> None:
    shown = {"name": MODEL, "state": "READY", "createTime": f"{made}-01-01T00:00:00Z"}
    lab.world.script.add([{"on": "get", "nth": 3, "do": "status", "status": 200, "body": shown,
                           "times": times}])  # fmt: skip
    lab.enqueue(lab.model())
    lab.run()
    lab.assert_ready()


def test_what_is_ready_before_the_first_run_asks_is_its_own(lab: Lab) -> None:
    """In an older copy of its job table the job has not yet asked."""

    def look(name: str) -> None:
        if name == "validate before":
            asked.append(name)
        elif lab.world.report()["objects"] and lab.object().get("size"):
            lab.world.models[KEY].state = "READY"

    asked: list[str] = []
    lab.boundary = look
    lab.enqueue(lab.model())
    lab.run()
    lab.assert_ready()
    assert asked


def assert_not_ours(lab: Lab) -> None:
    reason = lab.job().reason
    assert reason
    assert (lab.job().status, reason.code) == (Status.FAILED, "model_gone")
    assert "another one" in reason.message
    assert "uploader model delete" in reason.hint
    assert not lab.job().model_exists


def test_one_that_is_ready_is_not_the_jobs_own_if_it_was_made_since(lab: Lab) -> None:
    in_stage(lab, Stage.VALIDATE)
    at = lab.world.models[KEY].created_at
    delete_by_hand(lab)
    make_another(lab).created_at = at + 90
    lab.run()
    assert_not_ours(lab)


def test_nor_is_one_asked_to_validate_that_was_made_while_files_were_sent(lab: Lab) -> None:
    in_stage(lab, Stage.UPLOAD)
    at = lab.world.models[KEY].created_at
    again = make_another(lab, "UPLOADING")
    again.created_at = at + 90
    lab.run()
    assert_not_ours(lab)
    assert lab.world.report()["validate_calls"] == 0
    assert again.state == "UPLOADING"
