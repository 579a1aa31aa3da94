"""`uploader service`: writes the definition of the service, and asks its manager to run it."""

from __future__ import annotations

import contextlib
import os
import pwd
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from uploader.core.errors import NotFound, UploaderError, UsageError
from uploader.core.exits import Exit
from uploader.core.redact import foreign_line
from uploader.service.install_units import (
    ACCOUNT,
    LABEL,
    NAME,
    SYSTEM_STATE,
    Service,
    launchd_plist,
    systemd_unit,
)
from uploader.settings.load import VARIABLES
from uploader.settings.places import CONFIG, KEY, SYSTEM
from uploader.settings.schema import Settings

_TIMEOUT_S = 120.0
_MAX_WORDS_CHARS = 300
_SHOWN = ("ActiveState", "SubState", "StatusText", "MainPID", "NRestarts", "ActiveEnterTimestamp")


class ManagerFailed(UploaderError):
    """The service manager did not do what it was asked for."""

    exit_code = Exit.FAILED


@dataclass(frozen=True, slots=True)
class Installed:
    """A definition of the service, and the manager that it is for."""

    path: Path
    text: str
    service: Service

    @property
    def by_launchd(self) -> bool:
        """Is it launchd's? Else it is systemd's."""
        return self.path.suffix == ".plist"


def planned(settings: Settings, *, system: bool, platform: str = sys.platform) -> Installed:
    """The definition that fits these settings; nothing is written.

    Raises UsageError for a path that no definition can hold: it would begin a line of its own.
    """
    mac = platform == "darwin"
    service = Service(
        command=(sys.executable, "-P", "-m", "uploader", "run"),
        state_dir=_state_dir(settings, system=system),
        system=system,
        config=settings.config_file,
        key_file=_key_file(settings, system=system),
    )
    for path in (*service.command, service.state_dir, service.config, service.key_file):
        if path and not str(path).isprintable():
            hint = "rename what has such a name, or choose another path"
            raise UsageError(f"{path} cannot be a path of a service", hint=hint)
    text = launchd_plist(service) if mac else systemd_unit(service)
    return Installed(_place(system=system, mac=mac), text, service)


def left_out(settings: Settings) -> list[str]:
    """The variables of this shell that hold settings: the service does not get them."""
    known = {"FIREWORKS_API_KEY", *VARIABLES} - {"UPLOADER_STATE_DIR"}
    return sorted({given.origin for given in settings.given.values()} & known)


def install(planned: Installed) -> None:
    """Write the definition and start the service, now and at every boot.

    Raises UsageError if something that it needs is missing, ManagerFailed.
    """
    _refuse_missing(planned.service)
    manager = _manager(planned)
    try:
        planned.path.parent.mkdir(parents=True, exist_ok=True)
        _write(planned.path, planned.text)
    except OSError as problem:
        raise _no_access(planned, problem) from None
    if planned.by_launchd:
        with contextlib.suppress(ManagerFailed):  # the first time, there is none to replace
            _run([manager, "bootout", f"{_domain(planned)}/{LABEL}"])
        _run([manager, "bootstrap", _domain(planned), str(planned.path)])
        return
    _run([*_systemctl(planned), "daemon-reload"])
    _run([*_systemctl(planned), "enable", f"{NAME}.service"])
    _run([*_systemctl(planned), "restart", f"{NAME}.service"])


def uninstall(planned: Installed) -> None:
    """Stop the service and remove its definition; jobs and configuration stay.

    Raises NotFound if it is not installed, ManagerFailed.
    """
    _refuse_uninstalled(planned)
    manager = _manager(planned)
    if planned.by_launchd:
        with contextlib.suppress(ManagerFailed):  # it may not be loaded
            _run([manager, "bootout", f"{_domain(planned)}/{LABEL}"])
    else:
        _run([*_systemctl(planned), "disable", "--now", f"{NAME}.service"])
    try:
        planned.path.unlink()
    except OSError as problem:
        raise _no_access(planned, problem) from None
    if not planned.by_launchd:
        _run([*_systemctl(planned), "daemon-reload"])


def state(planned: Installed) -> dict[str, str]:
    """What the service manager says about the service. Raises NotFound, ManagerFailed."""
    _refuse_uninstalled(planned)
    manager = _manager(planned)
    if planned.by_launchd:
        lines = _run([manager, "print", f"{_domain(planned)}/{LABEL}"]).splitlines()
        pairs = [line.strip().split(" = ", 1) for line in lines if line.startswith("\t")]
        return {pair[0]: pair[1] for pair in pairs if pair[0] in {"state", "pid", "runs"}}
    words = [*_systemctl(planned), "show", f"{NAME}.service", f"--property={','.join(_SHOWN)}"]
    found = dict(line.split("=", 1) for line in _run(words).splitlines() if "=" in line)
    return {name: foreign_line(found[name], _MAX_WORDS_CHARS) for name in _SHOWN if name in found}


def _state_dir(settings: Settings, *, system: bool) -> Path:
    """A system service does not use the folder of whoever installs it."""
    return settings.state_dir if not system or "state_dir" in settings.given else SYSTEM_STATE


def _key_file(settings: Settings, *, system: bool) -> Path | None:
    own = settings.fireworks
    if own.api_key_file:
        return own.api_key_file
    if own.api_key_command or (not system and settings.auth_ini and settings.auth_ini.is_file()):
        return None
    return (SYSTEM if system else _own_config()) / KEY


def _own_config() -> Path:
    from platformdirs import user_config_path  # noqa: PLC0415 - only here

    return user_config_path(NAME)


def _place(*, system: bool, mac: bool) -> Path:
    if mac:
        return (Path("/") if system else Path.home()) / (
            f"Library/{'LaunchDaemons' if system else 'LaunchAgents'}/{LABEL}.plist"
        )
    folder = Path("/etc/systemd/system") if system else _own_config().parent / "systemd/user"
    return folder / f"{NAME}.service"


def _refuse_missing(service: Service) -> None:
    if service.system and service.config == _own_config() / CONFIG:
        raise UsageError(
            f"{service.config} is your own configuration, and the service does not run as you",
            hint=f"move it to {SYSTEM / CONFIG}, or name another file with --config",
        )
    key = service.key_file
    if key is not None and not key.exists():
        raise UsageError(
            f"there is no file {key} with the API key",
            hint=f"`install -m 600 /dev/null {shlex.quote(str(key))}`,"
            " and write the key into it with an editor",
        )
    if service.system:
        try:
            pwd.getpwnam(ACCOUNT)
        except KeyError:
            raise UsageError(
                f"there is no account {ACCOUNT}, which the service would run as",
                hint=f"`useradd --system --home-dir {SYSTEM_STATE} --no-create-home {ACCOUNT}`",
            ) from None


def _refuse_uninstalled(planned: Installed) -> None:
    if not planned.path.exists():
        raise NotFound(
            f"the service is not installed: there is no {planned.path}",
            hint="`uploader service install` installs it; --system and --user are two services",
        )


def _no_access(planned: Installed, problem: OSError) -> UsageError:
    hint = "--system needs root: use sudo" if planned.service.system else "let this user write it"
    return UsageError(f"{planned.path} cannot be written: {problem.strerror}", hint=hint)


def _manager(planned: Installed) -> str:
    name = "launchctl" if planned.by_launchd else "systemctl"
    found = shutil.which(name)
    if found is None:
        raise UsageError(
            f"there is no {name} on this machine",
            hint="`uploader service install --dry-run` prints the definition; contrib/ has others",
        )
    return found


def _systemctl(planned: Installed) -> list[str]:
    return [_manager(planned), *([] if planned.service.system else ["--user"])]


def _domain(planned: Installed) -> str:
    return "system" if planned.service.system else f"gui/{os.getuid()}"


def _write(path: Path, text: str) -> None:
    """Whole or not at all, and readable for the service manager."""
    number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(number, "w", encoding="utf-8") as file:
        file.write(text)
        os.fchmod(number, 0o644)
    os.replace(name, path)  # noqa: PTH105 - both names are in hand


def _run(words: Sequence[str]) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - a program of the system, and words of ours
            words, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False, errors="replace"
        )
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise ManagerFailed(f"`{' '.join(words)}` did not end well: {problem}") from None
    if done.returncode:
        said = foreign_line(done.stderr or done.stdout, _MAX_WORDS_CHARS)
        raise ManagerFailed(
            f"`{' '.join(words)}` ended with {done.returncode}: {said}",
            hint=_hint(words, said),
        )
    return done.stdout


def _hint(words: Sequence[str], said: str) -> str:
    if "connect to bus" in said:
        return (
            "log in as that user: `su` and `sudo` give no session (`machinectl shell USER@`"
            " does); or install it with --system"
        )
    return "`journalctl -e` says why" if "systemctl" in words[0] else ""
