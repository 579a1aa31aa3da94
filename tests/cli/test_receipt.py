"""`uploader receipt` prints proof of a job that is done, `uploader verify` says what differs."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from uploader.cli.reading import reading


@pytest.fixture
def done(uploader: Command, model: Path, finish: Callable[[str], None]) -> Path:
    assert uploader("enqueue", model).code == 0
    finish("done")
    return model


def test_a_receipt_is_kept_and_compared(uploader: Command, done: Path, home: Path) -> None:
    answer = uploader("receipt", "1")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out == uploader("receipt", "1", "--json").out
    (home / "receipt.json").write_text(answer.out)
    for given in ("receipt.json", "1"):
        same = uploader("verify", given)
        assert (same.code, same.err) == (0, "")
        assert "as they were sent, 6 of them by CRC32C only" in same.out
    (done / "config.json").unlink()
    differs = uploader("verify", "receipt.json", "--path", done)
    assert differs.code == 12
    assert differs.out.startswith("config.json\tmissing\t")
    assert "error: " in differs.err
    document = uploader("verify", "1", "--json").json
    assert document["error"]["code"] == "differs"
    assert [one["path"] for one in document["differences"]] == ["config.json"]


def test_a_verification_is_a_document(uploader: Command, done: Path) -> None:
    document = uploader("verify", "1", "--json").json
    assert document["schema"] == "uploader.verify/1"
    assert (document["path"], document["differences"]) == (str(done), [])
    assert document["files_total"] == sum(path.is_file() for path in done.rglob("*"))


@pytest.mark.usefixtures("done")
def test_sums_are_lines(uploader: Command) -> None:
    lines = uploader("receipt", "1", "--sums").out.splitlines()
    assert [len(line.split("  ")[0]) for line in lines] == [64] * len(lines)
    assert any(line.endswith("  config.json") for line in lines)
    assert uploader("receipt", "1", "--sums", "--json").code == 2


def test_files_that_changed_have_no_receipt(uploader: Command, done: Path) -> None:
    (done / "config.json").write_text("{ }")
    answer = uploader("receipt", "1", "--json")
    assert (answer.code, answer.json["error"]["code"]) == (12, "differs")
    (done / "config.json").unlink()
    assert uploader("receipt", "1").code == 12


def test_a_job_that_is_not_done_is_refused(uploader: Command, model: Path) -> None:
    uploader("enqueue", model)
    assert uploader("receipt", "1").code == uploader("verify", "1").code == 5


def test_what_is_neither_job_nor_receipt(uploader: Command, done: Path, home: Path) -> None:
    assert uploader("verify", "receipt.json").code == 4
    (home / "receipt.json").write_text(json.dumps({"_type": "x"}))
    assert uploader("verify", "receipt.json").code == 2
    assert uploader("verify", "1", "--path", done / "nowhere").code == 4
    assert uploader("verify", "x" * 300).code == 4


def test_a_terminal_has_a_bar() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    with reading(10, stream) as read:
        read(10)
    assert "reading" in stream.getvalue()


def test_the_bar_has_the_units_of_everything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setenv("FORCE_COLOR", "1")
    with reading(3 << 30, stream) as read:
        read(1 << 30)
        read(1 << 30)
    assert "2.0/3.0 GiB" in stream.getvalue()
    assert "GB" not in stream.getvalue()
