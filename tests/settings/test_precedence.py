"""One order of precedence: the environment, the file, the default; where each is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.settings.conftest import from_file
from uploader.core.errors import UsageError
from uploader.settings.load import VARIABLES, describe, find_config, load


def test_defaults(home: Path) -> None:
    found = load(environ={})
    assert found.state_dir == home / ".local/state/uploader" or found.state_dir.is_absolute()
    assert found.database_url == f"sqlite:///{found.state_dir}/uploader.db"
    assert found.auth_ini == home / ".fireworks/auth.ini"
    assert found.fireworks.base_url == "https://api.fireworks.ai"
    assert (found.fireworks.account_id, found.fireworks.api_key) == (None, None)
    assert (found.transfer.max_jobs, found.transfer.max_files) == (2, "auto")
    assert found.transfer.chunk_size_bytes == "auto"
    assert found.transfer.slowest_uplink_bps == 256 * 1024
    assert found.transfer.bandwidth_limit.never_limits
    assert (found.validation.poll_interval_s, found.validation.deadline_s) == (30.0, 3600.0)
    assert (found.retry.initial_delay_s, found.retry.max_delay_s) == (1.0, 60.0)
    assert found.lease.duration_s == 60.0
    assert found.config_file is None


def test_the_environment_wins_over_the_file_and_the_file_over_the_default(config: Path) -> None:
    text = "[transfer]\nmax_files = 5\nmax_jobs = 3\n"
    found = from_file(config, text, UPLOADER_TRANSFER__MAX_FILES="6")
    assert (found.transfer.max_files, found.transfer.max_jobs) == (6, 3)
    origins = {name: origin for name, _, origin in describe(found)}
    assert origins["transfer.max_files"] == "UPLOADER_TRANSFER__MAX_FILES"
    assert origins["transfer.max_jobs"] == str(config)
    assert origins["lease.duration"] == "default"


def test_an_empty_variable_counts_as_not_set() -> None:
    environ = dict.fromkeys([*VARIABLES, "FIREWORKS_API_KEY", "FIREWORKS_BASE_URL"], "")
    assert load(environ=environ) == load(environ={})


def test_which_file_is_read(home: Path, config: Path) -> None:
    assert find_config(None, {}) is None
    machine = home / "etc" / "config.toml"
    user = home / ".config/uploader/config.toml"
    named = {"UPLOADER_CONFIG": "~/named.toml"}
    for file, environ in ((machine, {}), (user, {}), (home / "named.toml", named), (config, named)):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("")
        if file == user and find_config(None, {}) == machine:
            pytest.skip("another platform's folder")
        assert find_config(config if file == config else None, environ) == file


@pytest.mark.parametrize("environ", [{}, {"UPLOADER_CONFIG": "missing.toml"}])
def test_a_named_file_has_to_exist(tmp_path: Path, environ: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="no configuration file") as caught:
        load(None if environ else tmp_path / "missing.toml", environ)
    assert caught.value.exit_code == 2


def _homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container with a numeric user: no HOME, and no line in /etc/passwd."""
    for name in ("HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", _nobody)


def _nobody(uid: int) -> None:
    raise KeyError(uid)


def test_without_a_home_the_state_folder_is_all_that_is_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _homeless(monkeypatch)
    found = load(environ={"UPLOADER_STATE_DIR": "/var/lib/uploader"})
    assert found.state_dir == Path("/var/lib/uploader")
    assert found.auth_ini is None
    assert found.config_file is None


def test_without_a_home_and_a_state_folder_the_setting_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _homeless(monkeypatch)
    with pytest.raises(UsageError) as caught:
        load(environ={})
    assert "UPLOADER_STATE_DIR" in caught.value.hint


def test_of_several_names_for_one_setting_the_first_wins() -> None:
    names = (
        "UPLOADER_FIREWORKS__BASE_URL",
        "FIREWORKS_BASE_URL",
        "FIREWORKS_API_BASE_URL",
        "FIREWORKS_API_BASE",
    )
    environ = {name: f"https://host{number}" for number, name in enumerate(names)}
    for number, name in enumerate(names):
        assert load(environ=environ).fireworks.base_url == f"https://host{number}"
        del environ[name]


def test_a_relative_state_folder_becomes_absolute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    found = load(environ={"UPLOADER_STATE_DIR": "var/state"})
    assert found.state_dir == Path("/var/state")
    assert found.database_url == "sqlite:////var/state/uploader.db"


def test_a_configuration_under_a_name_that_is_too_long_is_not_there() -> None:
    with pytest.raises(UsageError, match="there is no configuration file"):
        load(Path("/" + "x" * 300), {})


def test_a_home_that_is_too_long_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/" + "x" * 300)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    with pytest.raises(UsageError) as caught:
        load(None, {})
    assert "set UPLOADER_STATE_DIR" in caught.value.hint
