"""Processes: how a program of the user's that we started ends, and whether another one lives."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess

#: Whoever was killed has this long to be gone.
_DIES_S = 2.0
#: They are asked for when the next one ends, so that none stays a zombie for long.
_left: list[subprocess.Popen[bytes]] = []


def end(process: subprocess.Popen[bytes], *, group: bool = False) -> None:
    """Kill it, or the ``group`` that it leads, and wait for it for a moment.

    One that has become another user, as by `sudo`, cannot be killed: it is left to itself. So is
    one that the system does not let die.
    """
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if group:
            # Until it is waited for, no other process and no other group gets its number.
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    if process.stdout is not None:
        process.stdout.close()
    try:
        process.wait(_DIES_S)
    except subprocess.TimeoutExpired:
        _left.append(process)
    _left[:] = [one for one in _left if one.poll() is None]


def is_alive(number: int) -> bool:
    """Is there a process of that number, whoever's it is?"""
    try:
        os.kill(number, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True
