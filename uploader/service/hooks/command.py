"""A command of the user: a list of arguments, the job's document on its stdin, never a shell."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import IO, Any

from uploader import processes
from uploader.core.hooks import Undelivered
from uploader.core.redact import foreign_line, redact
from uploader.runtime import Clock
from uploader.settings.load import for_others

_MAX_OUTPUT_BYTES = 64 * 1024
_MAX_WORDS_CHARS = 200
#: Seconds between two looks at a process that has closed its output.
_LOOK_S = 0.05


def run(
    command: Sequence[str], kind: str, document: Mapping[str, Any], timeout_s: float, clock: Clock
) -> None:
    """Run ``command`` until it ends. Raises Undelivered unless it exits 0 within ``timeout_s``.

    It has its own process group, which is killed with it; what it prints beyond 64 KiB is dropped.
    Its stdin is a file without a name: a pipe that nobody reads would hold us up.
    """
    environment = for_others() | {
        "UPLOADER_EVENT": kind,
        "UPLOADER_JOB": str(document.get("id", "")),
    }
    code, printed = finished(command, json.dumps(document).encode(), environment, timeout_s, clock)
    if code:
        words = last_words(printed)
        raise Undelivered(f"{command[0]} ended with exit code {code}" + (words and f": {words}"))


def finished(
    command: Sequence[str],
    given: bytes,
    environment: Mapping[str, str],
    timeout_s: float,
    clock: Clock,
) -> tuple[int, bytes]:
    """(exit code, the last lines that it printed) of ``command``, with ``given`` as its stdin.

    Raises Undelivered if it cannot be run, or does not end within ``timeout_s``.
    """
    try:
        with _unnamed(given) as stdin:
            process = subprocess.Popen(  # noqa: S603 - the user's own command, without a shell
                list(command),
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                start_new_session=True,
            )
    except (OSError, ValueError) as problem:
        why = f"{command[0]} cannot be run: {getattr(problem, 'strerror', None) or problem}"
        raise Undelivered(why) from None
    try:
        printed = _finish(process, timeout_s, clock)
    finally:
        processes.end(process, group=True)
    return process.returncode, _whole_lines(printed)


def last_words(printed: bytes) -> str:
    """The last line of what a program printed, as it may be kept."""
    # A secret may be broken over lines: of its end alone nobody would know what it is.
    last = redact(printed.decode("utf-8", "replace")).strip().rpartition("\n")[2]
    return foreign_line(last, _MAX_WORDS_CHARS)


def _whole_lines(printed: bytes) -> bytes:
    """Without what is left of the line through which it was cut: it may begin within a secret."""
    return printed if len(printed) <= _MAX_OUTPUT_BYTES else printed.partition(b"\n")[2]


def _unnamed(content: bytes) -> IO[bytes]:
    """A file that only its descriptors know, at its beginning; in memory if the system can."""
    if sys.platform == "linux":
        file: IO[bytes] = os.fdopen(os.memfd_create("hook"), "w+b")
    else:
        file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    file.write(content)
    file.seek(0)
    return file


def _finish(process: subprocess.Popen[bytes], timeout_s: float, clock: Clock) -> bytes:
    """What it printed, once it has ended; a byte more than the most of it if it was cut.

    Raises Undelivered if its time is up.
    """
    ends_s, printed, pause_s = clock.boot_s() + timeout_s, b"", 1.0
    with selectors.DefaultSelector() as ready:
        output = ready.register(process.stdout or -1, selectors.EVENT_READ)
        while (left_s := ends_s - clock.boot_s()) > 0:
            if ready.select(min(left_s, pause_s)):
                block = os.read(output.fd, _MAX_OUTPUT_BYTES)
                printed = (printed + block)[-_MAX_OUTPUT_BYTES - 1 :]
                if block:
                    continue
                ready.unregister(output.fd)
                pause_s = _LOOK_S
            if _has_ended(process):  # what it left running may keep the output open
                return printed
    if not _has_ended(process):
        raise Undelivered(f"it did not end within {timeout_s:.0f} s")
    return printed


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether it has ended; if the system can tell that without, it is not waited for yet."""
    if not hasattr(os, "waitid"):  # macOS before Python 3.13
        return process.poll() is not None
    try:
        found = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:  # the starter of this process had it ignore SIGCHLD
        return True
    return found is not None
