"""`uploader status` shows open jobs and the newest that have ended, and says what it leaves out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from uploader.core.documents import jobs_document
from uploader.store import jobs as store_jobs

Sql = Callable[[str], None]
COPIED = "base_url, account, path, kind, create_body, options, preflight, warnings, stage"


@pytest.fixture
def history(uploader: Command, model: Path, sql: Sql) -> None:
    """One open job, 250 that are done, and 10 that were cancelled after them."""
    assert uploader("enqueue", model).code == 0
    sql(
        f"INSERT INTO jobs ({COPIED}, model_id, status, created_at, updated_at)"
        " WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 260)"
        f" SELECT {COPIED}, 'old' || i, CASE WHEN i <= 250 THEN 'done' ELSE 'cancelled' END,"
        " created_at, '2026-01-01 00:' || printf('%02d:%02d', i / 60, i % 60) || '.0' FROM n, jobs"
    )


def listed(uploader: Command, *words: str) -> tuple[list[str], int]:
    told = json.loads(uploader("status", "--json", *words).out)
    return [job["model"].rpartition("/")[2] for job in told["jobs"]], told["jobs_left_out"]


@pytest.mark.usefixtures("history")
def test_programs_get_the_open_jobs_and_the_newest_200(uploader: Command) -> None:
    names, left_out = listed(uploader)
    assert names[1:] == [f"old{number}" for number in range(61, 261)]
    assert left_out == 60
    rows = uploader("status")
    assert len(rows.out.splitlines()) == 1 + 1 + 200
    assert "60" in rows.err
    assert "--all" in rows.err


@pytest.mark.usefixtures("history")
def test_people_get_the_newest_20(uploader: Command) -> None:
    shown = uploader("status", "--table")
    assert "old241" in shown.out
    assert "old240" not in shown.out
    assert "240" in shown.err


@pytest.mark.usefixtures("history")
def test_all_and_limit_say_how_many(uploader: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_jobs, "_PAGE", 50)  # the list has several pages, and none is missed
    names, left_out = listed(uploader, "--all")
    assert (len(names), len(set(names)), left_out) == (261, 261, 0)
    names, left_out = listed(uploader, "--limit", "3")
    assert (names[1:], left_out) == (["old258", "old259", "old260"], 257)
    assert listed(uploader, "--limit", "0")[1] == 260


@pytest.mark.usefixtures("history")
def test_the_newest_of_one_status_are_those_of_that_status(uploader: Command) -> None:
    assert listed(uploader, "--state", "done", "--limit", "2") == (["old249", "old250"], 248)
    assert listed(uploader, "--state", "active", "--limit", "2")[1] == 0


def test_a_streamed_document_is_the_document(uploader: Command, model: Path) -> None:
    """Empty, too; with every character as `out_json` prints it."""
    empty = uploader("status", "--json").out
    whole = json.loads(empty)
    assert whole.pop("limits")["files"]["origin"] == "default"
    assert whole == dict(jobs_document([], [], None))  # type: ignore[arg-type]
    uploader("enqueue", model)
    for text in (empty, uploader("status", "--json").out):
        assert text == json.dumps(json.loads(text), indent=2) + "\n"


def test_a_named_job_is_shown_whatever_the_limit(uploader: Command, model: Path) -> None:
    uploader("enqueue", model)
    for words in (("--all",), ("--limit", "3")):
        assert uploader("status", "1", *words).code == 2
