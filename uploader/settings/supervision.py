"""What the program that started this one says about itself, in the environment.

sd_notify(3), sd_watchdog_enabled(3) and systemd.exec(5) say so for systemd; for containers, the
interface of https://systemd.io/CONTAINER_INTERFACE, which Podman follows and our image does, too.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import NamedTuple

#: What is meant for this process and for none that it starts.
NAMES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
_FIRST = 1  #: the process id of whatever a container starts


class Supervision(NamedTuple):
    """How a service manager wants to be told how this process is doing."""

    #: Where to, as `socket` takes it; None: it does not.
    notify_socket: str | None = None
    #: A sign of life is due this often, in seconds; None: never.
    watchdog_s: float | None = None
    #: Does a supervisor read what is logged, and no person?
    collects_logs: bool = False


def supervision(environ: Mapping[str, str]) -> Supervision:
    """What ``environ`` says. Values that make no sense count as not given."""
    named = environ.get("NOTIFY_SOCKET", "")
    address = f"\0{named[1:]}" if named.startswith("@") else named
    known = address if address[:1] in ("/", "\0") else None
    return Supervision(known, _watchdog_s(environ), _collects_logs(environ))


def _watchdog_s(environ: Mapping[str, str]) -> float | None:
    meant = environ.get("WATCHDOG_PID") or str(os.getpid())
    period = environ.get("WATCHDOG_USEC", "")
    if meant != str(os.getpid()) or not (period.isascii() and period.isdecimal()):
        return None
    return int(period[:18]) / 1e6 or None


def _collects_logs(environ: Mapping[str, str]) -> bool:
    if sys.stderr.isatty():
        return False
    in_container = bool(environ.get("container")) and _FIRST in (os.getpid(), os.getppid())
    return bool(environ.get("NOTIFY_SOCKET")) or in_container or _is_journal(environ)


def _is_journal(environ: Mapping[str, str]) -> bool:
    """Is the standard error the stream to the journal? A child may have it without its parent's."""
    try:
        stream = os.fstat(2)
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM") == f"{stream.st_dev}:{stream.st_ino}"
