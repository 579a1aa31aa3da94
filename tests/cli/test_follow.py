"""`follow`: jobs as they move; leaving it changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Command, ScriptedClock
from tests.model.build import BASE, folder

Sql = Callable[[str], None]
DONE = "UPDATE jobs SET status = 'done', stage = 'ready'"


def interrupt() -> None:
    raise KeyboardInterrupt


@pytest.fixture
def two(uploader: Command, home: Path, store: Path) -> None:
    del store
    for name in ("one", "two"):
        uploader("enqueue", folder(home / name, BASE))


@pytest.mark.usefixtures("two")
def test_named_jobs_are_followed_until_they_have_ended(
    uploader: Command, clock: ScriptedClock, sql: Sql
) -> None:
    clock.steps = [lambda: sql(f"{DONE} WHERE id = 2"), lambda: sql(DONE)]
    answer = uploader("follow", "one", "2", "1")
    assert (answer.code, answer.out, clock.passed_s) == (0, "", 2)
    heads = [line.split(";")[0] for line in answer.err.splitlines()]
    assert heads == [
        "job 1 one: create",
        "job 2 two: create",
        "job 2 two: READY",
        "job 1 one: READY",
    ]


@pytest.mark.usefixtures("two")
def test_without_a_name_all_that_move_are_followed_until_interrupted(
    uploader: Command, clock: ScriptedClock, sql: Sql, home: Path
) -> None:
    def enqueue() -> None:
        from uploader.cli import app  # noqa: PLC0415 - another process, as it were

        assert app.run(["enqueue", str(folder(home / "three", BASE))]) == 0

    sql(f"{DONE} WHERE id = 1")
    clock.steps = [enqueue, lambda: None, lambda: sql(DONE), lambda: None, interrupt]
    answer = uploader("follow")
    assert answer.code == 130
    followed = [line.split(";")[0] for line in answer.err.splitlines() if ": " in line]
    assert [line for line in followed if line.startswith("job ")] == [
        "job 2 two: create",
        "job 3 three: create",
        "job 2 two: READY",
        "job 3 three: READY",
    ]


def test_the_first_job_may_come_later(uploader: Command, clock: ScriptedClock, home: Path) -> None:
    def enqueue() -> None:
        from uploader.cli import app  # noqa: PLC0415 - another process, as it were

        assert app.run(["enqueue", str(folder(home / "one", BASE))]) == 0

    clock.steps = [lambda: None, enqueue, lambda: None, interrupt]
    answer = uploader("follow")
    assert answer.code == 130
    assert answer.err.count("no job is on its way") == 1
    assert "job 1 one: create" in answer.err


@pytest.mark.usefixtures("two")
def test_leaving_it_stops_nothing(uploader: Command, clock: ScriptedClock) -> None:
    before = uploader("status", "--json").json
    clock.steps = [interrupt]
    assert uploader("follow", "1").code == 130
    assert uploader("status", "--json").json == before
    assert uploader("follow", "seven").code == 4
