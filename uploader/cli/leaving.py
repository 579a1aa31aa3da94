"""A signal ends every command, also one that waits for what does not answer.

A database driver that is interrupted goes on waiting for its server, and so does every `finally`
that has something to ask it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from types import FrameType
from typing import NoReturn

from uploader.core.exits import Exit
from uploader.deadlines import PATIENCE_S, end_at
from uploader.threads import LOOK

_AGAIN_S = 1
_SHOW_CURSOR = b"\x1b[?25h"
_STORE = "uploader.store.database.dialect"
_received: list[int] = []


def obey_signals() -> None:
    """Leave through every `finally` at SIGTERM and SIGINT, so that a hidden cursor comes back.

    If the job table does not answer, a name server, or the disk of the configuration or of the API
    key, the process ends without them, ten seconds after a signal or at a second one.

    SIGCHLD is no longer ignored, as whoever started us may have had it: otherwise every program
    that we start would seem to end well, be it a hook or the key command.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, _leave)
    end_at(signal.SIGINT, signal.SIGTERM, end=_end)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as `nohup` has it
        signal.signal(signal.SIGINT, _leave)


def signalled() -> KeyboardInterrupt | SystemExit | None:
    """What the last signal raised, if one came: whatever fails after it comes of it."""
    if not _received:
        return None
    terminated = _received[-1] == signal.SIGTERM
    return SystemExit(Exit.TERMINATED) if terminated else KeyboardInterrupt()


def _leave(number: int, _frame: FrameType | None) -> NoReturn:
    _received.append(number)

    def late(*_: object) -> None:
        _leave_if_stuck(number)
        signal.alarm(_AGAIN_S)

    if signal.getsignal(signal.SIGALRM) in (signal.SIG_DFL, signal.SIG_IGN):
        signal.signal(signal.SIGALRM, late)
        signal.alarm(PATIENCE_S)
    else:
        _leave_if_stuck(number)
    if number == signal.SIGTERM:
        sys.exit(Exit.TERMINATED)
    raise KeyboardInterrupt


def _leave_if_stuck(number: int) -> None:
    """Does not return if a thread waits for the job table."""
    store = sys.modules.get(_STORE)  # slow to import
    if store is not None and store.is_asked():
        _end(number)


def _end(number: int) -> NoReturn:
    """End the process as the signal of that number does."""
    for stream in (1, 2):
        with contextlib.suppress(OSError):
            os.write(stream, _SHOW_CURSOR if os.isatty(stream) else b"")
    os._exit(128 + number)


def leave(code: int) -> NoReturn:
    """End the process, whatever its other threads do.

    One of the web server that waits for the job table would be joined, and one that reads a model
    in a library would be ended in the midst of it, which aborts the process.
    """
    threads, main = threading.enumerate(), threading.main_thread()
    if any(one is not main and (not one.daemon or one.name == LOOK) for one in threads):
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)
    sys.exit(code)
