"""The definitions of the service that `uploader service install` writes: systemd's and launchd's.

Hardening follows borgmatic's sample unit, which has the same needs: read files anywhere, write a
state folder, speak to the network, run commands that the operator configured. A system service gets
all of it. The service manager of a user has no privileges of its own, and so gets what needs none.
"""

from __future__ import annotations

import plistlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

NAME = "uploader"
LABEL = "ai.fireworks.uploader"
#: The account that a system service runs as.
ACCOUNT = "uploader"
SYSTEM_STATE = Path("/var/lib/uploader")
_CREDENTIAL = "fireworks-api-key"
#: A worker drains within ten seconds (docs/architecture.md §6).
_STOP_S = 30

_EVERYWHERE = """\
LockPersonality=yes
MemoryDenyWriteExecute=yes
NoNewPrivileges=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
"""
_AS_SYSTEM = """\
CapabilityBoundingSet=
PrivateDevices=yes
PrivateTmp=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHome=read-only
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProtectSystem=strict
RemoveIPC=yes
"""


@dataclass(frozen=True, slots=True)
class Service:
    """What a definition is made of."""

    #: The program and its arguments.
    command: Sequence[str]
    #: Where the job table is.
    state_dir: Path
    system: bool = False
    #: The file with the configuration, if there is one.
    config: Path | None = None
    #: The file with the API key; None if the key comes from elsewhere.
    key_file: Path | None = None


def systemd_unit(service: Service) -> str:
    """The unit of `uploader run` for systemd 250 and later."""
    return "".join(f"{line}\n" for line in _unit_lines(service))


def launchd_plist(service: Service) -> str:
    """The property list of `uploader run` for launchd.

    launchd hands over no credentials, so the worker reads the key's file by itself.
    """
    environment = {"UPLOADER_STATE_DIR": str(service.state_dir)}
    if service.config:
        environment["UPLOADER_CONFIG"] = str(service.config)
    if service.key_file:
        environment["UPLOADER_FIREWORKS__API_KEY_FILE"] = str(service.key_file)
    log = str(service.state_dir / "uploader.log")
    return plistlib.dumps(
        {
            "Label": LABEL,
            "ProgramArguments": [*service.command],
            "EnvironmentVariables": environment,
            "RunAtLoad": True,
            "KeepAlive": True,
            "ThrottleInterval": 10,
            "ExitTimeOut": _STOP_S,
            "ProcessType": "Background",
            "StandardErrorPath": log,
            "Umask": 0o077,
            **({"UserName": ACCOUNT} if service.system else {}),
        },
        sort_keys=False,
    ).decode()


def _unit_lines(service: Service) -> Iterator[str]:
    yield "# Written by `uploader service install`, which replaces it."
    yield "[Unit]"
    yield "Description=uploader: model folders become READY on Fireworks AI"
    if service.system:
        yield "Wants=network-online.target"
        yield "After=network-online.target"
    yield "StartLimitIntervalSec=0"
    yield ""
    yield "[Service]"
    yield "Type=notify"
    yield "NotifyAccess=main"
    yield "ExecStart=" + " ".join(quoted(word, command=True) for word in service.command)
    yield "ExecReload=/bin/kill -HUP $MAINPID"
    yield "Restart=always"
    yield "RestartSec=5"
    yield "TimeoutStartSec=15min"  # an upgrade migrates the job table first
    yield f"TimeoutStopSec={_STOP_S}"
    yield "WatchdogSec=3min"  # a store that does not answer ends the worker after one minute
    yield "KillMode=mixed"
    yield from _environment(service)
    yield "UMask=0077"
    yield "Nice=10"
    yield "IOSchedulingClass=best-effort"
    yield "IOSchedulingPriority=7"
    yield from (_EVERYWHERE + (_AS_SYSTEM if service.system else "")).splitlines()
    yield ""
    yield "[Install]"
    yield f"WantedBy={'multi-user' if service.system else 'default'}.target"


def _environment(service: Service) -> Iterator[str]:
    if service.system:
        yield f"User={ACCOUNT}"
        yield "StateDirectory=uploader"
        yield "StateDirectoryMode=0700"
        if service.state_dir != SYSTEM_STATE:
            yield f"ReadWritePaths={quoted(str(service.state_dir))}"
    state = "%S/uploader" if service.state_dir == SYSTEM_STATE else _escaped(service.state_dir)
    yield f'Environment="UPLOADER_STATE_DIR={state}"'
    if service.config:
        yield f'Environment="UPLOADER_CONFIG={_escaped(service.config)}"'
    if service.key_file and service.system:  # root's file, which the account may not read
        yield f"LoadCredential={_CREDENTIAL}:{str(service.key_file).replace('%', '%%')}"
        yield f'Environment="UPLOADER_FIREWORKS__API_KEY_FILE=%d/{_CREDENTIAL}"'
    elif service.key_file:  # systemd would copy it at the start: a new key would not be seen
        yield f'Environment="UPLOADER_FIREWORKS__API_KEY_FILE={_escaped(service.key_file)}"'


def quoted(word: str, *, command: bool = False) -> str:
    """``word`` as one word of a unit; in a ``command``, `$` would begin a variable."""
    text = _escaped(word)
    return f'"{text.replace("$", "$$") if command else text}"'


def _escaped(word: object) -> str:
    return str(word).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
