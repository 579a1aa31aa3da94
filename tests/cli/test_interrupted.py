"""With --json a signal, too, leaves a document: what there was by then, and that it is not all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Command, ScriptedClock
from tests.model.build import BASE, folder

Sql = Callable[[str], None]
SIGNALS = [(KeyboardInterrupt(), 130), (SystemExit(143), 143)]


@pytest.fixture
def signal(clock: ScriptedClock) -> Callable[[BaseException], None]:
    """What comes at the next wait."""

    def comes(end: BaseException) -> None:
        def interrupt() -> None:
            raise end

        clock.steps = [interrupt]

    return comes


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Where Ctrl-C comes."""

    def at(name: str) -> None:
        def interrupt(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(name, interrupt)

    return at


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(("end", "code"), SIGNALS, ids=["INT", "TERM"])
def test_a_wait_prints_the_jobs_as_they_are(
    end: BaseException,
    code: int,
    uploader: Command,
    home: Path,
    signal: Callable[[BaseException], None],
) -> None:
    roots = [folder(home / name, BASE) for name in ("one", "two")]
    signal(end)
    enqueued = uploader("enqueue", *roots, "--wait", "--json")
    signal(end)
    one = uploader("wait", "1", "--json")
    signal(end)
    every = uploader("wait", "--all", "--json")
    for answer in (enqueued, one, every):
        assert (answer.code, answer.json["error"]["code"]) == (code, "interrupted")
    assert [job["status"] for job in enqueued.json["jobs"]] == ["active", "active"]
    assert (one.json["schema"], one.json["status"]) == ("uploader.job/1", "active")
    assert [job["id"] for job in every.json["jobs"]] == [1, 2]
    signal(end)
    assert uploader("wait", "1").out == ""


@pytest.mark.usefixtures("store")
def test_an_upload_prints_what_it_has_enqueued(
    uploader: Command, home: Path, broken: Callable[[str], None]
) -> None:
    broken("uploader.wiring.work_on")
    roots = [folder(home / name, BASE) for name in ("one", "two")]
    single = uploader("upload", roots[0], "--json")
    assert (single.code, single.json["error"]["code"]) == (130, "interrupted")
    assert (single.json["schema"], single.json["status"]) == ("uploader.job/1", "active")
    several = uploader("upload", *roots, home / "missing", "--json").json
    assert [job["id"] for job in several["jobs"]] == [1, 2]
    assert several["error"]["code"] == "interrupted"
    assert [error["code"] for error in several["errors"]] == ["not_found"]


@pytest.mark.usefixtures("store")
def test_folders_that_were_enqueued_before_the_signal_are_told(
    uploader: Command, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from uploader.intake import plan  # noqa: PLC0415 - the command loads it late, too

    planned, came = plan.planned, list[object]()

    def interrupt_the_second(*given: object, **more: object) -> object:
        came.append(given)
        if len(came) == 2:
            raise KeyboardInterrupt
        return planned(*given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(plan, "planned", interrupt_the_second)
    answer = uploader("enqueue", *(folder(home / name, BASE) for name in "ab"), "--json")
    assert (answer.code, answer.json["error"]["code"]) == (130, "interrupted")
    assert [job["id"] for job in answer.json["jobs"]] == [1]


def test_a_command_that_has_nothing_yet_prints_why(
    uploader: Command, model: Path, broken: Callable[[str], None]
) -> None:
    broken("uploader.intake.plan.inspect")
    for command in ("preflight", "enqueue"):
        answer = uploader(command, model, "--json")
        assert (answer.code, answer.json["error"]["code"]) == (130, "interrupted")
        assert answer.json.keys() == {"error"}
    assert uploader("preflight", model).out == ""


@pytest.mark.usefixtures("store")
def test_who_leaves_a_stream_of_events_gets_events_only(
    uploader: Command, model: Path, signal: Callable[[BaseException], None]
) -> None:
    uploader("enqueue", model)
    for words in (("events", "--follow"), ("logs", "--follow", "--json")):
        signal(KeyboardInterrupt())
        answer = uploader(*words, "--json")
        assert answer.code == 130
        assert [json.loads(line)["kind"] for line in answer.out.splitlines()] == ["enqueued"]


@pytest.mark.usefixtures("store")
def test_a_job_that_is_gone_costs_the_jobs_and_not_the_document(
    uploader: Command, model: Path, sql: Sql, clock: ScriptedClock
) -> None:
    uploader("enqueue", model)

    def interrupt() -> None:
        sql("DELETE FROM files; DELETE FROM jobs")
        raise KeyboardInterrupt

    clock.steps = [interrupt]
    answer = uploader("wait", "1", "--json")
    assert (answer.code, answer.json.keys()) == (130, {"error"})
