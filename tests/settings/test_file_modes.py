"""What others may read or write: what it may not set, and what is reported."""

from __future__ import annotations

import os
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.settings.conftest import KEY, from_file
from uploader.core.errors import UsageError
from uploader.settings.load import load


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_may_write_runs_no_command(config: Path, mode: int) -> None:
    config.write_text("[fireworks]\napi_key_command = 'pass show fw'\n")
    config.chmod(mode)
    with pytest.raises(UsageError) as caught:
        load(config, {})
    assert "others may write" in caught.value.message
    assert f"chmod go-w {config}" in caught.value.hint
    assert "pass show" not in caught.value.message


def test_a_file_of_another_user_runs_no_command(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_text("[fireworks]\napi_key_command = 'pass show fw'\n")
    os.chown(config, 12345, -1)
    monkeypatch.setattr("os.geteuid", lambda: 54321)
    with pytest.raises(UsageError, match="others may write"):
        load(config, {})


def test_without_a_command_such_a_file_is_read(config: Path) -> None:
    config.write_text("[transfer]\nmax_files = 3\n")
    config.chmod(0o666)
    assert load(config, {}).transfer.max_files == 3


@pytest.mark.parametrize(("mode", "told"), [(0o600, False), (0o640, True), (0o604, True)])
def test_a_key_that_others_may_read_is_reported(tmp_path: Path, mode: int, *, told: bool) -> None:
    file = tmp_path / "key"
    file.write_text(KEY)
    file.chmod(mode)
    found = load(environ={"UPLOADER_FIREWORKS__API_KEY_FILE": str(file)})
    assert bool(found.warnings) is told
    assert KEY not in "".join(found.warnings)


@pytest.mark.parametrize(("mode", "told"), [(0o600, False), (0o640, True), (0o622, True)])
def test_every_secret_that_others_may_read_or_write_is_reported(
    config: Path, tmp_path: Path, mode: int, *, told: bool
) -> None:
    files = {name: tmp_path / name for name in ("tls", "first", "it's second")}
    for file in files.values():
        file.write_text("canary")
        file.chmod(mode)
    found = from_file(
        config,
        f"""
        [api]
        tls_key_file = "{files["tls"]}"
        [[hooks]]
        name = "one"
        on = ["ready"]
        webhook = "https://x.example"
        secret_file = ["{files["first"]}", "{files["it's second"]}"]
        [[hooks]]
        name = "two"
        on = ["ready"]
        command = ["true"]
        """,
    )
    words = {
        "tls": "the TLS key",
        "first": "the secret of hook one",
        "it's second": "the secret of hook one",
    }
    assert found.warnings == tuple(
        f"others may read or replace {words[name]} in {file}: `chmod 600 {shlex.quote(str(file))}`"
        + (", unless its group is meant to read it" if mode == 0o640 else "")
        for name, file in files.items()
        if told
    )


@pytest.mark.parametrize(
    ("mode", "told"), [(0o640, False), (0o644, True), (0o660, True), (0o600, False)]
)
def test_a_secret_of_roots_may_be_read_by_its_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, *, told: bool
) -> None:
    file = tmp_path / "tls"
    file.write_text("canary")
    file.chmod(mode)
    ask = Path.stat

    def roots(path: Path, **how: Any) -> os.stat_result:
        found = ask(path, **how)
        return os.stat_result((*found[:4], 0, *found[5:])) if path == file else found

    monkeypatch.setattr(Path, "stat", roots)
    us = os.geteuid() or 4242
    monkeypatch.setattr(os, "geteuid", lambda: us)
    found = load(environ={"UPLOADER_API__TLS_KEY_FILE": str(file)})
    words = f"others may read or replace the TLS key in {file}: `chmod g-w,o= {file}`"
    assert found.warnings == ((words,) if told else ())


def test_a_secret_of_another_user_is_told_whoever_may_read_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They say which account the models go to."""
    file = tmp_path / "key"
    file.write_text("canary")
    file.chmod(0o440)
    ask = Path.stat

    def theirs(path: Path, **how: Any) -> os.stat_result:
        found = ask(path, **how)
        return os.stat_result((*found[:4], 4343, *found[5:])) if path == file else found

    monkeypatch.setattr(Path, "stat", theirs)
    (warning,) = load(environ={"UPLOADER_FIREWORKS__API_KEY_FILE": str(file)}).warnings
    assert f"the API key in {file}: it is another user's (uid 4343)" in warning


def test_a_secret_that_is_not_there_hides_no_other_that_others_may_read(
    tmp_path: Path, config: Path
) -> None:
    file = tmp_path / "tls"
    file.touch()
    file.chmod(0o644)
    found = from_file(
        config,
        f"[fireworks]\napi_key_file = '/none'\n[api]\ntls_key_file = '{file}'\n",
    )
    assert [str(file) in warning for warning in found.warnings] == [True]


@pytest.mark.parametrize("line", ["base_url = 'https://x.example'", "ca_bundle = '/etc/ca'"])
def test_a_file_that_others_may_write_does_not_say_where_the_key_goes(
    config: Path, line: str
) -> None:
    config.write_text(f"[fireworks]\n{line}\n")
    assert load(config, {})
    config.chmod(0o666)
    with pytest.raises(UsageError, match="is refused: others may write"):
        load(config, {})
    variable = {"FIREWORKS_BASE_URL": "https://y.example", "SSL_CERT_FILE": "/etc/other"}
    assert load(config, variable)  # the environment is the user's own


def test_an_auth_ini_that_others_may_read_is_reported_if_the_key_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    ini = tmp_path / ".fireworks/auth.ini"
    ini.parent.mkdir()
    ini.write_text("api_key = fw_x\n")
    ini.chmod(0o644)
    assert any(str(ini) in warning for warning in load(None, {}).warnings)
    assert not load(None, {"FIREWORKS_API_KEY": "fw_y"}).warnings
    ini.chmod(0o600)
    assert not load(None, {}).warnings


def test_the_store_its_log_and_every_backup_are_private(tmp_path: Path) -> None:
    store = tmp_path / "uploader.db"
    old = tmp_path / "uploader.db.backup-0001"
    old.touch()
    private = load(None, {"UPLOADER_STATE_DIR": str(tmp_path)}).private_paths
    assert {store, Path(f"{store}-wal"), Path(f"{store}.backup"), old} <= {*private}


@pytest.mark.parametrize(
    "text",
    [
        "database_url = 'postgresql://a@h/d'",
        "database_secret_file = '/tmp/s'",
        "state_dir = '/tmp/s'",
        "[fireworks]\napi_key_file = '/etc/hostname'",
    ],
)
def test_a_file_that_others_may_write_names_no_job_table_and_no_key(
    config: Path, text: str
) -> None:
    config.write_text(text)
    config.chmod(0o666)
    with pytest.raises(UsageError, match="others may write"):
        load(config, {})


def test_what_is_read_is_what_is_judged(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_text("[fireworks]\napi_key_command = 'pass show fw'\n")
    config.chmod(0o666)
    safe = config.with_name("safe.toml")
    safe.write_text("")
    read = tomllib.loads

    def swapped(text: str) -> object:
        safe.rename(config)  # whoever may write the folder puts a private file in its place
        return read(text)

    monkeypatch.setattr("tomllib.loads", swapped)
    with pytest.raises(UsageError, match="others may write"):
        load(config, {})


def test_a_file_that_others_may_write_does_not_open_the_api(config: Path) -> None:
    config.write_text("[api]\nroots = ['/']\n")
    config.chmod(0o666)
    with pytest.raises(UsageError, match=r"api\.roots is refused"):
        load(config, {})
