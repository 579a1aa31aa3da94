"""No row that cannot be read, and no bug, keeps what is sound from being told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from sqlalchemy import func, select, update

from tests.model.build import BASE, folder
from tests.service.hooks.conftest import Lab, Receiver, script
from uploader.cli import app
from uploader.core.documents import job_document
from uploader.core.events import EventKind
from uploader.service.hooks import loop
from uploader.service.hooks.loop import Hooks
from uploader.store.journal import Journal, no_listener
from uploader.store.outbox import Outbox
from uploader.store.outbox_tables import deliveries
from uploader.store.tables import jobs
from uploader.threads import Spawn, spawn


def write(lab: Lab, statement: Any) -> None:
    """As somebody who may write the database."""
    with lab.opened._opened().begin() as connection:
        connection.execute(statement)


def test_a_job_that_cannot_be_read_keeps_no_other_job_from_being_told(
    lab: Lab, tmp_path: Path
) -> None:
    assert app.run(["enqueue", str(folder(tmp_path / "n", BASE))]) == 0
    hooks = lab.configure({"name": "h", "on": ["ready"], "command": script(tmp_path / "x", "")})
    lab.fill(hooks)
    write(lab, update(jobs).where(jobs.c.id == 1).values(options=5))
    lab.happen(EventKind.READY)
    with Journal(lab.opened._opened(), no_listener).writing(lab.clock.now()) as transaction:
        transaction.add_event(2, EventKind.READY, "words")
    assert lab.fill(hooks) == 1
    assert hooks.tell_next(hooks.hooks[0])
    assert lab.outbox.states(["h"])[0].waiting == 0


@pytest.mark.parametrize(
    "nonsense",
    [
        *(
            {"document": text}
            for text in ("{half", "[]", "5", "[" * 100_000, '{"id": "\\ud800"}', '{"id": 1e999}')
        ),
        {"failures": 2**31 - 1},
        {"failures": -1},
    ],
    ids=str,
)
def test_a_delivery_that_is_none_is_forgotten(
    lab: Lab, tmp_path: Path, nonsense: dict[str, Any]
) -> None:
    hooks = lab.configure({"name": "h", "on": ["ready"], "command": script(tmp_path / "x", "")})
    lab.fill(hooks)
    lab.happen(EventKind.READY, EventKind.READY)
    lab.fill(hooks)
    first = select(func.min(deliveries.c.id)).scalar_subquery()
    write(lab, update(deliveries).where(deliveries.c.id == first).values(nonsense))
    assert hooks.tell_next(hooks.hooks[0])
    assert lab.outbox.states(["h"])[0].waiting == 0


def test_a_bug_in_one_delivery_does_not_end_the_telling(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks = lab.configure({"name": "h", "on": ["ready"], "command": script(tmp_path / "x", "")})
    lab.fill(hooks)
    lab.happen(EventKind.READY)
    lab.fill(hooks)
    monkeypatch.setattr(loop, "deliver", Mock(side_effect=RuntimeError("CANARY")))
    assert hooks.tell_next(hooks.hooks[0])
    state = lab.outbox.states(["h"])[0]
    assert (state.waiting, state.last_error) == (1, "a bug: RuntimeError")


def run_until(lab: Lab, hooks: Hooks, reached: Callable[[], object], start: Spawn = spawn) -> None:
    """The hooks' threads, until something has happened."""
    ended, give_up = threading.Event(), time.monotonic() + 60
    filling = threading.Thread(target=hooks.run, args=(ended, start), daemon=True)
    filling.start()
    try:
        while not reached():
            assert time.monotonic() < give_up
            lab.clock.wait(ended, 0.05)
    finally:
        ended.set()
        filling.join(60)


def test_a_bug_while_the_outbox_is_filled_does_not_end_the_telling(
    lab: Lab, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks = lab.configure({"name": "h", "on": ["ready"], "webhook": receiver.url})
    lab.fill(hooks)
    lab.happen(EventKind.READY)
    fill, bugs = Outbox.fill, iter([OverflowError("CANARY")])

    def odd(*of: Any) -> int:
        for bug in bugs:
            raise bug
        return fill(*of)

    monkeypatch.setattr(Outbox, "fill", odd)
    run_until(lab, hooks, lambda: receiver.got)


def test_a_bug_in_a_hooks_own_thread_does_not_end_it(
    lab: Lab, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks = lab.configure({"name": "h", "on": ["ready"], "webhook": receiver.url})
    lab.fill(hooks)
    lab.happen(EventKind.READY)
    take, bugs = Outbox.take, iter([OverflowError("CANARY")])

    def odd(*of: Any) -> Any:
        for bug in bugs:
            raise bug
        return take(*of)

    monkeypatch.setattr(Outbox, "take", odd)
    run_until(lab, hooks, lambda: receiver.got)


def test_a_heartbeat_with_a_bug_keeps_no_job_from_being_told(
    lab: Lab, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks = lab.configure({"name": "h", "on": ["ready", "heartbeat"], "ping": receiver.url})
    lab.fill(hooks)
    lab.happen(EventKind.READY)
    monkeypatch.setattr(loop, "beat", Mock(side_effect=RuntimeError("CANARY")))
    run_until(lab, hooks, lambda: receiver.got)


def test_a_job_of_which_no_document_can_be_made_keeps_no_other_from_being_told(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks = lab.configure({"name": "h", "on": ["ready"], "command": script(tmp_path / "x", "")})
    lab.fill(hooks)
    lab.happen(EventKind.READY, EventKind.READY)
    bugs = iter([OverflowError("cannot convert float infinity")])

    def odd(*of: Any) -> Any:
        for bug in bugs:
            raise bug
        return job_document(*of)

    monkeypatch.setattr("uploader.store.outbox.job_document", odd)
    assert lab.fill(hooks) == 1
