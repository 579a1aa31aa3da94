"""docs/architecture.md §6: nobody waits for whoever reads the log."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from uploader.service.log_writer import MOST_LINES, LogWriter


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
    assert lines[1] == "7 lines of the log were dropped: nobody read them in time"
    assert lines[2:] == [str(number) for number in range(MOST_LINES)]


def test_a_stream_that_is_closed_ends_nothing() -> None:
    stream = io.StringIO()
    writer = LogWriter(stream)
    stream.close()
    say(writer, "one")
    writer.flush()
    say(writer, "two")
    writer.flush()


_PROCESS = """
import logging, sys
from uploader.service.log_writer import LogWriter
logging.getLogger().handlers = [LogWriter(sys.stderr)]
for _ in range(3000):
    logging.warning("x" * 100)
print("ready", flush=True)
sys.stdin.read(1)
"""


def test_a_process_ends_although_nobody_reads_its_log() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _PROCESS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        assert process.stdin
        process.stdin.close()
        assert process.wait(60) == 0
