"""The command line in this process, in a home of its own, and jobs in any state."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import google_crc32c
import pytest
from typer.main import get_command

from tests.model.build import BASE, folder
from uploader.cli import app
from uploader.runtime import SystemClock
from uploader.store.database import migrate
from uploader.store.database.dialect import open_engine


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Command = Callable[..., Answer]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment in which nothing is configured but where everything is."""
    for name in os.environ:
        if name.startswith(("UPLOADER_", "FIREWORKS_", "XDG_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("UPLOADER_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty store: to create one anew costs every test a migration."""
    state_dir = tmp_path_factory.mktemp("template")
    database = state_dir / "uploader.db"
    engine = open_engine(f"sqlite:///{database}")
    migrate.ensure(engine, state_dir)
    engine.dispose()  # the last connection to close leaves everything in one file
    return database


@pytest.fixture
def store(home: Path, template: Path) -> Path:
    (home / "state").mkdir(mode=0o700)
    return Path(shutil.copy(template, home / "state"))


@pytest.fixture
def model(home: Path) -> Path:
    return folder(home / "My-Model-3.1", BASE)


@pytest.fixture
def uploader(capsys: pytest.CaptureFixture[str]) -> Command:
    """One command line, in this process."""

    def run(*arguments: object) -> Answer:
        capsys.readouterr()
        code = app.run([str(argument) for argument in arguments])
        return Answer(code, *capsys.readouterr())

    return run


@pytest.fixture
def sql(home: Path) -> Callable[[str], None]:
    """Change the store behind everybody's back."""

    def execute(statements: str) -> None:
        connection = sqlite3.connect(home / "state" / "uploader.db")
        try:
            connection.executescript(statements)
        finally:
            connection.close()

    return execute


@pytest.fixture
def finish(model: Path, sql: Callable[[str], None]) -> Callable[[str], None]:
    """Let every job have that status, with the files of ``model`` sent as they are now."""

    def end(status: str) -> None:
        facts = [
            f"UPDATE files SET crc32c = {google_crc32c.value(path.read_bytes())}"
            f" WHERE path = '{path.relative_to(model)}'"
            for path in model.rglob("*")
            if path.is_file()
        ]
        stored = 'UPDATE files SET stored = 1, verified = 1, "offset" = size_bytes'
        ended = f"UPDATE jobs SET status = '{status}', account = 'acme'"
        ended += ", stage = 'ready'" if status == "done" else ""
        sql("; ".join([*facts, stored, ended]))

    return end


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let stdout pass for a terminal of so many columns."""

    def of(columns: int) -> None:
        names = (
            *("terminal", "status", "show", "explain", "enqueue", "preflight", "config"),
            *("model", "hooks"),
        )
        # All are loaded first: one that is loaded later would take the patched width for its own.
        for module in [import_module(f"uploader.cli.{name}") for name in names]:
            monkeypatch.setattr(module, "width", lambda **_: columns)

    return of


class ScriptedClock(SystemClock):
    """Every wait passes at once, and the next step of the script happens meanwhile."""

    def __init__(self, *steps: Callable[[], object]) -> None:
        self.steps = list(steps)
        self.passed_s = 0.0

    def now(self) -> datetime:
        return datetime(2026, 11, 22, 12, tzinfo=UTC)

    def boot_s(self) -> float:
        return self.passed_s

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        self.passed_s += timeout_s
        if self.steps:
            self.steps.pop(0)()
        return event.is_set()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> ScriptedClock:
    scripted = ScriptedClock()
    monkeypatch.setattr("uploader.wiring.clock", lambda: scripted)
    return scripted


def found(words: tuple[str, ...]) -> Any:
    """The command of these words, as Typer made it."""
    command: Any = get_command(app.app)
    for word in words:
        command = command.commands[word]
    return command
