"""A worker under a service manager: what it says over the socket, and when it says nothing."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.acceptance.conftest import DEADLINE_S, World, until, world
from uploader.service.supervisor import Supervisor
from uploader.settings.supervision import Supervision, supervision

__all__ = ["world"]

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no UNIX sockets")


@dataclass
class Manager:
    """A service manager's end of the socket, which keeps what it hears."""

    path: Path
    heard: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self.heard.extend(self._socket.recv(65536).decode().split("\n"))

    def count(self, start: str) -> int:
        return sum(line.startswith(start) for line in tuple(self.heard))

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path / "notify")
    yield manager
    manager.close()


class Seconds:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.s = 0.0

    def boot_s(self) -> float:
        return self.s


def supervisor(manager: Manager, clock: Seconds, watchdog_s: float | None = 60.0) -> Supervisor:
    return Supervisor(Supervision(str(manager.path), watchdog_s), clock)  # type: ignore[arg-type]


def test_the_first_turn_says_ready_and_what_is_done(manager: Manager) -> None:
    supervisor(manager, Seconds()).turned(running=0, draining=False)
    until(lambda: len(manager.heard) == 3)
    assert manager.heard == ["READY=1", "STATUS=waiting for jobs", "WATCHDOG=1"]


def test_turns_feed_the_watchdog_four_times_in_its_period(manager: Manager) -> None:
    clock = Seconds()
    told = supervisor(manager, clock)
    for quarter in range(1, 241):
        clock.s = quarter / 2
        told.turned(running=0, draining=False)
    told.ended()
    until(lambda: manager.count("STOPPING=1"))
    assert manager.count("WATCHDOG=1") == 8
    assert manager.count("STATUS=") == 1


def test_without_a_watchdog_none_is_fed(manager: Manager) -> None:
    told = supervisor(manager, Seconds(), watchdog_s=None)
    told.turned(running=1, draining=False)
    until(lambda: manager.count("STATUS="))
    assert manager.heard == ["READY=1", "STATUS=1 job in work"]


def test_the_status_is_in_words(manager: Manager) -> None:
    told = supervisor(manager, Seconds(), watchdog_s=None)
    told.progress = "job 3 my-model: 1/9 files\nREADY=1"
    told.turned(running=2, draining=False)
    told.turned(running=2, draining=False, trouble="the state store cannot be used")
    told.turned(running=1, draining=True)
    until(lambda: manager.count("STATUS=") == 3)
    assert [line for line in manager.heard if line.startswith("STATUS=")] == [
        "STATUS=2 jobs in work; job 3 my-model: 1/9 files READY=1",
        "STATUS=the state store cannot be used",
        "STATUS=draining: 1 job to stop",
    ]


def test_a_drain_asks_for_time_once_a_second_and_says_once_that_it_stops(manager: Manager) -> None:
    clock = Seconds()
    told = supervisor(manager, clock)
    for quarter in range(9):
        clock.s = quarter / 4
        told.turned(running=1, draining=True)
    told.ended()
    until(lambda: manager.count("EXTEND_TIMEOUT_USEC=") == 3)
    assert manager.count("STOPPING=1") == 1


def test_nobody_who_listens_is_no_trouble(tmp_path: Path) -> None:
    told = Supervisor(Supervision(str(tmp_path / "gone"), 1.0), Seconds())  # type: ignore[arg-type]
    told.turned(running=0, draining=False)
    told.reloading()
    told.reloaded()


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, (None, None)),
        ({"NOTIFY_SOCKET": "/run/x"}, ("/run/x", None)),
        ({"NOTIFY_SOCKET": "@x"}, ("\0x", None)),
        ({"NOTIFY_SOCKET": "vsock:2:1"}, (None, None)),
        ({"WATCHDOG_USEC": "30000000"}, (None, 30.0)),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, (None, 30.0)),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, (None, None)),
        ({"WATCHDOG_USEC": "0"}, (None, None)),
        ({"WATCHDOG_USEC": "soon"}, (None, None)),
    ],
)
def test_what_the_environment_says(
    environ: dict[str, str], expected: tuple[str | None, float | None]
) -> None:
    assert supervision(environ)[:2] == expected


# --- a real worker ----------------------------------------------------------------------------


@pytest.fixture
def secure() -> bool:
    return False


@pytest.mark.long
@pytest.mark.acceptance
def test_a_worker_says_ready_reloading_and_stopping(world: World, manager: Manager) -> None:
    config = world.folder / "config.toml"
    config.write_text("")
    environment = {
        "NOTIFY_SOCKET": str(manager.path),
        "WATCHDOG_USEC": "4000000",
        "UPLOADER_CONFIG": str(config),
        "UPLOADER_API__LISTEN": "off",
    }
    with world.worker(**environment) as process:
        until(lambda: manager.count("READY=1"))
        until(lambda: manager.count("WATCHDOG=1") >= 2)
        config.write_text('[transfer]\nmax_jobs = 7\nbandwidth_limit = "1MB/s"\n')
        with config.open("a") as more:
            more.write('[lease]\nduration = "50s"\n')
        before_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        process.send_signal(signal.SIGHUP)
        until(lambda: manager.count("READY=1") == 2)
        reload = manager.heard[manager.heard.index("RELOADING=1") :]
        assert int(reload[1].removeprefix("MONOTONIC_USEC=")) >= before_us
        until(lambda: "in force now: transfer.max_jobs, transfer.bandwidth_limit" in world.log())
        until(lambda: "these settings change at the next start: lease.duration" in world.log())
        config.write_text("[transfer]\nmax_jobs = 0\n")
        process.send_signal(signal.SIGHUP)
        until(lambda: "the configuration stays as it was: transfer.max_jobs" in world.log())
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_S) == 0
        until(lambda: manager.count("STOPPING=1"))


#: `uploader`, for which the disk of its configuration does not answer while a pipe has this name.
SILENT = """
import sys
from pathlib import Path

from uploader import files
from uploader.cli.app import main

silent, read = Path(sys.argv.pop(1)), files.read


def waits(path, *bounds, **kinds):
    if path.name == "config.toml" and silent.exists():
        silent.read_bytes()
    return read(path, *bounds, **kinds)


files.read = waits
main()
"""


@pytest.mark.acceptance
def test_a_configuration_whose_disk_is_silent_holds_up_no_job_and_no_drain(
    world: World, manager: Manager
) -> None:
    config, silent = world.folder / "config.toml", world.folder / "silent"
    config.write_text("")
    environment = {
        "NOTIFY_SOCKET": str(manager.path),
        "UPLOADER_CONFIG": str(config),
        "UPLOADER_API__LISTEN": "off",
    }
    program = world.program
    world.program = [sys.executable, "-c", SILENT, str(silent)]
    with world.worker(**environment) as process:
        world.program = program
        until(lambda: manager.count("READY=1"))
        os.mkfifo(silent)
        config.write_text("[transfer]\nmax_jobs = 7\n")
        process.send_signal(signal.SIGHUP)
        until(lambda: manager.count("RELOADING=1"))
        process.send_signal(signal.SIGHUP)
        world.uploader("enqueue", world.model("m", a_bin=1 << 10))
        world.uploader("wait", "1", "--timeout", "60s")
        assert (manager.count("RELOADING=1"), manager.count("READY=1")) == (1, 1)
        with silent.open("wb"):
            silent.unlink()
        until(lambda: manager.count("READY=1") == 3)  # of the second signal, too
        until(lambda: "configuration read again; nothing has changed" in world.log())
        until(lambda: "in force now: transfer.max_jobs" in world.log())
        os.mkfifo(silent)
        process.send_signal(signal.SIGHUP)
        until(lambda: manager.count("RELOADING=1") == 3)
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_S) == 0
        until(lambda: manager.count("STOPPING=1"))
        assert manager.count("READY=1") == 3


@pytest.mark.acceptance
def test_a_reload_in_a_folder_that_is_gone_changes_nothing(
    world: World, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a release's folder is, once a deployment has put another in its place."""
    release = world.folder / "release"
    release.mkdir()
    (release / "config.toml").write_text("")
    monkeypatch.chdir(release)
    environment = {
        "NOTIFY_SOCKET": str(manager.path),
        "UPLOADER_CONFIG": "config.toml",
        "UPLOADER_API__LISTEN": "off",
    }
    with world.worker(**environment) as process:
        until(lambda: manager.count("READY=1"))
        shutil.rmtree(release)
        process.send_signal(signal.SIGHUP)
        until(lambda: "the configuration stays as it was: the current folder does" in world.log())
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_S) == 0


@pytest.mark.acceptance
@pytest.mark.parametrize(
    "words",
    [
        """[[hooks]]
        name = "h"
        on = ["failed"]
        webhook = "https://localhost:1"
        secret_file = 'SECRET'
        """,
        "[fireworks]\napi_key_file = 'SECRET'\n",  # in force at the next start only
    ],
    ids=["in force at once", "at the next start"],
)
def test_a_secret_that_is_named_while_the_worker_runs_is_not_sent(
    world: World, manager: Manager, words: str
) -> None:
    """Whoever enqueues has another configuration, which does not name it."""
    config, model = world.folder / "config.toml", world.model("m", a_bin=1 << 10)
    (model / "secret.txt").write_bytes(b"s" * 40)
    config.write_text("")
    environment = {"NOTIFY_SOCKET": str(manager.path), "UPLOADER_CONFIG": str(config)}
    with world.worker("--listen", "off", **environment) as process:
        until(lambda: manager.count("READY=1"))
        config.write_text(words.replace("SECRET", str(model / "secret.txt")))
        process.send_signal(signal.SIGHUP)
        until(lambda: manager.count("READY=1") == 2)
        world.uploader("enqueue", model)
        world.uploader("wait", "1", expect=7)
    (job,) = json.loads(world.uploader("status", "--json").stdout)["jobs"]
    assert job["reason"]["code"] == "secret_in_model"


@pytest.mark.long
@pytest.mark.acceptance
def test_the_log_changes_while_the_worker_runs(world: World, manager: Manager) -> None:
    config = world.folder / "config.toml"
    config.write_text('[log]\nlevel = "error"\n')
    environment = {"NOTIFY_SOCKET": str(manager.path), "UPLOADER_CONFIG": str(config)}
    with world.worker("--listen", "off", **environment) as process:
        until(lambda: manager.count("READY=1"))
        assert world.log() == ""
        config.write_text('[log]\nlevel = "info"\nformat = "text"\n')
        process.send_signal(signal.SIGHUP)
        until(lambda: manager.count("READY=1") == 2)
        until(lambda: "in force now: log.level, log.format" in world.log())


@pytest.mark.long
@pytest.mark.acceptance
def test_a_loop_that_hangs_no_longer_feeds_the_watchdog(world: World, manager: Manager) -> None:
    """The process lives, and so do its other threads: only the store holds the loop up."""
    environment = {
        "NOTIFY_SOCKET": str(manager.path),
        "WATCHDOG_USEC": "800000",
        "UPLOADER_LEASE__DURATION": "1s",  # with a job the loop writes four times in a lease
        "UPLOADER_TRANSFER__BANDWIDTH_LIMIT": "8KiB/s",
    }
    world.uploader("enqueue", world.model("slow", a_bin=1 << 20))
    with world.worker(**environment) as process:
        until(lambda: manager.count("WATCHDOG=1") > 2)
        store = sqlite3.connect(world.state / "uploader.db")
        store.execute("BEGIN IMMEDIATE")
        silent_since, fed = time.monotonic(), 0
        while time.monotonic() - silent_since < 1:  # longer than the watchdog's time
            if manager.count("WATCHDOG=1") != fed:
                silent_since, fed = time.monotonic(), manager.count("WATCHDOG=1")
            threading.Event().wait(0.01)
        assert process.poll() is None
        store.rollback()
        store.close()
        until(lambda: manager.count("WATCHDOG=1") > fed)
