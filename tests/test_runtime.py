from __future__ import annotations

import errno
import gc
import logging
import os
import platform
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from uploader.core.errors import StoreError
from uploader.runtime import (
    OUR_PROCESS,
    SystemClock,
    importing,
    keep_running,
    processor_clock,
    threads_end_in_the_log,
)
from uploader.store.database import migrate
from uploader.store.database.dialect import open_engine
from uploader.threads import spawn


@pytest.fixture
def our_process() -> Iterator[None]:
    OUR_PROCESS.set()
    yield
    OUR_PROCESS.clear()
    gc.unfreeze()


@pytest.mark.usefixtures("our_process")
def test_nothing_is_kept_from_the_collector_once_the_modules_are_loaded() -> None:
    frozen = gc.get_freeze_count()
    with importing("gc"):
        assert gc.isenabled()
    assert gc.get_freeze_count() == frozen
    with importing("a module that nobody has"):
        with importing("another one"):
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()
    assert gc.get_freeze_count() > frozen


_CALLER = """
import gc, sys
if sys.argv[1] == "off":
    gc.disable()
import uploader
uploader.jobs()
print(gc.isenabled(), gc.get_freeze_count())
"""
_PROGRAM = "import gc; from uploader.__main__ import main; print(gc.get_freeze_count() > 0)"


def _printed(tmp_path: Path, *command: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", *command],
        env={"PATH": os.environ["PATH"], "UPLOADER_STATE_DIR": str(tmp_path / "state")},
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


@pytest.mark.parametrize(("collector", "left"), [("on", "True 0"), ("off", "False 0")])
def test_the_collector_of_a_process_that_imports_us_is_left_alone(
    tmp_path: Path, collector: str, left: str
) -> None:
    engine = open_engine(f"sqlite:///{tmp_path}/state/uploader.db")
    migrate.ensure(engine, tmp_path / "state")
    engine.dispose()
    assert _printed(tmp_path, _CALLER, collector) == left


def test_the_program_itself_looks_for_no_garbage_in_its_modules(tmp_path: Path) -> None:
    assert _printed(tmp_path, _PROGRAM) == "True"


class Watched(SystemClock):
    """A clock whose waits take no time, and are remembered."""

    def __init__(self) -> None:
        self.at_s = 0.0
        self.waited: list[float] = []

    def boot_s(self) -> float:
        return self.at_s

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        self.waited.append(timeout_s)
        self.at_s += timeout_s
        return event.is_set()


def test_what_raises_is_run_again_later_each_time_until_it_returns(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock, errors = Watched(), iter([ValueError("odd")] * 8)

    def run() -> None:
        for error in errors:
            raise error

    keep_running("telling", run, threading.Event(), clock)
    assert clock.waited == [1, 2, 4, 8, 16, 32, 60, 60]
    assert caplog.messages == ["telling: unexpected error"] * 8
    assert all(record.exc_info for record in caplog.records)


def test_what_ran_for_a_while_is_run_again_soon() -> None:
    clock, runs = Watched(), iter(range(4))

    def run() -> None:
        for _ in runs:
            clock.at_s += 100
            raise StoreError("it is locked")

    keep_running("telling", run, threading.Event(), clock)
    assert clock.waited == [1, 1, 1, 1]


def test_an_error_of_ours_is_one_line_and_nothing_is_run_after_the_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ended = threading.Event()

    def run() -> None:
        ended.set()
        raise StoreError("it is locked", hint="wait")

    keep_running("telling", run, ended, Watched())
    assert caplog.messages == ["telling: it is locked (wait)"]
    assert not caplog.records[0].exc_info


def test_a_thread_that_ends_by_an_error_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    before, threads = threading.excepthook, queue.SimpleQueue[threading.Thread]()

    def run() -> None:
        threads.put(threading.current_thread())
        raise ValueError("odd")

    with threads_end_in_the_log():
        spawn("odd one", run)
        threads.get(timeout=60).join(60)
    assert threading.excepthook is before
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.ERROR, "thread odd one: unexpected error")
    ]


_HEAPS_OF_THREADS = """
import ctypes, sys, threading
from uploader.runtime import share_memory
if "share" in sys.argv:
    share_memory()
go, threads = threading.Barrier(33), []
for _ in range(32):
    threads.append(threading.Thread(target=lambda: (bytes(100_000), go.wait(), go.wait())))
    threads[-1].start()
go.wait()
ctypes.CDLL(None).malloc_stats()
go.wait()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has one for each thread")
def test_threads_share_a_few_heaps() -> None:
    counted = []
    for words in ([], ["share"]):
        command = [sys.executable, "-c", _HEAPS_OF_THREADS, *words]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        counted.append(done.stderr.count("Arena "))
    assert counted[1] <= 4 < counted[0]


def becomes(answer: Callable[[], bool]) -> bool:
    """Within ten seconds."""
    for _ in range(1000):
        if answer():
            return True
        time.sleep(0.01)
    return False


@pytest.mark.skipif(sys.platform == "darwin", reason="it does not tell")
def test_the_processor_that_a_thread_uses_tells_others_whether_it_waits() -> None:
    clocks: list[Callable[[], float]] = []
    may, ends = threading.Event(), threading.Event()

    def run() -> None:
        clocks.append(processor_clock())
        may.wait()
        began_s = clocks[0]()
        while clocks[0]() < began_s + 0.01:
            pass
        ends.wait()

    def stands() -> bool:
        before_s = clock()
        time.sleep(0.01)
        return clock() == before_s

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert becomes(lambda: bool(clocks))
    (clock,) = clocks
    assert becomes(stands)
    before_s = clock()
    may.set()
    assert becomes(lambda: not stands())
    assert becomes(stands)
    assert clock() >= before_s + 0.01
    ends.set()
    thread.join()
    assert becomes(lambda: clock() != clock())


def test_where_no_clock_tells_it_a_thread_counts_as_one_that_works(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(clock: int) -> float:
        raise OSError(errno.EINVAL, str(clock))

    with monkeypatch.context() as sandboxed:
        sandboxed.setattr(time, "clock_gettime", refuse)
        clock = processor_clock()
        before_s = clock()
        assert becomes(lambda: clock() > before_s)
