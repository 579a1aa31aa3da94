"""What a shell offers for an unfinished word."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Answer, Command
from tests.model.build import BASE, folder

Sql = Callable[[str], None]


@pytest.fixture
def complete(uploader: Command, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Answer]:
    """What bash gets for that line, whose last word is unfinished."""

    def ask(line: str) -> Answer:
        monkeypatch.setenv("_UPLOADER_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(line.count(" ")))
        answer = uploader()
        monkeypatch.delenv("_UPLOADER_COMPLETE")
        return answer

    return ask


@pytest.mark.usefixtures("store")
def test_jobs_are_offered_by_id_and_once_by_their_model(
    uploader: Command, home: Path, complete: Callable[[str], Answer]
) -> None:
    for name in ("one", "two"):
        uploader("enqueue", folder(home / name, BASE))
    uploader("cancel", "one")
    uploader("enqueue", home / "one")
    answer = complete("uploader pause ")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.split() == ["1", "2", "3", "one", "two"]
    assert complete("uploader explain t").out.split() == ["two"]


def test_checks_are_offered(complete: Callable[[str], Answer]) -> None:
    answer = complete("uploader enqueue --allow empty_")
    assert (answer.code, answer.out.split()) == (0, ["empty_folder", "empty_file"])


def test_without_a_store_there_is_nothing_and_none_is_made(
    complete: Callable[[str], Answer], home: Path
) -> None:
    answer = complete("uploader pause ")
    assert (answer.code, answer.out.strip(), answer.err) == (0, "", "")
    assert not (home / "state").exists()
