"""`uploader prune` forgets what ended long ago, and says what."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Command

Sql = Callable[[str], None]


@pytest.fixture
def old(uploader: Command, model: Path, sql: Sql) -> None:
    """One job that ended long before every clock of these tests."""
    assert uploader("enqueue", model).code == 0
    sql("UPDATE jobs SET status = 'done', stage = 'ready', updated_at = '2020-01-01 00:00:00.0'")


@pytest.mark.usefixtures("old")
def test_a_dry_run_counts_and_keeps(uploader: Command) -> None:
    told = json.loads(uploader("prune", "--dry-run", "--json").out)
    assert (told["schema"], told["dry_run"], told["jobs"]) == ("uploader.prune/1", True, 1)
    assert told["files"] > 0
    assert told["events"] == 1
    assert uploader("show", "1").code == 0
    gone = json.loads(uploader("prune", "--json").out)
    assert gone | {"dry_run": True} == told | {"before": gone["before"]}
    assert uploader("show", "1").code == 4


@pytest.mark.usefixtures("old")
def test_the_age_may_be_given_and_history_may_be_kept_for_ever(
    uploader: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "jobs that ended before" in uploader("prune", "--older-than", "36500d").out
    assert uploader("show", "1").code == 0
    monkeypatch.setenv("UPLOADER_HISTORY__KEEP", "forever")
    refused = uploader("prune")
    assert refused.code == 2
    assert "--older-than" in refused.err
    assert ": 1 forgotten\n" in uploader("prune", "--older-than", "30d").out
    assert uploader("show", "1").code == 4


@pytest.mark.parametrize("age", ["soon", "-1d", "999999999999d"])
def test_what_is_not_an_age_is_refused(uploader: Command, age: str) -> None:
    answer = uploader("prune", "--older-than", age)
    assert answer.code == 2
    assert "30d" in answer.err
    assert "Traceback" not in answer.err


@pytest.mark.usefixtures("old")
def test_what_a_hook_of_the_configuration_was_not_told_stays(
    uploader: Command, sql: Sql, home: Path
) -> None:
    sql("INSERT INTO hooks (name, cursor) VALUES ('mail', 0)")
    (home / "with.toml").write_text(
        '[[hooks]]\nname = "mail"\non = ["ready"]\ncommand = ["true"]\n'
    )
    assert uploader("prune", "--config", "with.toml", "--json").json["jobs"] == 0
    assert uploader("prune", "--dry-run", "--json").json["jobs"] == 1, "no hook has that name"
    sql("UPDATE hooks SET cursor = 99")
    assert uploader("prune", "--config", "with.toml", "--json").json["jobs"] == 1


def test_without_a_store_nothing_is_created(uploader: Command, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*.db"))
    assert json.loads(uploader("prune", "--json").out)["jobs"] == 0
    assert sorted(tmp_path.rglob("*.db")) == before
