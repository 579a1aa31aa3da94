"""The daemon's part: it starts what tells the hooks, and an idle worker leaves after that."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from unittest.mock import Mock

import pytest

from tests.service.hooks.conftest import Lab, Receiver
from uploader import wiring
from uploader.core.errors import NoThread, StoreError
from uploader.core.events import EventKind
from uploader.engine.worker import Worker
from uploader.service import daemon
from uploader.service.hooks.loop import Hooks
from uploader.wiring import stores


def test_a_hook_without_a_thread_is_told_once_there_is_one(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    table = {"on": ["ready"], "command": ["/bin/true"]}
    hooks = lab.configure({"name": "a", **table}, {"name": "b", **table})
    ended, started = threading.Event(), list[str]()
    tries = iter([True, False, False, True])

    def spawn(name: str, _run: Callable[[], None]) -> None:
        if not next(tries):
            raise NoThread("no more")
        started.append(name)

    def turn() -> None:
        if len(started) == 2:
            ended.set()

    lab.clock.steps = [turn] * 9
    hooks.run(ended, spawn)
    assert started == ["hook-a", "hook-b"]
    assert caplog.text.count("these hooks are told later: b") == 1


def test_the_daemon_tries_again_to_start_what_tells_the_hooks(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lab.configure({"name": "a", "on": ["ready"], "command": ["/bin/true"]})
    spawn = Mock(side_effect=[NoThread("no more"), NoThread("no more"), None])
    monkeypatch.setattr(daemon, "spawn", spawn)
    hooks = daemon._Hooks()
    hooks.start(lab.settings)
    for _ in range(5):
        hooks.tend()
    assert spawn.call_count == 3
    assert caplog.text.count("the hooks are told later: no more") == 1
    hooks.end()
    hooks.tend()
    assert spawn.call_count == 3


@pytest.mark.parametrize(
    ("answers", "count"), [([], 1), ([(500, {})], 2)], ids=["takes it", "refuses it"]
)
def test_an_idle_worker_leaves_once_its_hooks_were_told_of_what_ended_last(
    lab: Lab, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, answers: list[Any], count: int
) -> None:
    """What comes after that of the same job is not told before it: it is not waited for either."""
    receiver.answers, refused = [*answers], bool(answers)
    lab.clock.at = datetime.now(UTC)  # what is too old is given up, and not put off
    table = {"name": "a", "on": ["ready"], "webhook": receiver.url, "timeout": "1h"}
    lab.fill(lab.configure(table))

    def ends_its_last_job(_: Worker, *, until_idle: bool) -> bool:
        lab.happen(*[EventKind.READY] * count)
        return until_idle

    monkeypatch.setattr(Worker, "run", ends_its_last_job)
    monkeypatch.setattr(daemon, "_on_signals", lambda *_: [])
    daemon.run(lab.settings, until_idle=True)
    assert len(receiver.got) == (1 if refused else count)
    assert not lab.outbox.behind(["a"])


def test_an_idle_worker_waits_for_no_hook_for_ever(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lab.fill(lab.configure({"name": "a", "on": ["ready"], "command": ["/bin/true"]}))
    lab.happen(EventKind.READY)
    turn = Mock(**{"worker.draining": False})
    seconds = iter(range(1000))
    monkeypatch.setattr(lab.clock, "boot_s", lambda: next(seconds), raising=False)
    monkeypatch.setattr(wiring, "clock", lambda: lab.clock)
    daemon._catch_up(lab.settings, turn)
    assert "the next worker will" in caplog.text
    turn.worker.draining = True
    daemon._catch_up(lab.settings, turn)
    assert next(seconds) < 100


def test_the_outbox_needs_no_secret_whose_disk_may_be_silent(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker's own thread asks for it when it is idle."""
    lab.configure({"name": "a", "on": ["ready"], "command": ["/bin/true"]})
    monkeypatch.setattr(stores, "seal", Mock(side_effect=AssertionError))
    with wiring.Store(lab.settings) as store:
        assert store.outbox() is not None


def test_a_store_that_cannot_be_used_for_a_while_ends_no_telling(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lab.configure({"name": "a", "on": ["ready"], "command": ["/bin/true"]})
    ended = threading.Event()
    opened, clock = Mock(side_effect=[StoreError("locked"), lab.outbox]), lab.clock
    monkeypatch.setattr(wiring.Store, "outbox", opened)
    monkeypatch.setattr(wiring, "clock", lambda: clock)
    monkeypatch.setattr(Hooks, "run", lambda *_: ended.set())
    daemon._tell(lab.settings, ended)
    assert opened.call_count == 2
    assert "the hooks are told later: locked" in caplog.text
