"""A model that is gone: what has its name from then on is somebody else's."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine.conftest import GRANULE, Lab
from tests.engine.test_kept import kept
from tests.engine.test_new_life import rescan, rewrite
from uploader.core.errors import UsageError
from uploader.core.job import Stage, Status
from uploader.core.lifecycle import Verb
from uploader.sandbox.script import Script
from uploader.sandbox.world import Model

SIZE = 3 * GRANULE
KEY = ("sandbox", "model")


def delete_by_hand(lab: Lab) -> None:
    lab.world.forget_objects(lab.world.models.pop(KEY))


def make_another(lab: Lab, state: str = "READY") -> Model:
    """As a colleague does, under the same name and with the same files."""
    fields = lab.job().create_body["model"]
    lab.world.models[KEY] = model = Model(*KEY, dict(fields), lab.clock.boot_s(), state=state)
    return model


def in_stage(lab: Lab, stage: Stage) -> Path:
    """The folder of a job that a worker has brought to that stage."""
    lab.world.config.landing_polls = 100
    folder = lab.model(a_bin=8 * GRANULE)
    lab.enqueue(folder)
    lab.bytes_per_s = GRANULE / 4
    lab.run_until(lambda: lab.job().bytes_confirmed > 0)
    if stage is Stage.VALIDATE:
        lab.bytes_per_s = None
        lab.run_until(lambda: lab.job().stage is stage)
    lab.bytes_per_s = None
    return folder


def gone(lab: Lab, stage: Stage) -> Path:
    """The same, once its job has failed because somebody has deleted the model."""
    folder = in_stage(lab, stage)
    delete_by_hand(lab)
    lab.run()
    reason = lab.job().reason
    assert reason
    assert (lab.job().status, reason.code) == (Status.FAILED, "model_gone")
    assert "deleted" in lab.kinds()
    lab.world.config.landing_polls = 0
    return folder


STAGES = pytest.mark.parametrize("stage", [Stage.UPLOAD, Stage.VALIDATE])


@STAGES
def test_a_model_that_is_gone_is_made_again_by_replace(lab: Lab, stage: Stage) -> None:
    folder = gone(lab, stage)
    rescan(lab, folder, replace=True)
    lab.run()
    lab.assert_ready()
    assert lab.job().created_remotely
    assert lab.world.report()["creates"] == 2


@STAGES
def test_what_somebody_has_made_since_under_its_name_is_not_replaced(
    lab: Lab, stage: Stage
) -> None:
    folder = gone(lab, stage)
    theirs = make_another(lab)
    rescan(lab, folder, replace=True)
    lab.run()
    reason = lab.job().reason
    assert reason
    assert reason.code == "already_exists"
    assert lab.world.models[KEY] is theirs


@STAGES
def test_nor_is_it_deleted_with_the_job(lab: Lab, stage: Stage) -> None:
    gone(lab, stage)
    theirs = make_another(lab)
    with pytest.raises(UsageError, match="did not create"):
        lab.jobs.apply(1, Verb.CANCEL, lab.clock.now(), delete_remote=True)
    lab.jobs.apply(1, Verb.CANCEL, lab.clock.now())
    lab.run()
    assert lab.world.models[KEY] is theirs


@STAGES
@pytest.mark.parametrize("state", ["READY", "UPLOADING"])
def test_nor_does_a_retry_take_it_for_the_one_that_was_filled(
    lab: Lab, stage: Stage, state: str
) -> None:
    gone(lab, stage)
    make_another(lab, state)
    calls = lab.world.report()["validate_calls"]
    lab.jobs.apply(1, Verb.RETRY, lab.clock.now())
    lab.run()
    reason = lab.job().reason
    assert reason
    assert (lab.job().status, reason.code) == (Status.FAILED, "model_gone")
    assert lab.world.report()["validate_calls"] == calls


@pytest.mark.parametrize(("call", "stage"), [("urls", Stage.UPLOAD), ("validate", Stage.VALIDATE)])
def test_a_404_of_one_call_alone_forgets_no_model(lab: Lab, call: str, stage: Stage) -> None:
    lab.world.script.add([{"on": call, "do": "status", "status": 404, "times": 1}])
    lab.enqueue(lab.model())
    lab.run()
    job = lab.job()
    assert (job.status, job.stage) == (Status.FAILED, stage)
    assert job.reason
    assert job.reason.code == "model_gone"
    assert job.reason.hint == "`uploader retry 1` asks again"
    lab.jobs.apply(1, Verb.RETRY, lab.clock.now())
    lab.run()
    lab.assert_ready()
    assert lab.world.report()["creates"] == 1


def test_the_key_of_another_account_makes_nothing_gone_after_a_refused_map(lab: Lab) -> None:
    """The model is read after it, which such a key cannot do."""
    in_stage(lab, Stage.UPLOAD)
    lab.world.script.add([{"on": "start", "do": "expired-url", "times": 1},
                          {"on": "urls", "do": "status", "status": 409, "times": 0}])  # fmt: skip
    lab.world.config.account_id = "beta"
    for session in lab.world.sessions.values():
        session.gone = 410
    lab.run()
    assert lab.job().status is Status.BLOCKED
    assert lab.job().model_exists


# -- files that a rescan kept ------------------------------------------------------------------


@pytest.fixture
def half(lab: Lab) -> Path:
    """The folder of a paused job with `a.bin` stored, before a rescan."""
    folder = lab.model(a_bin=SIZE, b_bin=SIZE)
    lab.world.script.add([{"on": "put", "match": "b.bin", "do": "status", "status": 503,
                           "times": 0}])  # fmt: skip
    lab.enqueue(folder)
    lab.run_until(lambda: lab.file("a.bin").stored)
    lab.jobs.apply(1, Verb.PAUSE, lab.clock.now())
    lab.world.script = Script()
    rewrite(folder / "b.bin", SIZE)
    return folder


FAULTS = [[], [{"on": "create", "do": "lost-answer"}], [{"on": "create", "do": "reset-after"}]]


@pytest.mark.parametrize("faults", FAULTS)
def test_kept_files_of_a_model_that_is_gone_are_sent_again(
    lab: Lab, half: Path, faults: list[dict[str, str]]
) -> None:
    """Also if the answer to the POST that makes it anew is lost."""
    delete_by_hand(lab)
    lab.world.script.add(faults)
    rescan(lab, half, kept=kept(lab, half))
    lab.run()
    lab.assert_ready()
    told = [event.message for event in lab.jobs.events() if event.kind == "deleted"]
    assert len(told) == 1
    assert "1 of its files were kept, and are sent again" in told[0]


def made_anew(lab: Lab, *, alike: bool) -> None:
    """By a colleague, before the service was asked; with a time of its own, unless ``alike``."""
    at = lab.world.models[KEY].created_at
    delete_by_hand(lab)
    make_another(lab, "UPLOADING").created_at = at if alike else at + 60


def test_kept_files_of_a_model_that_was_made_anew_meanwhile_are_sent_to_it(
    lab: Lab, half: Path
) -> None:
    """By its time, the service shows that it is another one."""
    made_anew(lab, alike=False)
    rescan(lab, half, kept=kept(lab, half))
    lab.run()
    lab.assert_ready()
    assert lab.job().run_number == 3


@pytest.mark.parametrize("keeps", [True, False])
def test_a_model_that_was_made_anew_meanwhile_is_not_deleted_with_the_job(
    lab: Lab, half: Path, *, keeps: bool
) -> None:
    made_anew(lab, alike=False)
    lab.world.config.landing_polls = 100
    rescan(lab, half, kept=kept(lab, half) if keeps else [])
    lab.run_until(lambda: lab.job().stage is Stage.VALIDATE)
    assert not lab.job().created_remotely
    with pytest.raises(UsageError, match="did not create"):
        lab.jobs.apply(1, Verb.CANCEL, lab.clock.now(), delete_remote=True)


@pytest.mark.usefixtures("half")
@pytest.mark.parametrize("alike", [True, False])
def test_only_the_model_that_the_job_made_is_deleted_with_it(lab: Lab, *, alike: bool) -> None:
    made_anew(lab, alike=alike)
    lab.jobs.apply(1, Verb.CANCEL, lab.clock.now(), delete_remote=True)
    lab.run()
    assert (KEY in lab.world.models) is not alike
    told = [event.message for event in lab.jobs.events() if event.kind == "left_open"]
    assert any("another model by now" in message for message in told) is not alike
    assert lab.job().model_exists is not alike


def test_a_model_that_was_made_anew_is_not_replaced(lab: Lab, half: Path) -> None:
    """Nor is it filled beside its own files, until somebody has deleted it."""
    made_anew(lab, alike=False)
    lab.jobs.restart(lab.sealed(), lab.new_job(half), lab.clock.now(), replace=True)
    lab.run()
    reason = lab.job().reason
    assert reason
    assert (lab.job().status, reason.code) == (Status.FAILED, "exists_differently")
    assert KEY in lab.world.models
    assert lab.job().bytes_sent == 0
    delete_by_hand(lab)
    lab.jobs.apply(1, Verb.RETRY, lab.clock.now())
    lab.run()
    lab.assert_ready()


@pytest.mark.parametrize("status", [400, 403])
def test_a_refused_look_keeps_no_model_from_being_deleted(
    lab: Lab, half: Path, status: int
) -> None:
    assert half
    lab.world.script.add([{"on": "get", "do": "status", "status": status, "body": {"code": 3},
                           "times": 1}])  # fmt: skip
    lab.jobs.apply(1, Verb.CANCEL, lab.clock.now(), delete_remote=True)
    lab.run_until(lambda: KEY not in lab.world.models)


@pytest.mark.parametrize("keeps", [True, False])
def test_a_model_that_seemed_gone_is_sent_every_file(lab: Lab, half: Path, *, keeps: bool) -> None:
    """Two wrong answers are believed, but they end no job."""
    lab.world.script.add([
        {"on": "get", "do": "status", "status": 404, "body": {"code": 5}, "times": 2},
    ])  # fmt: skip
    rescan(lab, half, kept=kept(lab, half) if keeps else [])
    lab.run()
    lab.assert_ready()


def test_one_404_alone_does_not_send_kept_files_again(lab: Lab, half: Path) -> None:
    before = lab.object("a.bin")["body_bytes_read"]
    lab.world.script.add([
        {"on": "get", "do": "status", "status": 404, "body": {"code": 5}, "times": 1},
    ])  # fmt: skip
    rescan(lab, half, kept=kept(lab, half))
    lab.run()
    lab.assert_ready()
    assert lab.object("a.bin")["body_bytes_read"] == before


def test_another_run_begins_for_files_that_were_lost_with_their_model(lab: Lab, half: Path) -> None:
    """Written before the model is made anew: nobody who is killed then forgets it."""
    delete_by_hand(lab)
    rescan(lab, half, kept=kept(lab, half))
    seen: list[tuple[object, ...]] = []

    def look(name: str) -> None:
        job = lab.job()
        if name == "create before":
            seen.append((job.run_number, job.files_stored, job.bytes_confirmed, job.model_exists))

    lab.boundary = look
    lab.run()
    assert seen == [(3, 0, 0, False)]


def test_of_kept_files_whose_model_is_there_no_model_is_created(lab: Lab, half: Path) -> None:
    """Not even if the service would call a POST of one that exists a success."""
    before = lab.object("a.bin")["body_bytes_read"]
    asked: list[str] = []
    lab.boundary = asked.append
    rescan(lab, half, kept=kept(lab, half))
    lab.run()
    lab.assert_ready()
    assert "create before" not in asked
    assert lab.object("a.bin")["body_bytes_read"] == before
    assert lab.job().run_number == 2


ANSWERS_404 = ["default backend - 404", "", '{"message": "no Route matched with those values"}']


@pytest.mark.parametrize("body", ANSWERS_404)
@STAGES
def test_a_404_that_is_not_the_services_makes_nothing_gone(
    lab: Lab, stage: Stage, body: str
) -> None:
    """A gateway without the service behind it answers everything so for some seconds."""
    in_stage(lab, stage)
    lab.world.config.landing_polls = 0
    answer = {"do": "status", "status": 404, "body": body, "times": 3}
    calls = ("verify", "urls", "validate", "get")
    lab.world.script.add([{"on": call, **answer} for call in calls])
    creates = lab.world.report()["creates"]
    lab.run()
    lab.assert_ready()
    assert "deleted" not in lab.kinds()
    assert lab.world.report()["creates"] == creates


@pytest.mark.parametrize(
    ("status", "body"),
    [
        *((200, body) for body in ("OK", "", '{"status": "ok"}')),
        *((404, body) for body in ANSWERS_404),
    ],
)
def test_nor_does_it_or_a_bare_success_delete_a_model(lab: Lab, status: int, body: str) -> None:
    in_stage(lab, Stage.UPLOAD)
    lab.jobs.apply(1, Verb.CANCEL, lab.clock.now(), delete_remote=True)
    lab.world.script.add([{"on": "delete", "do": "status", "status": status, "body": body}])
    lab.run_until(lambda: not lab.job().delete_on_cancel)
    assert KEY not in lab.world.models
    assert not lab.job().model_exists


@pytest.mark.parametrize("body", ["OK", {"status": "ok"}, {"name": "accounts/a/models/other"}])
def test_a_bare_success_creates_no_model(lab: Lab, body: object) -> None:
    """What waits under the name is somebody else's, and is looked at as ever."""
    lab.enqueue(lab.model())

    def look(name: str) -> None:
        if name == "create before":
            make_another(lab)

    lab.boundary = look
    lab.world.script.add([{"on": "create", "do": "status", "status": 200, "body": body}])
    lab.run()
    reason = lab.job().reason
    assert reason
    assert (lab.job().status, lab.job().created_remotely) == (Status.FAILED, False)
