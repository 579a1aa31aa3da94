"""A command of the user: a list of arguments, the job's document on its stdin, never a shell."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import IO, Any

from uploader.core.hooks import Undelivered
from uploader.core.redact import foreign_line
from uploader.runtime import Clock
from uploader.settings.load import for_others

_MAX_OUTPUT_BYTES = 64 * 1024
_MAX_WORDS_CHARS = 200


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
    """(exit code, the end of what it printed) of ``command``, with ``given`` as its stdin.

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
    with process:
        try:
            code, printed = _finish(process, timeout_s, clock)
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
    return code, printed


def last_words(printed: bytes) -> str:
    """The last line of what a program printed, as it may be kept."""
    last = printed.decode("utf-8", "replace").strip().rpartition("\n")[2]
    return foreign_line(last, _MAX_WORDS_CHARS)


def _unnamed(content: bytes) -> IO[bytes]:
    """A file that only its descriptors know, at its beginning; in memory if the system can."""
    if sys.platform == "linux":
        file: IO[bytes] = os.fdopen(os.memfd_create("hook"), "w+b")
    else:
        file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    file.write(content)
    file.seek(0)
    return file


def _finish(process: subprocess.Popen[bytes], timeout_s: float, clock: Clock) -> tuple[int, bytes]:
    """(exit code, the end of what it printed). Raises Undelivered if its time is up."""
    ends_s, printed = clock.boot_s() + timeout_s, b""
    with selectors.DefaultSelector() as ready:
        ready.register(process.stdout or -1, selectors.EVENT_READ)
        while (left_s := ends_s - clock.boot_s()) > 0:
            if not (found := ready.select(min(left_s, 1.0))):
                if process.poll() is not None:
                    break  # what it left running keeps the output open
                continue
            block = os.read(found[0][0].fd, _MAX_OUTPUT_BYTES)
            if not block:
                break
            printed = (printed + block)[-_MAX_OUTPUT_BYTES:]
    try:
        return process.wait(max(0.0, ends_s - clock.boot_s())), printed
    except subprocess.TimeoutExpired:
        raise Undelivered(f"it did not end within {timeout_s:.0f} s") from None
