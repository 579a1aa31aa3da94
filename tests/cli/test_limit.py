"""`uploader limit` and `uploader edit`, and how status and explain show what is in force."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Command


def test_without_arguments_it_shows_what_is_in_force_and_creates_nothing(
    uploader: Command, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPLOADER_TRANSFER__MAX_FILES", "5")
    assert uploader("limit").out.splitlines() == [
        "bandwidth\toff\tdefault\t",
        "files\t5\tUPLOADER_TRANSFER__MAX_FILES\t",
        "jobs\t2\tdefault\t",
    ]
    assert not (home / "state").exists()


@pytest.mark.usefixtures("store")
def test_a_limit_stays_until_it_is_changed_back(uploader: Command) -> None:
    assert uploader("limit", "20MB/s", "--files", 8, "--jobs", 3).code == 0
    assert uploader("limit").out.splitlines() == [
        "bandwidth\t20MB/s\tlimit\t",
        "files\t8\tlimit\t",
        "jobs\t3\tlimit\t",
    ]
    assert uploader("limit", "off").out.startswith("bandwidth\toff\tlimit\t\n")
    assert uploader("limit", "default").out.startswith("bandwidth\toff\tdefault\t\nfiles\t8\tlimit")
    uploader("limit", "--files", "default", "--jobs", "default")
    assert "limit" not in uploader("limit").out


def test_the_first_limit_makes_the_store(uploader: Command, home: Path) -> None:
    assert uploader("limit", "1MB/s").code == 0
    assert (home / "state" / "uploader.db").exists()


@pytest.mark.usefixtures("store")
def test_a_timetable_may_be_one_word_or_several(uploader: Command) -> None:
    for words in (["Mon-08:00,20MB/s 19:00,off"], ["Mon-08:00,20MB/s", "19:00,off"]):
        out = uploader("limit", *words).out
        assert out.startswith("bandwidth\tMon-08:00,20MB/s 19:00,off\tlimit\t")
        assert " until Mon " in out


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    "words",
    [
        ["0"],
        ["-5MB/s"],
        ["fast"],
        [""],
        ["Xon-08:00,off"],
        ["08:00,off", "08:00,1MB/s"],
        ["Mon-08:00"],
    ],
)
def test_a_limit_that_cannot_be_is_exit_2_with_the_right_form(
    uploader: Command, words: list[str]
) -> None:
    answer = uploader("limit", *words)
    assert answer.code == 2
    told = " ".join(answer.err.split())
    assert 'write a rate like "20MB/s", "off", or a timetable like "Mon-08:00,20MB/s 19:00' in told
    assert "limit" not in uploader("limit").out


@pytest.mark.usefixtures("store")
def test_other_mistakes_are_exit_2(uploader: Command) -> None:
    for words in (["--files", "0"], ["--files", "many"], ["--jobs", "auto"], ["--fles", "3"]):
        answer = uploader("limit", *words)
        assert (answer.code, answer.out) == (2, ""), words
        assert "hint: " in answer.err


@pytest.mark.usefixtures("store")
def test_json_of_limit_and_status(uploader: Command) -> None:
    document = uploader("limit", "1MB/s", "--json").json
    assert document["schema"] == "uploader.limits/1"
    assert document["bandwidth"] == {
        "value": "1MB/s", "origin": "limit", "rate_bps": 1_000_000, "until": None,
    }  # fmt: skip
    status = uploader("status", "--json").json
    assert status["schema"] == "uploader.jobs/1"
    assert status["limits"] == {key: document[key] for key in ("bandwidth", "files", "jobs")}


@pytest.mark.usefixtures("store")
def test_status_says_what_differs_from_the_defaults(
    uploader: Command, terminal: Callable[[int], None]
) -> None:
    assert "limits" not in uploader("status").out
    uploader("limit", "1MB/s", "--files", 3)
    assert uploader("status").out.splitlines()[-1] == "# limits: bandwidth 1MB/s, files 3"
    terminal(80)
    assert uploader("status").out.splitlines()[-1] == "limits: bandwidth 1MB/s, files 3"
    uploader("limit", "off", "--files", "default")
    assert uploader("status").out.splitlines()[-1] == "limits: bandwidth off"


def test_explain_names_the_limits_and_the_moves_of_the_worker(
    uploader: Command, model: Path, sql: Callable[[str], None]
) -> None:
    uploader("enqueue", model)
    uploader("limit", "1MB/s")
    assert "Limits" not in uploader("explain", 1).out, "nothing is being sent"
    sql(
        "UPDATE jobs SET stage = 'upload', lease_owner = 'w', lease_token = 't';"
        "INSERT INTO moves (owner, at, files, message) VALUES"
        " ('w', '2026-11-22 12:00:00.000000', 6, '4 → 6 files: +18 %'),"
        " ('v', '2026-11-22 12:00:00.000000', 9, 'of another');"
    )
    lines = uploader("explain", 1).out.splitlines()
    assert "Limits: bandwidth 1MB/s." in lines
    assert (
        "Its worker sends up to 6 files at once, as it found by trying: 4 → 6 files: +18 %."
        in lines
    )
    uploader("limit", "--files", 4)
    assert "+18 %" not in uploader("explain", 1).out, "a number is a number"


def test_edit_changes_the_priority(uploader: Command, model: Path) -> None:
    uploader("enqueue", model)
    for _ in range(2):
        answer = uploader("edit", 1, "--priority", 7)
        assert (answer.code, answer.out) == (0, "1\tpriority 7\n")
    document = uploader("edit", "my-model-3p1", "--priority", "-3", "--json").json
    assert (document["schema"], document["priority"]) == ("uploader.job/1", -3)
    assert [line for line in uploader("logs", 1).out.splitlines() if " edited: " in line]


def test_edit_refuses_what_cannot_be(uploader: Command, model: Path) -> None:
    uploader("enqueue", model)
    for words, code in (
        ([1, "--priority", 5000], 2),
        ([1, "--priority", "high"], 2),
        ([1], 2),
        ([7, "--priority", 1], 4),
    ):
        assert uploader("edit", *words).code == code, words
    uploader("cancel", 1)
    assert uploader("edit", 1, "--priority", 1).code == 5


def test_edit_does_not_send_a_model_that_is_ready_again(
    uploader: Command, model: Path, sql: Callable[[str], None]
) -> None:
    uploader("enqueue", model)
    sql("UPDATE jobs SET status = 'done', stage = 'ready'")
    answer = uploader("edit", 1, "--priority", 1)
    assert (answer.code, "enqueue" in answer.err, "it is READY" in answer.err) == (5, False, True)
