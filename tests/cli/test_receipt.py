"""`uploader receipt` prints proof of a job that is done, `uploader verify` says what differs."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path

import google_crc32c
import pytest

from tests.cli.conftest import Command
from uploader.cli.reading import reading
from uploader.core.resumable import encode_crc32c


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
    for given, origin in (("receipt.json", f"receipt {home / 'receipt.json'}"), ("1", "job 1")):
        same = uploader("verify", given)
        assert (same.code, same.err) == (0, "")
        words = f"as they were sent, 6 of them by CRC32C only (compared with {origin})\n"
        assert same.out.endswith(words)
    (done / "config.json").unlink()
    differs = uploader("verify", "receipt.json", "--path", done)
    assert differs.code == 12
    assert differs.out.startswith("config.json\tmissing\t")
    assert differs.err.startswith("error: ")
    assert f"(compared with receipt {home / 'receipt.json'})\n" in differs.err
    document = uploader("verify", "1", "--json").json
    assert document["error"]["code"] == "differs"
    assert [one["path"] for one in document["differences"]] == ["config.json"]


@pytest.fixture
def planted(uploader: Command, done: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A receipt of files that were changed afterwards; the user stands where they are."""
    receipt = uploader("receipt", "1").json
    (done / "config.json").write_text(changed := "{ }")
    digest = hashlib.sha256(changed.encode()).hexdigest()
    crc32c = encode_crc32c(google_crc32c.value(changed.encode()))
    for one in receipt["subject"]:
        if one["name"] == "config.json":
            one["digest"] = {"sha256": digest}
    for one in receipt["predicate"]["files"]:
        if one["name"] == "config.json":
            one |= {"size_bytes": len(changed), "crc32c": crc32c}
    monkeypatch.chdir(done)
    return json.dumps(receipt)


@pytest.mark.parametrize("name", ["1", "my-model-3p1", "accounts/acme/models/my-model-3p1"])
def test_a_file_with_the_name_of_a_job_is_not_its_receipt(
    uploader: Command, planted: str, name: str
) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(planted)
    answer = uploader("verify", name, "--json")
    assert (answer.code, answer.json["error"]["code"]) == (12, "differs")
    assert answer.json["error"]["message"].endswith("(compared with job 1)")
    assert (answer.json["job_id"], answer.json["receipt"]) == (1, None)
    asked_for = uploader("verify", f"./{name}")
    assert asked_for.code == 0
    assert f"(compared with receipt {Path.cwd() / name})" in asked_for.out


def test_whoever_names_a_receipt_as_a_job_hears_how_a_file_is_named(
    uploader: Command, planted: str
) -> None:
    Path("receipt").write_text(planted)
    answer = uploader("verify", "receipt")
    assert answer.code == 4
    assert "there is no job receipt" in answer.err
    assert "as ./receipt has" in answer.err


def test_a_verification_is_a_document(uploader: Command, done: Path, home: Path) -> None:
    (home / "receipt.json").write_text(uploader("receipt", "1").out)
    document = uploader("verify", "receipt.json", "--json").json
    assert (document["job_id"], document["receipt"]) == (None, str(home / "receipt.json"))
    document = uploader("verify", "1", "--json").json
    assert document["schema"] == "uploader.verify/1"
    assert (document["job_id"], document["receipt"]) == (1, None)
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


@pytest.mark.usefixtures("done")
@pytest.mark.parametrize("verb", ["receipt", "verify"])
def test_rows_without_the_seal_of_their_job_table_prove_nothing(
    uploader: Command, home: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    """With a secret, what was sent is what was sealed: in PostgreSQL, others may write rows."""
    (home / "secret").write_text("s" * 64)
    (home / "secret").chmod(0o600)
    assert uploader(verb, "1").code == 0
    monkeypatch.setenv("UPLOADER_DATABASE_SECRET_FILE", str(home / "secret"))
    refused = uploader(verb, "1")
    assert refused.code == 12
    assert "no seal of this job table" in refused.err


def test_what_is_neither_job_nor_receipt(uploader: Command, done: Path, home: Path) -> None:
    assert uploader("verify", "receipt.json").code == 4
    (home / "receipt.json").write_text(json.dumps({"_type": "x"}))
    assert uploader("verify", "receipt.json").code == 2
    elsewhere = uploader("verify", "1", "--path", done / "nowhere")
    assert (elsewhere.code, "say where the files are now: --path" in elsewhere.err) == (4, True)
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
