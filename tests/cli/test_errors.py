"""Every way a command can end that needs no network, and what it may not say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer

from tests.cli.conftest import Command
from tests.model.build import LORA, folder
from uploader.cli.app import refuse_windows
from uploader.core.errors import UsageError

CANARY = "fw_canary0123456789"


def refused(uploader: Command, *arguments: object) -> tuple[int, str]:
    """The exit code and the two lines of an error; nothing is on stdout."""
    answer = uploader(*arguments)
    what, hint = answer.err.splitlines()[-2:]
    assert answer.out == ""
    assert what.startswith("error: ")
    assert hint.startswith("hint: ")
    assert "Traceback" not in answer.err
    return answer.code, what


def test_a_missing_folder(uploader: Command) -> None:
    assert refused(uploader, "enqueue", "nowhere")[0] == 4
    assert refused(uploader, "preflight", "nowhere")[0] == 4


def test_an_empty_folder(uploader: Command, home: Path) -> None:
    (home / "empty").mkdir()
    assert refused(uploader, "enqueue", "empty")[0] == 6


def test_a_file_is_not_a_folder(uploader: Command, model: Path) -> None:
    assert refused(uploader, "enqueue", model / "config.json")[0] == 2


@pytest.mark.parametrize("model_id", ["My_Model", "", "-x", "x" * 64, "1x"])
def test_an_illegal_model_id(model_id: str, uploader: Command, model: Path) -> None:
    assert refused(uploader, "enqueue", model, "--model-id", model_id)[0] == 2


@pytest.mark.parametrize("account", ["", "-", "a@b.c", "accounts/x"])
def test_an_illegal_account(account: str, uploader: Command, model: Path) -> None:
    assert refused(uploader, "enqueue", model, "--account", account)[0] == 2


def test_words_that_are_no_text(uploader: Command, model: Path) -> None:
    code, what = refused(uploader, "enqueue", model, "--display-name", "\udcff")
    assert (code, what) == (2, "error: --display-name is not valid UTF-8")


def test_an_adapter_without_its_base_model(uploader: Command, home: Path) -> None:
    config = b'{"r": 16, "target_modules": ["q_proj"], "base_model_name_or_path": "org/x"}'
    adapter = folder(home / "adapter", {**LORA, "adapter_config.json": config})
    code, what = refused(uploader, "enqueue", adapter)
    assert code == 2
    assert "--base-model" in what


def test_an_unknown_setting_in_the_environment(
    uploader: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPLOADER_TRANSFER__MAX_FILE", "3")
    code, what = refused(uploader, "status")
    assert code == 2
    assert "UPLOADER_TRANSFER__MAX_FILE" in what


def test_an_unknown_setting_in_the_file(uploader: Command, home: Path) -> None:
    (home / "other.toml").write_text("[transfer]\nmax_fils = 3\n")
    assert refused(uploader, "--config", "other.toml", "status")[0] == 2
    assert refused(uploader, "--config", "missing.toml", "status")[0] == 2


@pytest.mark.parametrize(
    "arguments",
    [("frobnicate",), ("status", "--frob"), ("enqueue",), ("wait",), ("events", "--since", "x")],
)
def test_a_wrong_command_line(arguments: tuple[str, ...], uploader: Command) -> None:
    answer = uploader(*arguments)
    assert (answer.code, answer.out) == (2, "")


@pytest.mark.parametrize("ref", ["7", "no-such-model", "9" * 40, "-1x"])
@pytest.mark.parametrize("verb", ["show", "explain", "logs", "status", "wait", "pause", "remove"])
def test_no_such_job_and_no_store_is_made_to_say_so(
    verb: str, ref: str, uploader: Command, home: Path
) -> None:
    assert refused(uploader, verb, "--", ref)[0] == 4
    assert not (home / "state").exists()


def test_no_such_job_in_a_store(uploader: Command, model: Path) -> None:
    uploader("enqueue", model)
    for verb in ("show", "cancel", "status"):
        assert refused(uploader, verb, "7")[0] == 4


def test_a_newer_store(uploader: Command, model: Path, sql: Callable[[str], None]) -> None:
    uploader("enqueue", model)
    sql("UPDATE alembic_version SET version_num = '9999'")
    for arguments in (("status",), ("enqueue", model), ("pause", "1"), ("db", "upgrade")):
        code, what = refused(uploader, *arguments)
        assert code == 11
        assert "newer" in what


def test_a_state_folder_that_is_a_file(uploader: Command, model: Path, home: Path) -> None:
    (home / "state").write_text("x")
    assert uploader("enqueue", model).code == 11


def test_a_store_that_is_not_a_database(uploader: Command, model: Path, home: Path) -> None:
    (home / "state").mkdir()
    (home / "state" / "uploader.db").write_text("no database at all, " * 99)
    assert uploader("enqueue", model).code == 11
    assert uploader("status").code == 11


@pytest.mark.parametrize("words", [("status",), ("pause", "1"), ("logs",), ("run", "--until-idle")])
def test_an_error_of_the_store_names_it_and_the_setting(
    words: tuple[str, ...], uploader: Command, home: Path
) -> None:
    (home / "state").mkdir(mode=0o700)
    store = home / "state" / "uploader.db"
    store.write_text("no database at all, " * 99)
    answer = uploader(*words)
    assert answer.code == 11
    assert f"error: the state store {store} is damaged" in answer.err
    assert "; its place is set by state_dir (UPLOADER_STATE_DIR)" in answer.err


@pytest.mark.parametrize(
    ("url", "place"),
    [
        (f"postgresql://me:{CANARY}@127.0.0.1:1/db", "127.0.0.1/db"),
        (f"postgresql://127.0.0.1:1/db&password={CANARY}", "127.0.0.1/***"),
        (f"postgresql://127.0.0.1:1/db;password={CANARY}", "127.0.0.1/***"),
        (f"postgresql://me {CANARY}/db", "***"),
    ],
)
def test_a_store_elsewhere_is_named_without_its_password(
    uploader: Command, monkeypatch: pytest.MonkeyPatch, url: str, place: str
) -> None:
    monkeypatch.setenv("UPLOADER_DATABASE_URL", url)
    answer = uploader("status")
    assert f"error: the state store {place} cannot be reached" in answer.err
    assert "its place is set by database_url (UPLOADER_DATABASE_URL)" in answer.err
    assert CANARY not in answer.err


def test_a_bug_is_called_one_and_keeps_secrets(
    uploader: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> None:
        raise ValueError(f"https://x/y?X-Goog-Signature=abc {CANARY} \x1b[2J")

    monkeypatch.setattr("uploader.wiring.Store.find", broken)
    answer = uploader("status")
    assert (answer.code, answer.out) == (1, "")
    assert "error: this is a bug: unexpected ValueError" in answer.err
    assert "Traceback" in answer.err
    for secret in (CANARY, "abc", "\x1b"):
        assert secret not in answer.err


def test_ctrl_c_is_not_a_bug(uploader: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("uploader.wiring.Store.find", interrupted)
    answer = uploader("status")
    assert (answer.code, answer.err.strip()) == (130, "")


@pytest.mark.parametrize("answer", [KeyboardInterrupt, EOFError])
def test_neither_ctrl_c_nor_ctrl_d_instead_of_an_answer_is_a_bug(
    answer: type[BaseException], uploader: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def readline() -> str:
        raise answer

    def asked(_: object) -> None:
        typer.confirm("Delete it?", err=True)

    monkeypatch.setattr("sys.stdin", SimpleNamespace(readline=readline))
    monkeypatch.setattr("uploader.wiring.Store.find", asked)
    ended = uploader("status")
    assert (ended.code, "Traceback" in ended.err, "bug" in ended.err) == (130, False, False)
    assert uploader("status", "--json").json["error"]["code"] == "interrupted"


def test_windows_is_refused() -> None:
    with pytest.raises(UsageError):
        refuse_windows("win32")
    refuse_windows("darwin")


def test_no_command_prints_a_secret(
    uploader: Command,
    model: Path,
    sql: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    terminal: Callable[[int], None],
) -> None:
    monkeypatch.setenv("FIREWORKS_API_KEY", CANARY)
    uploader("enqueue", model)
    sql(f"UPDATE files SET session_uri = 'https://s/o?upload_id={CANARY}', session_at = created_at"
        " FROM jobs")  # fmt: skip
    commands = [
        ("status",), ("status", "--json"), ("show", "1"), ("show", "1", "--json"), ("logs",),
        ("events",), ("explain", "1"), ("config", "show"), ("config", "check"), ("db", "current"),
        ("enqueue", model, "--json"), ("pause", "1"), ("cancel", "1", "--delete-remote"),
    ]  # fmt: skip
    for columns in (None, 80):
        if columns:
            terminal(columns)
        for command in commands:
            answer = uploader(*command)
            assert CANARY not in answer.out + answer.err
            assert "upload_id" not in answer.out + answer.err
