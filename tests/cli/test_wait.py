from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Command, ScriptedClock
from tests.model.build import BASE, folder

Sql = Callable[[str], None]


@pytest.fixture
def two(uploader: Command, home: Path, store: Path) -> None:
    del store
    for name in ("one", "two"):
        uploader("enqueue", folder(home / name, BASE))


def ended(status: str, code: str = "any", job: int = 1) -> str:
    return (
        f"UPDATE jobs SET status = '{status}', reason_code = '{code}', reason_message = 'so',"
        f" reason_hint = 'fix it' WHERE id = {job};"
    )


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize(
    ("statements", "code"),
    [
        (ended("failed"), 7),
        (ended("cancelled"), 7),
        (ended("blocked"), 8),
        (ended("failed", "source_changed"), 12),
        ("UPDATE jobs SET status = 'done', stage = 'ready' WHERE id = 1", 0),
    ],
)
def test_the_exit_code_is_the_result(
    statements: str, code: int, uploader: Command, clock: ScriptedClock, sql: Sql
) -> None:
    clock.steps = [lambda: sql("UPDATE jobs SET status = 'paused'"), lambda: sql(statements)]
    answer = uploader("wait", "1")
    assert (answer.code, answer.out) == (code, "")
    assert clock.steps == []


@pytest.mark.usefixtures("two")
def test_results_that_differ_are_mixed(uploader: Command, sql: Sql) -> None:
    sql(ended("failed") + "UPDATE jobs SET status = 'done' WHERE id = 2")
    answer = uploader("wait", "one", "2", "1")
    assert answer.code == 9
    assert "job 1 one: failed: so" in answer.err
    assert "job 2 two: READY" in answer.err
    assert "hint: job 1: fix it" in answer.err


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize(("text", "seconds"), [("2.5", 2.5), ("0", 0.0), ("1min", 60.0)])
def test_a_wait_that_times_out(
    text: str, seconds: float, uploader: Command, clock: ScriptedClock, sql: Sql
) -> None:
    sql(ended("failed", job=2))
    answer = uploader("wait", "1", "2", "--timeout", text)
    assert (answer.code, clock.passed_s) == (10, seconds)
    assert "timed out waiting for job 1\n" in answer.err


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize("text", ["soon", "-1", "nan", ""])
def test_a_malformed_timeout(text: str, uploader: Command) -> None:
    assert uploader("wait", "1", f"--timeout={text}").code == 2


@pytest.mark.usefixtures("two")
def test_one_line_per_change_and_per_half_minute(
    uploader: Command, clock: ScriptedClock, sql: Sql
) -> None:
    clock.steps = [
        lambda: sql("UPDATE jobs SET stage = 'upload'"),
        *[lambda: None] * 44,
        lambda: sql("UPDATE jobs SET status = 'done', stage = 'ready'"),
    ]
    lines = [line for line in uploader("wait", "1").err.splitlines() if line.startswith("job")]
    progress = "0/6 files, 0% sent, 0% of 2.2 KiB confirmed"
    assert [line.split(": ")[1].split(";")[0] for line in lines] == [
        "create",
        progress,
        progress,
        "READY",
    ]


def test_logs_follow_until_interrupted(uploader: Command, clock: ScriptedClock, home: Path) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    def enqueue() -> None:
        from uploader.cli import app  # noqa: PLC0415 - another process, as it were

        assert app.run(["enqueue", str(folder(home / "one", BASE))]) == 0

    clock.steps = [enqueue, lambda: None, interrupt]
    answer = uploader("logs", "-f")
    assert answer.code == 130
    assert answer.out.endswith(f"job 1 enqueued: enqueued {home / 'one'} as one\n")


@pytest.mark.usefixtures("two")
def test_events_go_on_after_a_number(uploader: Command) -> None:
    lines = [json.loads(line) for line in uploader("events").out.splitlines()]
    assert [list(line) for line in lines] == [["seq", "job", "at", "kind", "message", "path"]] * 2
    assert [line["seq"] for line in lines] == [1, 2]
    (last,) = uploader("events", "--since", "1").out.splitlines()
    assert json.loads(last) == lines[1]
    assert uploader("logs", "two").out.count("\n") == 1


@pytest.mark.usefixtures("two")
def test_the_ended_jobs_are_a_document(uploader: Command, sql: Sql) -> None:
    sql("UPDATE jobs SET status = 'done'")
    assert uploader("wait", "1", "--json").json["status"] == "done"
    several = uploader("wait", "1", "two", "--json").json
    assert [job["status"] for job in several["jobs"]] == ["done", "done"]
    sql(ended("failed"))
    failed = uploader("wait", "1", "--json")
    assert (failed.code, failed.json["reason"]["message"]) == (7, "so")


@pytest.mark.usefixtures("two")
def test_a_wait_in_vain_is_a_document_too(uploader: Command, clock: ScriptedClock) -> None:
    del clock
    answer = uploader("wait", "1", "--timeout", "2", "--json")
    assert (answer.code, answer.json["error"]["code"]) == (10, "timed_out")
    assert (answer.json["id"], answer.json["status"]) == (1, "active")
    assert answer.err.splitlines()[-2].startswith("error: timed out waiting for job 1")


@pytest.mark.usefixtures("two")
def test_all_are_those_that_have_not_ended(
    uploader: Command, clock: ScriptedClock, sql: Sql
) -> None:
    sql(ended("failed"))
    clock.steps = [lambda: sql("UPDATE jobs SET status = 'done' WHERE id = 2")]
    answer = uploader("wait", "--all", "--json")
    assert (answer.code, [job["id"] for job in answer.json["jobs"]]) == (0, [2])
    assert clock.steps == []
    assert "nothing to wait for" in uploader("wait", "--all").err
    assert (uploader("wait").code, uploader("wait", "--all", "1").code) == (2, 2)


def test_all_goes_without_a_store(uploader: Command, home: Path) -> None:
    assert uploader("wait", "--all").code == 0
    assert uploader("wait", "--all", "--json").json["jobs"] == []
    assert not (home / "state").exists()
