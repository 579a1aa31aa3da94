"""A folder whose disk does not answer: it is said, and Ctrl-C still ends the command."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Command
from uploader import files
from uploader.cli import looking
from uploader.core.errors import NoThread
from uploader.store.database import dialect

_DEADLINE_S = 20.0
_SAYS = "does not answer: Ctrl-C ends this command"
#: A call that no signal ends, as one to a disk that does not answer: a lock that is taken twice.
_HANGING = """
import ctypes, sys
from uploader import __main__, files
from uploader.cli import looking

def hangs(*_, **__):
    libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(128)
    libc.pthread_mutex_lock(mutex)
    libc.pthread_mutex_lock(mutex)

files.descriptor_of = hangs
looking._TURN_S, looking._SAYS_AFTER = 0.05, 4
sys.exit(__main__.main())
"""


@pytest.mark.parametrize(
    ("command", "status"),
    [
        *(("enqueue MODEL", ""), ("preflight MODEL", ""), ("upload MODEL", "")),
        *(("verify 1", "done"), ("receipt 1", "done"), ("retry 1 --rescan", "failed")),
    ],
)
def test_ctrl_c_ends_a_command_at_once_although_its_disk_does_not_answer(
    command: str, status: str, model: Path, uploader: Command, finish: Callable[[str], None]
) -> None:
    if status:
        assert uploader("enqueue", model).code == 0
        finish(status)
    given = [str(model) if word == "MODEL" else word for word in command.split()]
    words = [sys.executable, "-c", _HANGING, *given]
    with subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as one:
        late = threading.Timer(_DEADLINE_S, one.kill)
        late.start()
        try:
            assert one.stderr
            assert one.stderr.readline() == f"the disk of {model} {_SAYS}\n"
            began_s = time.monotonic()
            one.send_signal(signal.SIGINT)
            assert one.wait(_DEADLINE_S) == 130
            assert time.monotonic() - began_s < _DEADLINE_S / 2
        finally:
            late.cancel()
            one.kill()


@pytest.fixture
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "_TURN_S", 0.01)
    monkeypatch.setattr(looking, "_SAYS_AFTER", 3)


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """The disk answers once that is set."""
    answers, opened = threading.Event(), files.descriptor_of

    def waits(*given: Any, **more: Any) -> int:
        assert answers.wait(_DEADLINE_S)
        return opened(*given, **more)

    monkeypatch.setattr(files, "descriptor_of", waits)
    yield answers
    answers.set()


@pytest.mark.usefixtures("brisk", "store")
@pytest.mark.parametrize("command", ["enqueue", "preflight"])
def test_once_the_disk_answers_the_command_goes_on(
    command: str,
    uploader: Command,
    model: Path,
    late: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = list[str]()

    def note(line: str) -> None:
        said.append(line)
        late.set()

    monkeypatch.setattr(looking, "print_note", note)
    assert uploader(command, model).code == 0
    assert {*said} == {f"the disk of {model} {_SAYS}"}  # a starved thread looks silent again


def test_who_waits_for_the_job_table_or_works_is_not_told_of_a_disk(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = list[str]()
    monkeypatch.setattr(looking, "print_note", said.append)
    monkeypatch.setattr(looking, "_TURN_S", 0.02)
    monkeypatch.setattr(looking, "_SAYS_AFTER", 10)

    def asks() -> None:
        with dialect.store_errors():
            time.sleep(0.4)

    looking.looking(model, asks)
    monkeypatch.setattr(looking, "processor_clock", lambda: count(1).__next__)
    looking.looking(model, lambda: time.sleep(0.4))
    assert said == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
@pytest.mark.parametrize("threads", [True, False])
def test_what_is_raised_is_raised_with_and_without_a_thread(
    error: type[BaseException], threads: bool, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look() -> None:
        raise error("it")

    def none(_: str, __: Callable[[], None]) -> None:
        raise NoThread("no thread can be started")

    if not threads:
        monkeypatch.setattr(looking, "spawn", none)
    with pytest.raises(error, match="it"):
        looking.looking(model, look)
