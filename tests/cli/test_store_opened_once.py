"""A command opens the state store once, whatever it does with it, and closes it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from tests.cli.conftest import Command, ScriptedClock
from tests.cli.test_other_commands import commands
from uploader.store.database import dialect

MODEL = "MODEL"
#: Every command that looks into the store, and the state it needs the job in.
OPENING: dict[str, tuple[tuple[str, ...], str]] = {
    "bare": ((), "active"),
    "enqueue": (("enqueue", MODEL, "--model-id", "another"), "active"),
    "enqueue again": (("enqueue", MODEL), "active"),
    "enqueue --dry-run": (("enqueue", MODEL, "--dry-run"), "active"),
    "enqueue --wait": (("enqueue", MODEL, "--wait"), "done"),
    "preflight": (("preflight", MODEL), "active"),
    "run": (("run", "--until-idle"), "done"),
    "status": (("status",), "active"),
    "status JOB": (("status", "1"), "active"),
    "show": (("show", "1"), "active"),
    "explain": (("explain", "1"), "active"),
    "upload": (("upload", MODEL), "done"),
    "wait": (("wait", "1"), "done"),
    "follow": (("follow", "1"), "done"),
    "pause": (("pause", "1"), "active"),
    "resume": (("resume", "1"), "paused"),
    "cancel": (("cancel", "1"), "active"),
    "retry": (("retry", "1"), "failed"),
    "retry --rescan": (("retry", "1", "--rescan"), "failed"),
    "remove": (("remove", "1"), "failed"),
    "prune": (("prune",), "active"),
    "receipt": (("receipt", "1"), "done"),
    "verify": (("verify", "1"), "done"),
    "edit": (("edit", "1", "--priority", "3"), "active"),
    "limit": (("limit",), "active"),
    "hooks list": (("hooks", "list"), "active"),
    "hooks retry": (("hooks", "retry"), "active"),
    "limit again": (("limit", "20MB/s"), "active"),
    "logs": (("logs", "1"), "active"),
    "events": (("events",), "active"),
    "db current": (("db", "current"), "active"),
    "db upgrade": (("db", "upgrade"), "active"),
    "db backup": (("db", "backup"), "active"),
}
#: They have nothing to do with the store.
NOT_OPENING = {
    *("config show", "config path", "config check", "sandbox", "demo", "help", "version", "man"),
    *("config", "db", "hooks", ""),
    *("dashboard", "hooks test"),
    *("serve", "doctor"),  # one has no end, one asks the network: tests/service has their store
    *("service", "service install", "service uninstall", "service status"),
    *(
        "model",
        "model list",
        "model show",
        "model adopt",
        "model delete",
    ),  # they ask the network, too
}


class Opened:
    """The engines that were opened, and how many of them were closed."""

    def __init__(self) -> None:
        self.engines: list[Engine] = []
        self.closed = 0

    def note(self, engine: Engine) -> Engine:
        self.engines.append(engine)
        event.listen(engine, "engine_disposed", self._note_closed)
        return engine

    def _note_closed(self, _: Engine) -> None:
        self.closed += 1


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Opened:
    found, real = Opened(), dialect.open_engine

    def open_engine(*arguments: Any, **options: Any) -> Engine:
        return found.note(real(*arguments, **options))

    monkeypatch.setattr(dialect, "open_engine", open_engine)
    monkeypatch.setattr("uploader.service.daemon._on_signals", lambda *_: None)
    monkeypatch.setattr("uploader.service.logs.log_to_stderr", lambda *_, **__: None)
    return found


@pytest.mark.parametrize("name", OPENING)
def test_a_command_opens_the_store_once_and_closes_it(
    name: str,
    uploader: Command,
    model: Path,
    store: Path,
    finish: Callable[[str], None],
    opened: Opened,
) -> None:
    words, status = OPENING[name]
    assert uploader("enqueue", model).code == 0
    finish(status)
    opened.engines, opened.closed = [], 0
    answer = uploader(*(model if word == MODEL else word for word in words))
    assert answer.code == 0, answer.err
    assert (len(opened.engines), opened.closed) == (1, 1)
    assert not store.with_name(f"{store.name}-wal").exists()


def test_the_store_is_closed_after_an_error_too(
    uploader: Command, model: Path, store: Path, opened: Opened
) -> None:
    del store
    assert uploader("enqueue", model).code == 0
    for words in (("show", "7"), ("pause", "7"), ("enqueue", model, "--public")):
        opened.engines, opened.closed = [], 0
        assert uploader(*words).code != 0
        assert (len(opened.engines), opened.closed) == (1, 1)


def test_a_first_job_is_one_opening_too(uploader: Command, model: Path, opened: Opened) -> None:
    assert uploader("enqueue", model).code == 0
    assert (len(opened.engines), opened.closed) == (1, 1)


def test_following_opens_the_store_once_it_is_there(
    uploader: Command, model: Path, clock: ScriptedClock, opened: Opened
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    def enqueue() -> None:
        from uploader.cli import app  # noqa: PLC0415 - another process, as it were

        assert app.run(["enqueue", str(model)]) == 0
        opened.engines, opened.closed = [], 0

    clock.steps = [lambda: None, enqueue, *[lambda: None] * 3, interrupt]
    assert uploader("logs", "-f").code == 130
    assert (len(opened.engines), opened.closed) == (1, 1)


def test_every_command_is_counted() -> None:
    counted = {re.sub(r" (again|--.*|JOB)$", "", name) for name in OPENING} - {"bare"}
    assert counted == {" ".join(words) for words in commands()} - NOT_OPENING
