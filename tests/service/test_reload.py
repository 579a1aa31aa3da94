"""SIGHUP: the configuration is read in a thread, and the loop takes over what was found."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import Mock

import pytest

from uploader.core.errors import NoThread, UsageError
from uploader.service import daemon, reload
from uploader.service.reload import PATIENCE_S, Configured, Reading
from uploader.service.supervisor import Supervisor
from uploader.settings.schema import Settings


@dataclass
class Loop:
    """A worker's loop that a test turns; its threads run when a test says so."""

    settings: Settings
    #: What reading the configuration finds; one that is an error is raised.
    found: list[Settings | Exception] = field(default_factory=list)
    #: The threads that have not run.
    threads: list[Callable[[], None]] = field(default_factory=list)
    #: How many more threads cannot be had.
    missing: int = 0
    now_s: float = 0.0

    def __post_init__(self) -> None:
        self.worker = Mock(draining=False, running=0, store_broken=False)
        self.manager = Mock(spec=Supervisor)
        self.configured = Configured(self.settings)
        clock = Mock(boot_s=lambda: self.now_s)
        self.reading = Reading(self._read, clock, self._spawn)
        self.turn = daemon._Turn(
            self.worker, self.manager, self.configured, daemon._Hooks(), self.reading
        )

    def _read(self) -> Settings:
        found = self.found.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    def _spawn(self, _: str, run: Callable[[], None]) -> None:
        if self.missing:
            self.missing -= 1
            raise NoThread("no more")
        self.threads.append(run)

    def run_thread(self) -> None:
        self.threads.pop(0)()

    @property
    def told(self) -> list[str]:
        """What the service manager was told of reloads."""
        names = (name for name, *_ in self.manager.method_calls)
        return [name for name in names if name != "turned"]

    @property
    def jobs(self) -> int:
        """How many jobs are taken at once."""
        return self.configured.settings.transfer.max_jobs


@pytest.fixture
def loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Loop:
    monkeypatch.setattr(reload, "log_as", lambda _: None)  # it would take what caplog listens to
    caplog_listens = logging.getLogger("uploader")
    monkeypatch.setattr(caplog_listens, "propagate", True)
    return Loop(configured(tmp_path, 1))


def configured(folder: Path, jobs: int) -> Settings:
    return Settings.model_validate({"state_dir": str(folder), "transfer": {"max_jobs": jobs}})


def test_what_was_read_is_in_force_from_a_later_turn_on(loop: Loop, tmp_path: Path) -> None:
    loop.found = [configured(tmp_path, 7)]
    loop.turn()
    assert (loop.threads, loop.told) == ([], [])
    loop.reading.ask()
    for _ in range(3):
        loop.turn()
    assert (len(loop.threads), loop.jobs, loop.told) == (1, 1, ["reloading"])
    loop.run_thread()
    assert (loop.jobs, loop.told) == (1, ["reloading"])
    loop.turn()
    assert (loop.jobs, loop.told) == (7, ["reloading", "reloaded"])
    loop.worker.follow_limits.assert_called_once()
    loop.turn()
    assert (loop.threads, loop.told) == ([], ["reloading", "reloaded"])


def test_what_is_private_then_is_asked_of_no_disk_by_the_loop(
    loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[bool]()
    running = False

    def private_paths(_: Settings) -> tuple[Path, ...]:
        asked.append(running)
        return (tmp_path / "secret",)

    monkeypatch.setattr(Settings, "private_paths", property(private_paths))
    loop.found = [configured(tmp_path, 7)]
    loop.reading.ask()
    loop.turn()
    running = True
    loop.run_thread()
    running = False
    loop.turn()
    assert asked == [True]
    loop.worker.never_send.assert_called_once_with((tmp_path / "secret",))


def test_a_signal_that_comes_while_it_is_read_is_obeyed_after_that(
    loop: Loop, tmp_path: Path
) -> None:
    loop.found = [configured(tmp_path, 7), configured(tmp_path, 8)]
    loop.reading.ask()
    loop.turn()
    for _ in range(3):
        loop.reading.ask()
        loop.turn()
    assert (len(loop.threads), loop.told) == (1, ["reloading"])
    loop.run_thread()
    loop.turn()
    assert (loop.jobs, loop.told) == (7, ["reloading", "reloaded"])
    loop.turn()
    loop.run_thread()
    loop.turn()
    assert (loop.jobs, loop.told) == (8, ["reloading", "reloaded"] * 2)
    loop.turn()
    assert loop.threads == []


def test_a_disk_that_does_not_answer_is_told_of_once(
    loop: Loop, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told = "the configuration stays as it was for now"
    loop.found = [configured(tmp_path, 7)] * 2
    for count in (1, 2):
        loop.reading.ask()
        loop.turn()
        loop.now_s += PATIENCE_S - 1
        loop.turn()
        assert caplog.text.count(told) == count - 1
        for _ in range(3):
            loop.now_s += PATIENCE_S
            loop.turn()
        assert caplog.text.count(told) == count
        loop.run_thread()
        loop.turn()
        assert loop.jobs == 7
    assert loop.told == ["reloading", "reloaded"] * 2


def test_without_a_thread_it_is_read_once_there_is_one(
    loop: Loop, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    loop.missing, loop.found = 3, [configured(tmp_path, 7)]
    loop.reading.ask()
    for _ in range(3):
        loop.turn()
    assert (loop.threads, loop.told) == ([], [])
    assert caplog.text.count("the configuration is read later: no more") == 1
    loop.turn()
    loop.run_thread()
    loop.turn()
    assert (loop.jobs, loop.told) == (7, ["reloading", "reloaded"])


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (UsageError("it is wrong", hint="fix it"), "stays as it was: it is wrong (fix it)"),
        (ZeroDivisionError(), "stays as it was"),
    ],
    ids=["wrong", "a bug"],
)
def test_what_cannot_be_used_changes_nothing(
    loop: Loop, tmp_path: Path, caplog: pytest.LogCaptureFixture, problem: Exception, words: str
) -> None:
    loop.found = [problem, configured(tmp_path, 7)]
    loop.reading.ask()
    loop.turn()
    loop.run_thread()
    loop.turn()
    assert (loop.jobs, loop.told) == (1, ["reloading", "reloaded"])
    assert words in caplog.text
    loop.reading.ask()
    loop.turn()
    loop.run_thread()
    loop.turn()
    assert loop.jobs == 7


def test_a_drain_reads_nothing_and_takes_nothing_over(loop: Loop, tmp_path: Path) -> None:
    loop.found = [configured(tmp_path, 7)]
    loop.reading.ask()
    loop.turn()
    loop.run_thread()
    loop.worker.draining = True
    loop.reading.ask()
    for _ in range(3):
        loop.turn()
    assert (loop.threads, loop.jobs, loop.told) == ([], 1, ["reloading"])
    assert loop.manager.turned.call_count == 4
