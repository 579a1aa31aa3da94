"""The API key does not leave with a model, wherever it is, and whatever the file is called."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Command, home
from tests.cli.conftest import uploader as command
from tests.model.build import BASE, folder
from uploader.core.exits import Exit
from uploader.model.folder import SECRET_FILE
from uploader.model.links import Private
from uploader.service.install import planned
from uploader.settings import places
from uploader.settings.load import load

__all__ = ["command", "home"]
KEY = "fw_canary0123456789"


@pytest.fixture(autouse=True)
def machine(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In place of /etc/uploader."""
    monkeypatch.setattr(places, "SYSTEM", home / "etc")
    monkeypatch.setattr("uploader.service.install.SYSTEM", home / "etc")
    return home / "etc"


@pytest.fixture
def model(home: Path) -> Path:
    return folder(home / "model", BASE)


def written(file: Path, text: str = KEY) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{text}\n")
    file.chmod(0o600)
    return file


def is_private(file: Path, **environment: str) -> bool:
    return Private(load(None, environment).private_paths).holds(file.stat())


def refused(command: Command, model: Path) -> set[str]:
    answer = command("enqueue", "--allow", "outside_link", model, "--json")
    assert answer.code == Exit.PREFLIGHT
    return {one["file"] for one in answer.json["findings"] if one["check"] == SECRET_FILE}


@pytest.mark.parametrize("system", [False, True])
def test_the_key_file_of_the_service_is_private_though_no_setting_names_it(*, system: bool) -> None:
    settings = load(None, {})
    key = planned(settings, system=system, platform="linux").service.key_file
    assert key in settings.private_paths


@pytest.mark.parametrize("system", [False, True])
def test_a_link_to_the_key_file_of_the_service_is_refused_though_links_are_allowed(
    model: Path, command: Command, *, system: bool
) -> None:
    key = planned(load(None, {}), system=system, platform="linux").service.key_file
    assert key
    (model / "notes.txt").symlink_to(written(key))
    assert refused(command, model) == {"notes.txt"}


def test_a_copy_next_to_the_key_or_the_configuration_is_private(home: Path, machine: Path) -> None:
    own = home / "home/.config/uploader"
    copies = {written(machine / "api-key~"), written(own / "config.toml.bak")}
    assert {copy for copy in copies if is_private(copy)} == copies


def noting(asked: list[str], call: Callable[..., Any]) -> Callable[..., Any]:
    def noted(path: object, *of: Any, **how: Any) -> object:
        asked.append(str(path))
        return call(path, *of, **how)

    return noted


def test_only_the_disk_of_the_job_table_is_asked_what_is_private(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one that is silent holds up no job."""
    written(machine / "api-key~")
    settings = load(None, {"CREDENTIALS_DIRECTORY": str(machine)})

    asked: list[str] = []
    with monkeypatch.context() as patch:
        for call in ("stat", "scandir", "listdir"):
            patch.setattr(os, call, noting(asked, getattr(os, call)))
        private = settings.private_paths
    assert machine in private
    assert {*asked} <= {str(settings.state_dir)}


def test_what_systemd_hands_over_is_private_for_the_service(home: Path) -> None:
    copy = written(home / "credentials/fireworks-api-key")
    assert is_private(copy, CREDENTIALS_DIRECTORY=str(copy.parent))
    for nothing in ("", str(home / "none"), "/" + "x" * 5000):
        assert not is_private(copy, CREDENTIALS_DIRECTORY=nothing)


def test_a_file_that_holds_the_key_of_the_environment_is_refused_by_enqueue(
    model: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    (model / "notes.txt").write_text(f"export FIREWORKS_API_KEY={KEY}\n")
    monkeypatch.setenv("FIREWORKS_API_KEY", KEY)
    assert refused(command, model) == {"notes.txt"}
