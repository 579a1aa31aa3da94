from __future__ import annotations

import hashlib
import sys
import time
from pathlib import Path

import pytest

from tests.remote.scripted import everything_said
from uploader.core.errors import RemoteError
from uploader.core.redact import MASK, redact
from uploader.core.verdict import Verdict
from uploader.remote.credentials import ApiKeySource


def source(
    tmp_path: Path,
    env_key: str | None = None,
    file: Path | None = None,
    command: str | None = None,
) -> ApiKeySource:
    return ApiKeySource(env_key, file, command, tmp_path / "auth.ini")


def failure(keys: ApiKeySource) -> RemoteError:
    with pytest.raises(RemoteError) as caught:
        keys.read()
    assert (caught.value.verdict, caught.value.code) == (Verdict.BLOCKED, "no_key")
    assert caught.value.hint
    assert caught.value.__context__ is None
    return caught.value


def test_the_first_source_that_is_named_wins(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("from-file\n")
    (tmp_path / "auth.ini").write_text("api_key = from-ini")
    command = f"{sys.executable} -c 'print(\"from-command\")'"
    assert source(tmp_path, "from-env", file, command).read().reveal() == "from-env"
    assert source(tmp_path, None, file, command).read().reveal() == "from-file"
    assert source(tmp_path, "", None, command).read().reveal() == "from-command"
    assert source(tmp_path).read().reveal() == "from-ini"


@pytest.mark.parametrize(
    "text",
    [
        "api_key = fw_k",
        "api_key=fw_k",
        "[fireworks]\napi_key: fw_k",
        "[DEFAULT]\nAPI_KEY = fw_k",
        "# a comment\n; another\napi_key = fw_k # mine\n",
        "api_key = 'fw_k' ; mine",
        'account_id = a\napi_key = "fw_k"',
        "[other]\napi_key = no\n[fireworks]\napi_key = fw_k",
        "\ufeffapi_key = fw_k\r\n",
    ],
)
def test_auth_ini_is_read_with_and_without_a_section(tmp_path: Path, text: str) -> None:
    (tmp_path / "auth.ini").write_text(text, "utf-8")
    assert source(tmp_path).read().reveal() == "fw_k"


def test_a_hash_within_a_key_is_not_a_comment(tmp_path: Path) -> None:
    (tmp_path / "auth.ini").write_text("api_key = a#b;c")
    assert source(tmp_path).read().reveal() == "a#b;c"


def test_a_changed_file_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("one")
    keys = source(tmp_path, file=file)
    assert keys.fingerprint() == hashlib.sha256(b"one").hexdigest()
    file.write_text("two")
    assert keys.fingerprint() == hashlib.sha256(b"two").hexdigest()
    file.unlink()
    assert keys.fingerprint() is None


@pytest.mark.parametrize("text", ["", "[fireworks]\n", "api_key =", "[other]\napi_key = x"])
def test_nothing_found_blocks(tmp_path: Path, text: str) -> None:
    (tmp_path / "auth.ini").write_text(text)
    assert "no Fireworks API key was found" in failure(source(tmp_path)).message


def test_no_file_at_all_blocks(tmp_path: Path) -> None:
    failure(source(tmp_path))


def test_a_named_file_that_is_not_there_blocks_and_names_it(tmp_path: Path) -> None:
    (tmp_path / "auth.ini").write_text("api_key = other")
    assert "missing" in failure(source(tmp_path, file=tmp_path / "missing")).message


@pytest.mark.parametrize("key", ["CANARY key", "CANARY\x00", "CANARYé", "CANARY\nkey", "CANARY€"])
def test_an_impossible_key_is_refused_and_never_printed(tmp_path: Path, key: str) -> None:
    assert "CANARY" not in everything_said(failure(source(tmp_path, env_key=key)))


def test_a_file_that_is_not_text_is_refused_and_never_printed(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(b"CANARY\xff\xfe")
    assert "CANARY" not in everything_said(failure(source(tmp_path, file=file)))


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (f"{sys.executable} -c 'print(\"CANARY\"); raise SystemExit(3)'", "exit code 3"),
        ("no-such-command-anywhere CANARY", "FileNotFoundError"),
        ("'unbalanced CANARY", "ValueError"),
        (" ", "IndexError"),
    ],
)
def test_a_failing_command_blocks_without_its_output(
    tmp_path: Path, command: str, why: str
) -> None:
    error = failure(source(tmp_path, command=command))
    assert why in error.message
    assert "CANARY" not in everything_said(error)


def test_a_command_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uploader.remote.credentials._COMMAND_S", 0.2)
    command = f"{sys.executable} -c 'import time; time.sleep(60)'"
    assert "no answer" in failure(source(tmp_path, command=command)).message


def test_no_shell_reads_the_command(tmp_path: Path) -> None:
    command = f"{sys.executable} -c 'import sys; print(sys.argv[1])' $HOME"
    assert source(tmp_path, command=command).read().reveal() == "$HOME"


def test_the_source_does_not_print_its_key(tmp_path: Path) -> None:
    assert "CANARY" not in repr(source(tmp_path, env_key="CANARY"))


def test_what_a_command_leaves_running_keeps_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uploader.remote.credentials._COMMAND_S", 0.3)
    began_s = time.monotonic()
    failed = failure(source(tmp_path, command="sh -c 'sleep 60 & echo fw_key'"))
    assert "no answer" in failed.message
    assert time.monotonic() - began_s < 30


def test_every_key_that_was_read_is_masked_from_then_on(tmp_path: Path) -> None:
    source(tmp_path, "an0ld+Canary/key").read()
    source(tmp_path, "theNewCanary0key").read()
    text = "a line: an0ld+Canary/key, THENEWCANARY0KEY"
    assert redact(text) == f"a line: {MASK}, {MASK}"


@pytest.mark.parametrize("before", ["[\n\rx]\n", "word\n  goes on\n", "\x0b\x0c\n \n"])
def test_no_line_of_auth_ini_spoils_those_after_it(tmp_path: Path, before: str) -> None:
    (tmp_path / "auth.ini").write_text(f"{before}[fireworks]\napi_key = fw_after_it\n")
    assert source(tmp_path).read().reveal() == "fw_after_it"
