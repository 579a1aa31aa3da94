"""Each call against a store in which nobody works."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import FrozenInstanceError, fields
from datetime import datetime
from inspect import signature
from pathlib import Path
from typing import Any, get_type_hints

import pytest

import uploader
from tests.cli.conftest import ScriptedClock
from tests.model.build import BASE, folder, without
from uploader.cli import app
from uploader.core.documents import EventJson, FileJson, JobDocument, JobJson
from uploader.intake.request import MODEL_FIELDS, EnqueueRequest

Sql = Callable[[str], None]


@pytest.fixture(autouse=True)
def nothing_printed(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    yield
    assert capfd.readouterr() == ("", "")


@pytest.fixture
def enqueued(model: Path, store: Path) -> uploader.JobWithFiles:
    del store
    return uploader.enqueue(model)


# -- values ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "document"),
    [
        (uploader.Job, JobJson),
        (uploader.JobWithFiles, JobDocument),
        (uploader.File, FileJson),
        (uploader.Event, EventJson),
    ],
)
def test_a_value_has_the_attributes_of_its_document(value: type[Any], document: type) -> None:
    names = get_type_hints(document).keys() - {"schema"}
    assert {one.name for one in fields(value)} == names


def test_a_job_is_typed_and_frozen(enqueued: uploader.JobWithFiles) -> None:
    assert enqueued.status is uploader.Status.ACTIVE
    assert uploader.job(enqueued.id).status == "active"
    assert enqueued.kind is uploader.Kind.BASE
    assert isinstance(enqueued.created_at, datetime)
    assert enqueued.created_at.tzinfo
    assert {file.path for file in enqueued.files} == set(BASE)
    assert {file.mode for file in enqueued.files} == {uploader.Mode.SESSION}
    with pytest.raises(FrozenInstanceError):
        enqueued.id = 7  # type: ignore[misc]


def test_a_reason_is_a_value_too(enqueued: uploader.JobWithFiles, sql: Sql) -> None:
    sql("UPDATE jobs SET status = 'failed', reason_code = 'remote', reason_message = 'no',"
        " reason_hint = 'wait'")  # fmt: skip
    reason = uploader.job(enqueued.id).reason
    assert reason == uploader.Reason("remote", "no", "wait")


def test_every_error_has_the_one_base_and_a_code() -> None:
    named: list[Any] = [getattr(uploader, name) for name in uploader.__all__]
    errors: list[Any] = [
        one for one in named if isinstance(one, type) and issubclass(one, Exception)
    ]
    assert len(errors) >= 8
    for error in errors:
        made = error("what happened", hint="what to do")
        assert isinstance(made, uploader.UploaderError)
        assert made.code
        assert (str(made), made.hint) == ("what happened", "what to do")


# -- enqueue -----------------------------------------------------------------------------------


def test_the_same_folder_is_the_same_job(model: Path, enqueued: uploader.JobWithFiles) -> None:
    assert uploader.enqueue(str(model)) == enqueued
    assert uploader.enqueue(model, kind="base", model_id="my-model-3p1").id == enqueued.id


def test_the_command_line_sees_the_same_job(
    model: Path, store: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    del store
    words = ("--display-name", "M", "--public", "--include", "*.gguf", "--priority", "3")
    assert app.run(["enqueue", str(model), *words]) == 0
    assert capfd.readouterr().out == "1\n"
    same = uploader.enqueue(
        model, display_name="M", public=True, include="*.gguf", priority=3, description=""
    )
    assert same.id == 1
    with pytest.raises(uploader.UsageError) as raised:
        uploader.enqueue(model, display_name="N")
    assert raised.value.code == "conflict"


def test_every_option_of_a_request_is_an_argument() -> None:
    options = {one.name for one in fields(EnqueueRequest)} - {"fields"} | {*MODEL_FIELDS, "online"}
    assert signature(uploader.enqueue).parameters.keys() == options
    assert signature(uploader.upload).parameters.keys() == options | {"progress", "timeout"}


def test_a_refused_folder_says_why_and_leaves_nothing(home: Path) -> None:
    bad = folder(home / "bad", without(BASE, "config.json"))
    with pytest.raises(uploader.PreflightRefused) as raised:
        uploader.enqueue(bad)
    error = raised.value
    assert isinstance(error, uploader.UploaderError)
    assert (error.code, bool(error.hint)) == ("preflight", True)
    assert [found.check for found in error.findings if found.severity == "error"] == ["config_json"]
    assert not (home / "state").exists()


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "flumina"},
        {"model_id": "No_Id"},
        {"priority": 1001},
        {"priority": "high"},
        {"context_length": -1},
        {"context_length": 0},
        {"allow": "no_such_check"},
        {"model_json": {"unknownField": 1}},
        {"base_model": "accounts/a/models/b"},
    ],
)
def test_a_value_that_cannot_be_is_a_usage_error_with_a_hint(
    options: dict[str, Any], model: Path, home: Path
) -> None:
    with pytest.raises(uploader.UsageError) as raised:
        uploader.enqueue(model, **options)
    assert raised.value.hint
    assert "--" not in raised.value.message + raised.value.hint
    assert not (home / "state").exists()


@pytest.mark.parametrize("path", ["", "nowhere"])
def test_an_empty_path(path: str) -> None:
    with pytest.raises(uploader.NotFound):
        uploader.enqueue(path)


def test_settings_are_read_at_the_call(
    model: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPLOADER_STATE_DIR", str(home / "one"))
    assert uploader.enqueue(model, priority=1).priority == 1
    monkeypatch.setenv("UPLOADER_STATE_DIR", str(home / "two"))
    assert uploader.jobs() == []
    monkeypatch.setenv("UPLOADER_LEASE__DURATION", "never")
    with pytest.raises(uploader.UsageError, match="UPLOADER_LEASE__DURATION"):
        uploader.jobs()


def test_what_the_settings_warn_of_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPLOADER_NO_SUCH", "x")
    with pytest.warns(UserWarning, match="UPLOADER_NO_SUCH"):
        assert uploader.jobs() == []


# -- looking -----------------------------------------------------------------------------------


def test_without_a_store_there_is_nothing_and_none_is_made(home: Path) -> None:
    assert uploader.jobs() == []
    assert uploader.events() == []
    for call in (uploader.job, uploader.wait, uploader.pause, uploader.remove):
        with pytest.raises(uploader.NotFound):
            call("my-model")
    assert not (home / "state").exists()


def test_a_job_goes_by_its_id_its_model_or_its_resource_name(
    enqueued: uploader.JobWithFiles,
) -> None:
    for ref in (enqueued.id, str(enqueued.id), "my-model-3p1", enqueued.model):
        assert uploader.job(ref) == enqueued
    assert [job.id for job in uploader.jobs()] == [enqueued.id]
    with pytest.raises(uploader.NotFound):
        uploader.job("accounts/other/models/my-model-3p1")


def test_events_go_on_after_a_number(enqueued: uploader.JobWithFiles) -> None:
    (first,) = uploader.events()
    assert (first.job, first.kind) == (enqueued.id, "enqueued")
    uploader.pause(enqueued.id)
    assert [event.kind for event in uploader.events(first.seq)] == ["paused"]


# -- waiting -----------------------------------------------------------------------------------


def test_waiting_ends_with_the_job_and_tells_how_it_goes(
    enqueued: uploader.JobWithFiles, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = ["UPDATE jobs SET stage = 'upload'", "UPDATE jobs SET status = 'failed'"]
    clock = ScriptedClock(*(lambda step=step: sql(step) for step in steps))
    monkeypatch.setattr("uploader.wiring.clock", lambda: clock)
    seen: list[uploader.Job] = []
    ended = uploader.wait(enqueued.id, progress=seen.append)
    assert ended.status == "failed"
    assert [(job.stage, job.status) for job in seen] == [
        ("create", "active"),
        ("upload", "active"),
        ("upload", "failed"),
    ]


def test_waiting_has_an_end(enqueued: uploader.JobWithFiles) -> None:
    with pytest.raises(uploader.WaitTimedOut) as raised:
        uploader.wait(enqueued.id, timeout=0)
    assert raised.value.code == "timed_out"
    assert uploader.job(enqueued.id).status == "active"


def test_an_interrupted_wait_leaves_the_job(enqueued: uploader.JobWithFiles) -> None:
    def interrupt(_: uploader.Job) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        uploader.wait(enqueued.id, progress=interrupt)
    assert uploader.job(enqueued.id).status == "active"


# -- verbs -------------------------------------------------------------------------------------


def test_the_verbs(enqueued: uploader.JobWithFiles) -> None:
    ref = enqueued.id
    assert uploader.pause(ref).status == "paused"
    assert uploader.pause(ref).status == "paused"
    assert uploader.resume(ref).status == "active"
    assert uploader.retry(ref).status == "active"
    with pytest.raises(uploader.VerbRefused):
        uploader.remove(ref)
    assert uploader.cancel(ref).status == "cancelled"
    with pytest.raises(uploader.VerbRefused) as raised:
        uploader.resume(ref)
    assert raised.value.hint
    uploader.remove(ref)
    assert uploader.jobs() == []


def test_only_a_model_that_this_job_created_is_deleted(enqueued: uploader.JobWithFiles) -> None:
    with pytest.raises(uploader.UsageError):
        uploader.cancel(enqueued.id, delete_remote=True)


def test_a_rescan_takes_the_folder_as_it_is(enqueued: uploader.JobWithFiles, model: Path) -> None:
    (model / "added.jinja").write_text("x")
    (model / "chat_template.jinja").write_text("{{ messages }}")
    begun = uploader.retry(enqueued.id, rescan=True)
    assert "chat_template.jinja" in {file.path for file in begun.files}
    (model / "config.json").write_text("{")
    with pytest.raises(uploader.PreflightRefused):
        uploader.retry(enqueued.id, rescan=True)
    assert uploader.retry(enqueued.id, rescan=True, allow="config_json").id == enqueued.id
    with pytest.raises(uploader.UsageError, match="`allow` goes with `rescan`"):
        uploader.retry(enqueued.id, allow="config_json")


# -- anywhere ----------------------------------------------------------------------------------


def test_calls_work_in_any_thread(model: Path, store: Path) -> None:
    del store
    found: list[object] = []

    def call() -> None:
        found.append(uploader.enqueue(model).id)
        found.append(uploader.pause(1).status)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join(120)
    assert found == [1, "paused"]


@pytest.mark.parametrize("number", [-1, 2**63, 2**70])
@pytest.mark.usefixtures("enqueued")
def test_a_number_that_no_event_and_no_count_can_have_is_refused(number: int) -> None:
    for call in (uploader.events, lambda ended: uploader.jobs(ended=ended)):
        with pytest.raises(uploader.UsageError, match=f"cannot be {number}") as raised:
            call(number)
        assert "2^63 - 1" in raised.value.hint
    assert uploader.events(2**63 - 1) == []
    assert len(uploader.jobs(ended=2**63 - 1)) == 1
