"""`follow`: jobs as they move; leaving it changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.cli.conftest import Command, ScriptedClock
from tests.cli.test_render import JOB, NOW
from tests.model.build import BASE, folder
from uploader.cli.live import line
from uploader.core.job import Reason, Stage

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
    assert (answer.code, answer.err, clock.passed_s) == (0, "", 2)
    heads = [line.split(";")[0] for line in answer.out.splitlines()]
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
    followed = [line.split(";")[0] for line in answer.out.splitlines() if ": " in line]
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
    assert "job 1 one: create" in answer.out


@pytest.mark.usefixtures("two")
def test_leaving_it_stops_nothing(uploader: Command, clock: ScriptedClock) -> None:
    before = uploader("status", "--json").json
    clock.steps = [interrupt]
    assert uploader("follow", "1").code == 130
    assert uploader("status", "--json").json == before
    assert uploader("follow", "seven").code == 4


@pytest.mark.usefixtures("two")
def test_status_can_keep_watching_what_it_would_show(
    uploader: Command, clock: ScriptedClock, sql: Sql
) -> None:
    sql(f"{DONE} WHERE id = 1")
    clock.steps = [lambda: sql("UPDATE jobs SET status = 'paused' WHERE id = 2"), interrupt]
    answer = uploader("status", "--watch")
    assert (answer.code, answer.err) == (130, "")
    assert [line.split(";")[0] for line in answer.out.splitlines()] == [
        "job 1 one: READY",
        "job 2 two: create",
        "job 2 two: paused, 0% of 2.2 KiB confirmed",
    ]
    clock.steps = [interrupt]
    assert "job 1" not in uploader("status", "--watch", "--state", "paused").out
    assert uploader("status", "--watch", "--json").code == 2


@pytest.mark.usefixtures("two")
def test_a_paused_job_says_what_lets_it_go_on(
    uploader: Command, clock: ScriptedClock, sql: Sql
) -> None:
    sql("UPDATE jobs SET status = 'paused'")
    clock.steps = [interrupt]
    assert "`uploader resume 1` lets it go on" in uploader("wait", "1").err


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (96, "job 12 one: 1/2 files, 60% sent, 25% of 1000 B confirmed; waits 7s: no network"),
        (76, "job 12 one: 60% sent, 25% of 1000 B confirmed; waits 7s: no network"),
        (64, "job 12 one: 60% sent, 25% confirmed; waits 7s: no network"),
    ],
)
def test_a_job_that_waits_says_for_how_long_and_why_and_keeps_its_name(
    columns: int, expected: str
) -> None:
    job = replace(
        JOB, model_id="one", stage=Stage.UPLOAD, files_stored=1, files_total=2, bytes_total=1000,
        bytes_marked=600, bytes_confirmed=256, not_before=NOW + timedelta(seconds=7),
        reason=Reason("unavailable", "no network"), rate_bps=None,
    )  # fmt: skip
    assert line(job, job.base_url, NOW, columns) == expected


@pytest.mark.parametrize("name", ["a", "one", "a-longer-name", "m" * 63])
def test_a_name_that_fits_is_never_left_out(name: str) -> None:
    job = replace(JOB, model_id=name, stage=Stage.CREATE, reason=None)
    whole = line(job, job.base_url, NOW)
    assert line(job, job.base_url, NOW, len(whole)) == whole


def test_what_a_job_waits_for_leaves_room_for_its_name() -> None:
    job = replace(
        JOB, model_id="llama-tiny", stage=Stage.VALIDATE, not_before=NOW + timedelta(seconds=26),
        reason=Reason("not_ready_yet", "Fireworks is still gathering the files"),
    )  # fmt: skip
    said = line(job, job.base_url, NOW, 69)
    assert said == "job 12 llama-tiny: waits 26s: Fireworks is still gathering the files"
