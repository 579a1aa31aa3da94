"""Limits and priorities as a command, a Python caller and HTTP change them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from uploader.core.errors import UsageError, VerbRefused
from uploader.core.job import Kind, Manifest, ManifestFile, NewJob
from uploader.core.lifecycle import Verb
from uploader.core.limit_words import limits_line, moves_line, rate_now
from uploader.core.limits import Move
from uploader.intake.steer import choose_limits, edit, limits_in_force, limits_of
from uploader.settings.load import load
from uploader.settings.schema import Settings
from uploader.store.database.dialect import open_engine
from uploader.store.database.migrate import ensure
from uploader.store.jobs import Jobs

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
BANDWIDTH = "UPLOADER_TRANSFER__BANDWIDTH_LIMIT"


@pytest.fixture
def database(tmp_path: Path) -> Path:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    return state / "uploader.db"


@pytest.fixture
def jobs(database: Path) -> Iterator[Jobs]:
    engine = open_engine(f"sqlite:///{database}")
    ensure(engine, database.parent)
    yield Jobs(engine)
    engine.dispose()


def settings(tmp_path: Path, **environ: str) -> Settings:
    return load(environ={"UPLOADER_STATE_DIR": str(tmp_path / "state"), **environ})


def enqueued(jobs: Jobs) -> int:
    manifest = Manifest("/models/m", (ManifestFile("a.bin", 3, "1"),))
    new = NewJob("https://api.fireworks.ai", "a", "m", Kind.BASE, manifest, {})
    return jobs.enqueue(new, NOW)[0]


def test_what_was_chosen_wins_over_the_configuration_until_default(
    tmp_path: Path, jobs: Jobs
) -> None:
    configured = settings(tmp_path, **{BANDWIDTH: "1MB/s"})
    before = limits_in_force(configured, jobs, NOW)
    assert before["bandwidth"]["value"] == "1MB/s"
    assert before["bandwidth"]["origin"] == BANDWIDTH
    assert before["bandwidth"]["rate_bps"] == 1_000_000
    assert before["files"] == {"value": "auto", "origin": "default"}
    assert before["jobs"] == {"value": "2", "origin": "default"}

    choose_limits(jobs, NOW, bandwidth="2MB/s", files=7)
    choose_limits(jobs, NOW, max_jobs="3")
    chosen = limits_in_force(configured, jobs, NOW)
    assert [(one["value"], one["origin"]) for one in (chosen["files"], chosen["jobs"])] == [
        ("7", "limit"),
        ("3", "limit"),
    ]
    assert chosen["bandwidth"]["value"] == "2MB/s"
    assert limits_of(configured, jobs).files == 7

    choose_limits(jobs, NOW, bandwidth="default", files="auto", max_jobs="default")
    assert limits_in_force(configured, jobs, NOW) == before | {
        "files": {"value": "auto", "origin": "limit"}
    }
    choose_limits(jobs, NOW, files="default")
    assert limits_in_force(configured, jobs, NOW) == before


def test_without_a_store_the_configuration_holds(tmp_path: Path) -> None:
    found = limits_in_force(settings(tmp_path), None, NOW)
    assert found["bandwidth"]["value"] == "off"
    assert found["bandwidth"]["rate_bps"] is None
    assert limits_line(found) == ""


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ({"bandwidth": "0"}, "20MB/s"),
        ({"bandwidth": "-5MB/s"}, "20MB/s"),
        ({"bandwidth": "7B/s"}, "8KiB/s"),
        ({"bandwidth": ""}, "20MB/s"),
        ({"bandwidth": "Xon-08:00,off"}, "Mon, Tue, Wed"),
        ({"bandwidth": "08:00,off Mon-08:00,1MB/s"}, "Mon-08:00"),
        ({"bandwidth": "24:00,off"}, "00:00 to 23:59"),
        ({"bandwidth": "08:00,off 09:00"}, "Mon-08:00,20MB/s 19:00,off"),
        ({"files": 0}, "1 to 256"),
        ({"files": "-1"}, '"auto"'),
        ({"max_jobs": "auto"}, "1 to 256"),
        ({"max_jobs": 257}, "1 to 256"),
    ],
)
def test_a_limit_that_cannot_be_changes_nothing_and_shows_the_right_form(
    jobs: Jobs, given: dict[str, Any], hint: str
) -> None:
    with pytest.raises(UsageError) as caught:
        choose_limits(jobs, NOW, **({"files": 5} | given))
    assert hint in caught.value.hint
    assert "default" in caught.value.hint
    assert jobs.limits.chosen() == {}


def test_a_timetable_says_what_holds_now_and_until_when(
    tmp_path: Path, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    __import__("time").tzset()
    try:
        choose_limits(jobs, NOW, bandwidth="Wed-08:00,20MB/s 19:00,off")
        found = limits_in_force(settings(tmp_path), jobs, NOW)  # Wednesday, 13:00 in Berlin
        assert found["bandwidth"]["rate_bps"] == 20_000_000
        assert found["bandwidth"]["until"] == "2026-11-25T18:00:00.000Z"
        assert rate_now(found) == "19.1 MiB/s until Wed 19:00 CET (UTC+01:00)"
        assert limits_line(found) == (
            "limits: bandwidth Wed-08:00,20MB/s 19:00,off"
            " (now 19.1 MiB/s until Wed 19:00 CET (UTC+01:00))"
        )
        # In the night in which summer time ends, 19:00 comes an hour later by UTC.
        summer = datetime(2026, 10, 24, 12, tzinfo=UTC)
        choose_limits(jobs, NOW, bandwidth="Sat-13:00,1MB/s Sun-19:00,off")
        assert limits_in_force(settings(tmp_path), jobs, summer)["bandwidth"]["until"] == (
            "2026-10-25T18:00:00.000Z"
        )
    finally:
        monkeypatch.undo()
        __import__("time").tzset()


@pytest.mark.parametrize("nonsense", ["'as fast as you like'", "x'00ff'", "''"])
def test_a_limit_that_cannot_be_read_hides_nothing_and_chooses_nothing(
    tmp_path: Path, jobs: Jobs, database: Path, nonsense: str
) -> None:
    configured = limits_in_force(settings(tmp_path), jobs, NOW)
    choose_limits(jobs, NOW, bandwidth="1MB/s")
    assert limits_in_force(settings(tmp_path), jobs, NOW) != configured
    with closing(sqlite3.connect(database)) as connection:
        connection.execute(f"UPDATE limits SET value = {nonsense}")
        connection.execute("INSERT INTO limits VALUES ('novel', '5')")
        connection.commit()
    assert limits_in_force(settings(tmp_path), jobs, NOW) == configured


# -- priority --------------------------------------------------------------------------------------


def test_a_priority_is_changed_once_and_its_change_is_an_event(jobs: Jobs) -> None:
    job_id = enqueued(jobs)
    for _ in range(2):
        assert edit(jobs, job_id, NOW, priority=7).priority == 7
    told = [event.message for event in jobs.events(job_id) if event.kind == "edited"]
    assert told == ["priority 7 instead of 0"]


def test_a_priority_out_of_bounds_is_refused(jobs: Jobs) -> None:
    with pytest.raises(UsageError, match="1001"):
        edit(jobs, enqueued(jobs), NOW, priority=1001)


def test_a_job_that_has_ended_gets_no_priority(jobs: Jobs) -> None:
    job_id = enqueued(jobs)
    jobs.apply(job_id, Verb.CANCEL, NOW)
    with pytest.raises(VerbRefused):
        edit(jobs, job_id, NOW, priority=1)


# -- moves -----------------------------------------------------------------------------------------


def test_only_the_newest_moves_are_kept(jobs: Jobs) -> None:
    for number in range(130):
        jobs.limits.add_move("me", Move(NOW + timedelta(seconds=number), number, f"m{number}"))
    jobs.limits.add_move("you", Move(NOW, 1, "yours"))
    assert [move.message for move in jobs.limits.moves("me", 2)] == ["m128", "m129"]
    assert len(jobs.limits.moves("me", 1000)) == 99
    assert [move.message for move in jobs.limits.moves("you", 9)] == ["yours"]


def test_moves_are_told_in_one_sentence() -> None:
    moves = [Move(NOW, 6, "4 → 6 files: +18 %"), Move(NOW, 6, "6 → 9 → 6 files: +1 %")]
    assert moves_line(moves) == (
        "Its worker sends up to 6 files at once, as it found by trying:"
        " 4 → 6 files: +18 %; 6 → 9 → 6 files: +1 %."
    )
    assert moves_line([Move(NOW, 1, "2 → 1 file: why")]).startswith("Its worker sends up to 1 file")
    assert moves_line([]) == ""
