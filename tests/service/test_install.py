"""`uploader service`: the unit, the property list, and what is asked of the service manager."""

from __future__ import annotations

import os
import plistlib
import pwd
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cli.conftest import Command, home, uploader
from uploader.core.errors import NotFound, UsageError
from uploader.service import install
from uploader.service.install_units import SYSTEM_STATE, Service, launchd_plist, systemd_unit
from uploader.settings.load import load

__all__ = ["home", "uploader"]

ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="no systemd-analyze")
#: Of `systemd-analyze security`, 0.0 (safe) to 10.0: "OK" ends at 5.
MOST_EXPOSED = {True: 3.0, False: 8.0}


def service(tmp_path: Path, *, system: bool = False) -> Service:
    return Service(
        command=(sys.executable, "-P", "-m", "uploader", "run"),
        state_dir=SYSTEM_STATE if system else tmp_path / "state",
        system=system,
        config=tmp_path / "config.toml",
        key_file=tmp_path / "api-key",
    )


def settings_of(unit: str, name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", unit, re.MULTILINE)


@pytest.mark.parametrize("system", [False, True])
def test_the_api_may_ask_the_kernel_who_is_at_the_other_end(tmp_path: Path, system: bool) -> None:
    """By netlink; without it the page's cookie would be good for every user of the machine."""
    unit = systemd_unit(service(tmp_path, system=system))
    (families,) = settings_of(unit, "RestrictAddressFamilies")
    assert "AF_NETLINK" in families.split()


@needs_systemd
@pytest.mark.parametrize("system", [True, False])
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path, system: bool) -> None:
    unit = tmp_path / "uploader.service"
    unit.write_text(systemd_unit(service(tmp_path, system=system)))
    asked = [str(ANALYZE), "verify", "--man=no", *([] if system else ["--user"]), str(unit)]
    environ = os.environ | {"XDG_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run(
        asked, capture_output=True, text=True, check=False, timeout=60, env=environ
    )
    ours = [line for line in done.stderr.splitlines() if "uploader" in line]
    assert (ours, done.returncode) == ([], 0)


@needs_systemd
@pytest.mark.parametrize("system", [True, False])
def test_systemd_finds_the_unit_little_exposed(tmp_path: Path, system: bool) -> None:
    unit = tmp_path / "uploader.service"
    unit.write_text(systemd_unit(service(tmp_path, system=system)))
    asked = [str(ANALYZE), "security", "--offline=true", "--no-pager", str(unit)]
    done = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=60)
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert found, done.stderr
    assert float(found[1]) <= MOST_EXPOSED[system]


def test_the_key_is_a_credential_and_stands_nowhere_in_the_unit(tmp_path: Path) -> None:
    unit = systemd_unit(service(tmp_path, system=True))
    assert settings_of(unit, "LoadCredential") == [f"fireworks-api-key:{tmp_path}/api-key"]
    assert '"UPLOADER_FIREWORKS__API_KEY_FILE=%d/fireworks-api-key"' in unit


def test_a_users_service_reads_the_keys_file_itself_and_so_sees_a_new_key(tmp_path: Path) -> None:
    unit = systemd_unit(replace(service(tmp_path), key_file=tmp_path / '100% "mine"'))
    assert settings_of(unit, "LoadCredential") == []
    assert rf'"UPLOADER_FIREWORKS__API_KEY_FILE={tmp_path}/100%% \"mine\""' in unit


def test_a_system_service_has_a_state_directory_and_an_account(tmp_path: Path) -> None:
    unit = systemd_unit(service(tmp_path, system=True))
    assert settings_of(unit, "StateDirectory") == ["uploader"]
    assert settings_of(unit, "User") == ["uploader"]
    assert '"UPLOADER_STATE_DIR=%S/uploader"' in unit


def test_a_users_service_shares_the_state_folder_of_the_users_commands(tmp_path: Path) -> None:
    unit = systemd_unit(service(tmp_path))
    assert settings_of(unit, "User") + settings_of(unit, "StateDirectory") == []
    assert f'"UPLOADER_STATE_DIR={tmp_path}/state"' in unit


@needs_systemd
def test_no_path_changes_what_a_line_means(tmp_path: Path) -> None:
    odd = tmp_path / 'a "b" 100%d $HOME \\n'
    odd.mkdir()
    program = odd / "python"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit = tmp_path / "uploader.service"
    unit.write_text(systemd_unit(Service((str(program), "run"), odd, config=odd / "c.toml")))
    asked = [str(ANALYZE), "verify", "--man=no", "--user", str(unit)]
    done = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=60)
    assert [line for line in done.stderr.splitlines() if "uploader" in line] == []


@pytest.mark.parametrize("platform", ["linux", "darwin"])
@pytest.mark.parametrize("char", ["\n", "\r", "\x1b"])
@pytest.mark.parametrize(
    "variable",
    ["UPLOADER_STATE_DIR", "UPLOADER_CONFIG", "UPLOADER_FIREWORKS__API_KEY_FILE"],
)
def test_a_path_that_would_begin_a_line_of_its_own_is_refused(
    tmp_path: Path, variable: str, char: str, platform: str
) -> None:
    odd = tmp_path / f"a{char}ExecStartPre=b"
    odd.write_text("")
    odd.chmod(0o600)
    settings = load(environ={"HOME": str(tmp_path), variable: str(odd)})
    with pytest.raises(UsageError, match="cannot be a path of a service"):
        install.planned(settings, system=False, platform=platform)


@pytest.mark.parametrize("system", [True, False])
def test_launchd_starts_it_again_and_gives_it_time_to_drain(tmp_path: Path, system: bool) -> None:
    plist = plistlib.loads(launchd_plist(service(tmp_path, system=system)).encode())
    assert plist["ProgramArguments"][1:] == ["-P", "-m", "uploader", "run"]
    assert plist["KeepAlive"] is True
    assert plist["ExitTimeOut"] > 10
    assert plist["EnvironmentVariables"]["UPLOADER_FIREWORKS__API_KEY_FILE"].endswith("api-key")
    assert plist.get("UserName") == ("uploader" if system else None)


def test_a_dry_run_prints_the_unit_and_writes_nothing(uploader: Command, home: Path) -> None:
    before = sorted(home.rglob("*"))
    answer = uploader("service", "install", "--dry-run")
    assert answer.code == 0
    assert "\nType=notify\n" in answer.out
    assert "UPLOADER_STATE_DIR of this shell" not in answer.err
    assert sorted(home.rglob("*")) == before


def test_settings_of_the_shell_do_not_reach_the_service_and_that_is_said(
    uploader: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPLOADER_TRANSFER__MAX_JOBS", "3")
    answer = uploader("service", "install", "--dry-run", "--system")
    assert "the service does not get UPLOADER_TRANSFER__MAX_JOBS of this shell" in answer.err
    assert "MAX_JOBS" not in answer.out


class Manager:
    """A service manager that notes what it is asked for."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        self.log = folder / "asked"
        self.program = folder / "bin" / name
        self.program.parent.mkdir()
        self.answer("")
        monkeypatch.setenv("PATH", str(self.program.parent), prepend=os.pathsep)

    def answer(self, text: str, code: int = 0) -> None:
        self.program.write_text(
            f"#!/bin/sh\necho \"$@\" >> '{self.log}'\ncat <<'END'\n{text}\nEND\nexit {code}\n"
        )
        self.program.chmod(0o755)

    def asked(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def systemctl(home: Path, monkeypatch: pytest.MonkeyPatch) -> Manager:
    return Manager(home, monkeypatch, "systemctl")


def give_key(home: Path) -> None:
    key = home / "home" / ".config" / "uploader" / "api-key"
    key.parent.mkdir(parents=True)
    key.write_text("fw_0123456789")


linux_only = pytest.mark.skipif(sys.platform == "darwin", reason="systemd is Linux's")


@linux_only
def test_install_starts_the_service_and_uninstall_leaves_nothing(
    uploader: Command, home: Path, systemctl: Manager
) -> None:
    give_key(home)
    unit = home / "home" / ".config" / "systemd" / "user" / "uploader.service"
    assert uploader("service", "install").out == f"{unit}\n"
    assert f"API_KEY_FILE={home}/home/.config/uploader/api-key" in unit.read_text()
    assert systemctl.asked() == [
        "--user daemon-reload",
        "--user enable uploader.service",
        "--user restart uploader.service",
    ]
    systemctl.answer("ActiveState=active\nStatusText=waiting for jobs\nOther=x")
    assert (
        uploader("service", "status").out == "ActiveState\tactive\nStatusText\twaiting for jobs\n"
    )
    document = uploader("service", "status", "--json").json
    assert (document["schema"], document["path"]) == ("uploader.service/1", str(unit))
    assert document["facts"][0] == {"name": "ActiveState", "value": "active"}
    assert uploader("service", "uninstall").code == 0
    assert not unit.exists()
    assert systemctl.asked()[-2:] == [
        "--user disable --now uploader.service",
        "--user daemon-reload",
    ]
    assert uploader("service", "uninstall").code == 4
    assert uploader("service", "status").code == 4
    assert uploader("service", "status", "--json").json["error"]["code"] == "not_found"


@linux_only
def test_without_a_key_nothing_is_installed(
    uploader: Command, home: Path, systemctl: Manager
) -> None:
    answer = uploader("service", "install")
    assert answer.code == 2
    assert "api-key with the API key" in answer.err
    assert not (home / "home" / ".config" / "systemd").exists()
    assert systemctl.asked() == []


@linux_only
def test_a_service_of_the_machine_does_not_read_the_configuration_of_whoever_installs_it(
    uploader: Command, home: Path, systemctl: Manager
) -> None:
    give_key(home)
    (home / "home" / ".config" / "uploader" / "config.toml").write_text("")
    answer = uploader("service", "install", "--system")
    assert answer.code == 2
    assert "your own configuration" in answer.err
    assert "/etc/uploader/config.toml" in answer.err
    assert systemctl.asked() == []


@linux_only
def test_what_the_manager_says_about_its_failure_is_told(
    uploader: Command, home: Path, systemctl: Manager
) -> None:
    give_key(home)
    systemctl.answer("no bus", code=1)
    answer = uploader("service", "install")
    assert answer.code == 7
    assert "no bus" in answer.err
    systemctl.answer("Failed to connect to bus: No medium found", code=1)
    assert "`su` and `sudo` give no session" in uploader("service", "install").err


@pytest.mark.usefixtures("home")
def test_a_system_service_needs_its_account(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_: str) -> None:
        raise KeyError

    monkeypatch.setattr(pwd, "getpwnam", unknown)
    planned = install.planned(load(), system=True, platform="linux")
    monkeypatch.setattr(Path, "exists", lambda _: True)
    with pytest.raises(UsageError, match="no account uploader"):
        install.install(planned)


def test_launchds_definition_is_where_launchd_looks(home: Path) -> None:
    own = install.planned(load(), system=False, platform="darwin")
    assert own.path == home / "home/Library/LaunchAgents/ai.fireworks.uploader.plist"
    machine = install.planned(load(), system=True, platform="darwin")
    assert machine.path == Path("/Library/LaunchDaemons/ai.fireworks.uploader.plist")
    with pytest.raises(NotFound):
        install.state(own)
