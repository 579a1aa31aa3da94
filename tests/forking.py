"""A process in which something is open, and a child that it forks then, which lives on."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
#: Of tests that wait for what must happen.
PATIENCE_S = 30
BEGIN = """
import os, sys, threading, time
from pathlib import Path
from uploader.core.job import Manifest
from uploader.forks import keep_from_children
from uploader.remote import trust
from uploader.remote.sockets import SocketAdapter
from uploader.runtime import StopToken
from uploader.sources.snapshot import Snapshots
from uploader.store.database.workers import WorkerLock, exclusive
place = sys.argv[1]
def fork(body=lambda: time.sleep(600)):
    child = os.fork()
    if child == 0:
        body()
        os._exit(0)
    return child
def wait_for_fork():
    print("ready", flush=True)
    sys.stdin.readline()
    fork(lambda: (print(os.getpid(), flush=True), time.sleep(600)))
    time.sleep(600)
"""


class Forking:
    """A process in which something is open, and the child that it forks then."""

    def __init__(self, body: str, place: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", BEGIN + body, place],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        self.child = 0
        assert self.line() == "ready"

    def line(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def fork(self) -> None:
        """Until the child has closed what it closes: it says so, for its parent does not know."""
        assert self.process.stdin
        print(file=self.process.stdin, flush=True)
        self.child = int(self.line())

    def kill_parent(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE_S)
        os.kill(self.child, 0)  # it lives, or this raises

    def end(self) -> None:
        for pid in filter(None, (self.child, self.process.pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.communicate()


@pytest.fixture
def forking() -> Iterator[Callable[[str, str], Forking]]:
    made: list[Forking] = []

    def make(body: str, place: str) -> Forking:
        made.append(Forking(body, place))
        return made[-1]

    yield make
    for one in made:
        one.end()
