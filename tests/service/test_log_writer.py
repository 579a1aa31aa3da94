"""docs/architecture.md §6: nobody waits for whoever reads the log."""

from __future__ import annotations

import errno
import io
import logging
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import TextIO, cast

import pytest

from uploader.service.log_writer import MOST_LINES, LogWriter

#: A number that no open file has.
DISK = -7


class Unread(io.StringIO):
    """A stream of which nobody reads, until ``came`` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.came = threading.Event()
        self.asked = threading.Event()

    def write(self, text: str) -> int:
        self.asked.set()
        assert self.came.wait(60)
        return super().write(text)


@pytest.fixture
def unread() -> Iterator[Unread]:
    made = Unread()
    yield made
    made.came.set()


def say(writer: LogWriter, text: str) -> None:
    writer.handle(logging.makeLogRecord({"msg": text}))


def test_whoever_does_not_read_the_log_holds_nobody_up_and_is_told_of_what_was_dropped(
    unread: Unread,
) -> None:
    writer = LogWriter(unread)
    say(writer, "first")
    assert unread.asked.wait(60)
    for number in range(MOST_LINES + 7):
        say(writer, str(number))
    writer.flush()  # not for long
    unread.came.set()
    writer.flush()
    lines = unread.getvalue().splitlines()
    assert lines[0] == "first"
    assert lines[1] == "7 lines of the log were dropped: they could not be written in time"
    assert lines[2:] == [str(number) for number in range(MOST_LINES)]


def test_no_line_is_lost_in_a_pipe_that_does_not_block() -> None:
    """Another program that has it, too, may have made it so."""
    reader, written = os.pipe()
    os.set_blocking(written, False)
    lines, came = [f"{number:0150}" for number in range(MOST_LINES - 1)], b""
    with os.fdopen(written, "w") as stream, os.fdopen(reader, "rb", buffering=0) as pipe:
        writer = LogWriter(stream)
        for line in lines:
            say(writer, line)
        writer.flush()  # the pipe is full long before
        while not came.endswith(f"{lines[-1]}\n".encode()):
            came += pipe.read(65_536)
    assert came.decode().splitlines() == lines


def test_what_a_full_disk_took_in_part_is_told_of_and_no_line_is_glued_to_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disk, room, write = io.BytesIO(), [25], os.write

    def limited(descriptor: int, data: bytes) -> int:
        if descriptor != DISK:
            return write(descriptor, data)
        taken = data[: room[0]]
        if not taken:
            raise OSError(errno.ENOSPC, "no space")
        room[0] -= len(taken)
        return disk.write(taken)

    monkeypatch.setattr(os, "write", limited)
    writer = LogWriter(cast(TextIO, SimpleNamespace(fileno=lambda: DISK, encoding="utf-8")))
    for text in ("first line", "second", "third, of which half", "fourth"):
        say(writer, text)
    writer.flush()
    room[0] = 1000
    say(writer, "fifth")
    writer.flush()
    assert disk.getvalue().decode().splitlines() == [
        "first line",
        "second",
        "third, ",
        "2 lines of the log were dropped: they could not be written in time",
        "fifth",
    ]


def test_a_stream_that_is_closed_ends_nothing() -> None:
    stream = io.StringIO()
    writer = LogWriter(stream)
    stream.close()
    say(writer, "one")
    writer.flush()
    say(writer, "two")
    writer.flush()


def test_a_line_that_cannot_be_written_is_told_of_by_the_same_way(
    capsys: pytest.CaptureFixture[str],
) -> None:
    stream = io.StringIO()
    writer = LogWriter(stream)
    facts = {"name": "somebody", "lineno": 7, "msg": "%d", "args": ("one",)}
    writer.handle(logging.makeLogRecord(facts))
    writer.flush()
    said = "a line of the log cannot be written (somebody, line 7): TypeError\n"
    assert stream.getvalue() == said
    assert capsys.readouterr() == ("", "")


def test_what_is_logged_in_the_middle_of_a_line_of_the_same_thread_is_taken() -> None:
    """As a garbage collection may do at any instant."""
    stream, ended = io.StringIO(), threading.Event()
    writer = LogWriter(stream)

    def run() -> None:
        sys.setprofile(lambda *_: say(writer, "in between"))
        say(writer, "line")
        sys.setprofile(None)
        ended.set()

    threading.Thread(target=run, daemon=True).start()
    assert ended.wait(20)
    writer.flush()
    assert set(stream.getvalue().splitlines()) == {"line", "in between"}


#: All that speaks past our own loggers.
_SPEAKERS = {
    "ours": "logging.getLogger('uploader.engine').warning(TEXT)",
    "library": "logging.getLogger('sqlalchemy.pool').error(TEXT)",
    "unheard": "alone.warning(TEXT)",
    "event loop": "loop.call_exception_handler({'message': TEXT})",
    "warning": "warnings.warn(TEXT)",
    "unraisable": "Unraisable()",
    "thread": "ended(lambda: 1 / 0)",
    "bad line": "logging.getLogger('psycopg').error('%d', TEXT)",
    "future": "futures()",
}
_PROCESS = """
import asyncio, concurrent.futures, logging, sys, threading, warnings
from uploader.runtime import threads_end_in_the_log
from uploader.service import logs
from uploader.settings.schema import Log
TEXT = "x" * 100
class Unraisable:
    def __del__(self): raise ValueError(TEXT)
def ended(run):
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
def futures():
    future = concurrent.futures.Future()
    future.add_done_callback(lambda _: 1 / 0)
    future.set_result(None)
warnings.simplefilter("always", UserWarning)
loop, alone = asyncio.new_event_loop(), logging.getLogger("alone")
alone.propagate = False
logs.log_as(Log(format="text"))
with threads_end_in_the_log():
    for _ in range(int(sys.argv[1])):
        SPEAK
    print("ready", flush=True)
    sys.stdin.read(1)
"""


def _speaking(speaks: str, times: int) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    code = _PROCESS.replace("SPEAK", speaks)
    return subprocess.Popen(
        [sys.executable, "-c", code, str(times)], stdin=pipe, stdout=pipe, stderr=pipe
    )


@pytest.mark.parametrize("speaks", _SPEAKERS.values(), ids=_SPEAKERS)
def test_a_process_ends_although_nobody_reads_its_log(speaks: str) -> None:
    with _speaking(speaks, 1500) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        assert process.stdin
        process.stdin.close()
        try:
            assert process.wait(60) == 0
        finally:
            process.kill()


@pytest.mark.parametrize("speaks", _SPEAKERS.values(), ids=_SPEAKERS)
def test_whoever_speaks_has_the_lines_that_ours_have(speaks: str) -> None:
    _, said = _speaking(speaks, 1).communicate(b"x", timeout=60)
    lines = said.decode().splitlines()
    assert lines
    assert re.match(r"\S+Z (warning|error) ", lines[0])


def test_what_a_library_says_at_ease_is_not_shown_whatever_level_it_sets() -> None:
    speaks = "logging.getLogger('urllib3').setLevel(10); logging.getLogger('urllib3').info(TEXT)"
    assert _speaking(speaks, 1).communicate(b"x", timeout=60) == (b"ready\n", b"")
