"""Threads are used again for a while, each for one piece of work at a time."""

from __future__ import annotations

import contextvars
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest

from uploader import threads
from uploader.core.errors import NoThread, ProgramEnds
from uploader.threads import spawn

ROOT = Path(__file__).parents[1]
PATIENCE_S = 60.0
ABOUT = contextvars.ContextVar("ABOUT", default="nothing")


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """No thread of another test rests here."""
    resting: list[object] = []
    monkeypatch.setattr(threads, "_resting", resting)
    return resting


def until(reached: Callable[[], object]) -> None:
    pause = threading.Event()
    for _ in range(int(PATIENCE_S / 0.005)):
        if reached():
            return
        pause.wait(0.005)
    raise AssertionError("not reached")


def here(name: str) -> threading.Thread:
    """The thread in which that work was done, which rests now."""
    found: list[threading.Thread] = []
    spawn(name, lambda: found.append(threading.current_thread()))
    until(lambda: found and found[0].name == "resting" and found[0] in threads._resting)
    return found[0]


def test_a_thread_that_rests_does_the_next_work(alone: list[object]) -> None:
    first = here("first")
    assert here("second") is first
    assert alone == [first]
    assert first.daemon


def test_no_work_waits_for_another(alone: list[object]) -> None:
    names: list[str] = []
    together = threading.Barrier(9)

    def run() -> None:
        together.wait(PATIENCE_S)
        names.append(threading.current_thread().name)
        together.wait(PATIENCE_S)

    for number in range(8):
        spawn(f"work {number}", run)
    together.wait(PATIENCE_S)
    together.wait(PATIENCE_S)
    assert sorted(names) == [f"work {number}" for number in range(8)]
    until(lambda: len(alone) == 8)


def test_each_work_is_about_what_its_own_caller_is_about(alone: list[object]) -> None:
    seen: list[str] = []
    for about in ("one", "two"):
        token = ABOUT.set(about)
        spawn(about, lambda: seen.append(ABOUT.get()))
        ABOUT.reset(token)
        until(lambda: alone)
    assert seen == ["one", "two"]


def test_a_thread_that_rests_for_long_ends(
    alone: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "_RESTS_S", 0.01)
    found: list[threading.Thread] = []
    spawn("brief", lambda: found.append(threading.current_thread()))
    until(lambda: found and not found[0].is_alive())
    assert alone == []


def test_nothing_is_lost_between_resting_and_the_end(
    alone: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "_RESTS_S", 0.0005)
    done = threading.Semaphore(0)
    pause = threading.Event()
    for number in range(400):
        spawn(str(number), done.release)
        pause.wait(0.0005 * (number % 3))
    for _ in range(400):
        assert done.acquire(timeout=PATIENCE_S)
    until(lambda: not alone)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_raises_ends_its_thread_and_no_other(alone: list[object]) -> None:
    ended: list[threading.Thread] = []

    def run() -> None:
        ended.append(threading.current_thread())
        raise ValueError("odd")

    rested = here("sound")
    alone.clear()
    spawn("odd", run)
    until(lambda: ended and not ended[0].is_alive())
    assert ended[0] is not rested
    assert here("next") is not ended[0]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no thread has a priority of its own")
def test_no_work_gets_the_low_priority_of_what_its_thread_did_before(alone: list[object]) -> None:
    found: list[threading.Thread] = []
    priorities: list[int] = []

    def hash_a_file() -> None:
        found.append(threading.current_thread())
        threads.give_way()

    spawn("hash", hash_a_file)
    until(lambda: found and (found[0] in alone or not found[0].is_alive()))
    spawn(
        "send",
        lambda: priorities.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id())),
    )
    until(lambda: priorities)
    assert priorities == [os.getpriority(os.PRIO_PROCESS, 0)]


def test_without_a_thread_the_work_is_refused(
    alone: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    rested = here("first")
    monkeypatch.setattr(threading.Thread, "start", start)
    assert here("one that rests is there") is rested
    alone.clear()
    with pytest.raises(NoThread, match="allows no more"):
        spawn("another", lambda: None)


def test_a_program_that_ends_is_not_taken_for_a_machine_that_allows_no_more(
    alone: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    assert alone == []
    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(ProgramEnds, match="this program is ending") as raised:
        spawn("another", lambda: None)
    assert "pids.max" not in raised.value.hint


def test_what_work_referred_to_is_not_kept_while_its_thread_rests(alone: list[object]) -> None:
    gone = threading.Event()

    class Large:
        def run(self) -> None:
            weakref.finalize(self, gone.set)

    spawn("large", Large().run)
    assert gone.wait(PATIENCE_S)
    until(lambda: alone)


def test_a_child_gives_no_work_to_threads_that_it_does_not_have() -> None:
    program = """
import os, threading
from uploader import threads
done = threading.Event()
threads.spawn("first", done.set)
done.wait(60)
while not threads._resting:
    done.wait(0.001)
child = os.fork()
if child == 0:
    again = threading.Event()
    threads.spawn("second", again.set)
    os._exit(0 if again.wait(60) else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    command = [sys.executable, "-W", "ignore", "-c", program]
    ran = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, timeout=PATIENCE_S, check=False
    )
    assert (ran.stdout, ran.stderr) == ("0\n", "")
