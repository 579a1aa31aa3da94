"""`upload` as one command line; that it uploads is shown by tests/acceptance/test_one_shot.py."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.cli.conftest import Command
from tests.model.build import BASE, folder
from uploader import wiring
from uploader.core.errors import StoreError
from uploader.core.job import Job
from uploader.store.jobs import Jobs

Sql = Callable[[str], None]
DONE = "UPDATE jobs SET status = 'done', stage = 'ready';"
BROKEN = {"config.json": b"{"}


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch, store: Path) -> None:
    del store
    monkeypatch.setattr("uploader.service.logs.log_to_stderr", lambda *_, **__: None)


@pytest.fixture
def ending(monkeypatch: pytest.MonkeyPatch, sql: Sql) -> Callable[..., None]:
    """What becomes of the jobs instead of an upload: some SQL, or an exception."""

    def becomes(end: str | BaseException) -> None:
        def work_on(
            settings: object, jobs: Jobs, ids: Sequence[int], show: Callable[[list[Job]], Any]
        ) -> list[Job]:
            del settings
            if isinstance(end, BaseException):
                raise end
            sql(end)
            show([jobs.job(job_id) for job_id in ids])
            return [jobs.job(job_id) for job_id in ids]

        monkeypatch.setattr("uploader.wiring.work_on", work_on)

    return becomes


def _jobs(uploader: Command) -> list[str]:
    return [job["model"].split("/")[-1] for job in uploader("status", "--json").json["jobs"]]


def test_a_folder_that_is_ready_already_costs_nothing(
    uploader: Command, model: Path, sql: Sql
) -> None:
    uploader("enqueue", model)
    sql(DONE)
    answer = uploader("upload", model)
    assert (answer.code, answer.out) == (0, "1\n")
    made, ended = answer.err.splitlines()  # the key may be one of another account by now
    assert made == "job 1 has made accounts/-/models/my-model-3p1 READY already: nothing is sent"
    assert ended == "job 1 my-model-3p1: READY"


def test_a_folder_that_is_refused_leaves_no_job(uploader: Command, home: Path) -> None:
    answer = uploader("upload", folder(home / "broken", BASE | BROKEN))
    assert (answer.code, answer.out) == (6, "")
    assert "error: " in answer.err
    assert _jobs(uploader) == []


def test_the_options_are_those_of_enqueue(
    uploader: Command, model: Path, ending: Callable[..., None]
) -> None:
    ending(DONE)
    words = ("--model-id", "m", "--context-length", "7", "--priority", "3", "--public")
    assert uploader("upload", model, *words).code == 0
    assert uploader("enqueue", model, *words).out == "1\n"
    job = uploader("show", "1", "--json").json
    assert (job["model"].split("/")[-1], job["priority"]) == ("m", 3)


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (DONE, 0),
        ("UPDATE jobs SET status = 'failed'", 7),
        ("UPDATE jobs SET status = 'cancelled'", 7),
        ("UPDATE jobs SET status = 'blocked'", 8),
        (DONE + "UPDATE jobs SET status = 'failed', stage = 'upload' WHERE id = 2", 9),
    ],
)
def test_the_exit_code_is_that_of_the_jobs(
    end: str, code: int, uploader: Command, home: Path, ending: Callable[..., None]
) -> None:
    ending(end)
    answer = uploader("upload", *[folder(home / name, BASE) for name in ("one", "two")])
    assert (answer.code, answer.out) == (code, "1\n2\n")


def test_one_bad_path_does_not_stop_the_rest(
    uploader: Command, home: Path, ending: Callable[..., None]
) -> None:
    ending(DONE)
    good, bad = folder(home / "good", BASE), folder(home / "bad", BASE | BROKEN)
    assert uploader("upload", home / "none", bad, good).code == 9
    assert _jobs(uploader) == ["good"]
    assert uploader("upload", bad, bad).code == 6
    assert uploader("upload", good, "--model-id", "m", home / "none").code == 2


def test_the_last_document_is_the_ended_job(
    uploader: Command, home: Path, ending: Callable[..., None]
) -> None:
    ending(DONE)
    one, two = folder(home / "one", BASE), folder(home / "two", BASE)
    job = uploader("upload", one, "--json").json
    assert (job["schema"], job["status"], len(job["files"])) == ("uploader.job/1", "done", 6)
    several = uploader("upload", one, two, "--json").json
    assert several["schema"] == "uploader.jobs/1"
    assert [job["id"] for job in several["jobs"]] == [1, 2]


@pytest.mark.parametrize(
    ("signal", "code"), [(KeyboardInterrupt(), 130), (SystemExit(143), 143)], ids=["INT", "TERM"]
)
def test_an_interrupted_upload_says_how_to_go_on(
    signal: BaseException, code: int, uploader: Command, home: Path, ending: Callable[..., None]
) -> None:
    ending(signal)
    root = folder(home / "two words", BASE)
    answer = uploader("upload", root)
    assert answer.code == code
    assert "the job is kept: the same command, or `uploader run`, goes on" in answer.err
    assert _jobs(uploader) == ["two-words"]


def test_an_interrupted_upload_says_so_though_its_job_table_is_gone(
    uploader: Command, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object) -> NoReturn:
        raise StoreError("gone")

    def interrupted(*_: object, **__: object) -> NoReturn:
        monkeypatch.setattr(Jobs, "job", unreachable)
        raise KeyboardInterrupt

    monkeypatch.setattr(wiring, "work_on", interrupted)
    answer = uploader("upload", model)
    assert answer.code == 130
    assert "the job is kept: the same command, or `uploader run`, goes on" in answer.err
    assert "gone" not in answer.err


def test_a_worker_that_runs_already_is_named(
    uploader: Command, home: Path, model: Path, ending: Callable[..., None]
) -> None:
    from uploader.store.database.workers import WorkerLock  # noqa: PLC0415 - another process

    ending(DONE)
    with WorkerLock(home / "state"):
        answer = uploader("upload", model)
    assert "a worker runs already: it does the work" in answer.err
    assert json.loads(uploader("show", "1", "--json").out)["status"] == "done"
