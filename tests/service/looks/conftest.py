"""Looks that are held at a gate, or by a disk that says nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.service.conftest import Answer, Site
from uploader import files
from uploader.service.http import jobs as routes
from uploader.service.http import looks

DEADLINE_S = 9.0


@dataclass
class Gate:
    """Whoever looks at a folder waits here until it is opened."""

    opened: threading.Event = field(default_factory=threading.Event)
    inside: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    answer: Any = None

    def __call__(self, *_: Any, **__: Any) -> Any:
        self.inside.release()
        assert self.opened.wait(DEADLINE_S)
        if self.answer is None:
            raise ZeroDivisionError
        return self.answer

    def have_come(self, count: int) -> None:
        for _ in range(count):
            assert self.inside.acquire(timeout=DEADLINE_S)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    made = Gate()
    for name in ("inspect", "planned", "start_over"):
        monkeypatch.setattr(routes, name, made)
    yield made
    made.opened.set()


@contextmanager
def asking(site: Site, gate: Gate, paths: list[str]) -> Iterator[list[Future[Answer]]]:
    """All of them at once, each about a folder of its own."""
    with ThreadPoolExecutor(len(paths)) as pool:
        try:
            yield [
                pool.submit(site.ask, path, {"path": str(site.folder(f"m{number}"))})
                for number, path in enumerate(paths)
            ]
        finally:
            gate.opened.set()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks, "PATIENCE_S", 1.0)  # nobody waits that long for a processor
    monkeypatch.setattr(looks, "_TURN_S", 0.02)
    monkeypatch.setattr(looks, "_WAITS_S", 0.5)


@dataclass
class Disk:
    """The files of one folder are opened once it answers."""

    folder: Path
    answers: threading.Event = field(default_factory=threading.Event)
    opened: list[str] = field(default_factory=list)
    asked: int = 0

    def __call__(self, name: Any, *how: Any, **more: Any) -> int:
        if Path(name).parent == self.folder:
            self.asked += 1
            assert self.answers.wait(DEADLINE_S)
            self.opened.append(Path(name).name)
        return _open(name, *how, **more)


_open = files.descriptor_of


@pytest.fixture
def silent(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    disk = Disk(site.folder("silent"))
    monkeypatch.setattr(files, "descriptor_of", disk)
    yield disk
    disk.answers.set()
    have_ended()


def looking() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == "look"]


def have_ended(but: int = 0) -> None:
    give_up_s = time.monotonic() + DEADLINE_S
    while len(looking()) > but:  # a thread rests after it, and is not joined
        assert time.monotonic() < give_up_s
        time.sleep(0.01)
