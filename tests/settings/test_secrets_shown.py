"""No key, password or command is shown, whatever is asked or refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.settings.conftest import KEY, from_file, refusal
from uploader.core.redact import ApiKey
from uploader.settings.load import describe, load


def test_the_key_is_kept_and_never_shown() -> None:
    found = load(environ={"FIREWORKS_API_KEY": f" {KEY}\t", "FIREWORKS_ACCOUNT_ID": "acme"})
    assert found.fireworks.api_key == ApiKey(KEY)
    assert found.fireworks.account_id == "acme"
    shown = [repr(found), str(found), str(describe(found)), found.model_dump_json()]
    assert not [text for text in shown if KEY in text]
    assert ("fireworks.api_key", "set", "FIREWORKS_API_KEY") in describe(found)


@pytest.mark.parametrize(
    ("key", "flaw"),
    [
        (f'"{KEY}"', "quotes"),
        (f"'{KEY}'", "quotes"),
        (f"“{KEY}”", "quotes"),
        (f"Bearer {KEY}", "Bearer"),
        (f"FIREWORKS_API_KEY={KEY}", "its variable"),
        (f"export FIREWORKS_API_KEY={KEY}", "its variable"),
        (f"api_key: {KEY}", "its variable"),
        (f"{KEY}\n", "line end"),
        (f"{KEY}\r\n", "line end"),
        ("k" * 5000, "longer"),
    ],
)
def test_what_people_paste_along_with_a_key_is_named(config: Path, key: str, flaw: str) -> None:
    error = refusal(config, "", FIREWORKS_API_KEY=key)
    assert flaw in error.message
    assert KEY not in error.message + error.hint


@pytest.mark.parametrize("key", ["two words", "tab\there", "schlüssel", "new\nline"])
def test_a_key_that_no_header_carries(config: Path, key: str) -> None:
    error = refusal(config, "", FIREWORKS_API_KEY=key)
    assert key not in error.message + error.hint


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("UPLOADER_DATABASE_URL", "mysql://me:canary@host/db"),
        ("UPLOADER_FIREWORKS__BASE_URL", "https://me:canary@host"),
        ("UPLOADER_FIREWORKS__ACCOUNT_ID", "fw_canary00000 x"),
    ],
)
def test_a_refused_secret_is_not_printed(config: Path, name: str, value: str) -> None:
    error = refusal(config, "", **{name: value})
    assert "canary" not in error.message + error.hint


def test_passwords_and_commands_are_masked(config: Path) -> None:
    text = (
        "database_url = 'postgresql://me:canary@host/db?password=canary'\n"
        "[fireworks]\napi_key_command = 'echo canary'\napi_key_file = '~/key'\n"
    )
    found = from_file(config, text)
    assert "canary" in found.database_url
    assert "canary" not in repr(found) + str(describe(found))
    values = {name: value for name, value, _ in describe(found)}
    assert values["database_url"] == "postgresql://***@host/db?***"
    assert values["fireworks.api_key_command"] == "set"
    assert found.fireworks.api_key_file == Path.home() / "key"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgres://me:canary@host/db", "postgres://***@host/db"),
        ("postgresql://host/db", "postgresql://host/db"),
        ("postgresql://me@host/db?password=canary@canary", "postgresql://***"),
        ("postgresql://me:canary?canary@host/db", "postgresql://***"),
        ("postgresql:///db?host=/run&password=canary", "postgresql:///db?***"),
        ("postgresql://me:canary/db", "postgresql://***"),
        ("postgresql://me:canary", "postgresql://***"),
        ("postgresql://me:can\nary@host/db", "postgresql://***@host/db"),
        ("postgresql://me:can\nary/db", "postgresql://***"),
        ("postgresql://one:5432,[::1]:5433/db", "postgresql://one:5432,[::1]:5433/db"),
        ("postgresql://host/db&password=canary", "postgresql://host/***"),
        ("postgresql://host/db;password=canary?x=y", "postgresql://host/***?***"),
        ("postgresql://host/db#canary", "postgresql://host/***"),
        ("postgresql://me canary/db", "postgresql://***"),
        ("postgresql://me:can/ary", "postgresql://***"),
        ("postgresql://me:canary@host:canary/db", "postgresql://***"),
        ("postgresql+psycopg:me:canary@host/db", "***"),
        ("postgresql+me:canary://host/db", "***"),
        # Digits after the name of a user, or the port of a host.
        ("postgresql://me:12345/db", "postgresql://***"),
        ("postgresql://:12345/db", "postgresql://***"),
        ("postgresql://me:12,345/db", "postgresql://***"),
        ("postgresql://me:canary@host:12345/db", "postgresql://***@host:12345/db"),
        ("postgresql://host:5432/db", "postgresql://host:5432/db"),
        ("postgresql://localhost:12345/db", "postgresql://localhost:12345/db"),
        ("postgresql://10.0.0.7:12345/db", "postgresql://10.0.0.7:12345/db"),
        ("postgresql://db.example:12345", "postgresql://db.example:12345"),
        ("postgresql://[fe80::1%eth0]:12345/db", "postgresql://[fe80::1%eth0]:12345/db"),
    ],
)
def test_of_a_database_url_no_password_is_shown(url: str, shown: str) -> None:
    found = load(environ={"UPLOADER_DATABASE_URL": url})
    assert found.database_url == url
    assert ("database_url", shown, "UPLOADER_DATABASE_URL") in describe(found)
    assert "canary" not in repr(found)


def test_the_whole_path_of_a_job_table_in_a_file_is_shown(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/me@home/jobs.db"
    found = load(environ={"UPLOADER_DATABASE_URL": f"{url}?key=canary"})
    assert found.given["database_url"].text == f"{url}?***"
