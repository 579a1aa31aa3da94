"""However many folders the API is asked to look at, it looks at few of them at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import pytest

from tests.service.conftest import Answer, Site
from uploader.core.lifecycle import Verb
from uploader.service.http import jobs as routes
from uploader.service.http import looks

_DEADLINE_S = 9.0


@dataclass
class Gate:
    """Whoever looks at a folder waits here until it is opened."""

    opened: threading.Event = field(default_factory=threading.Event)
    inside: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def __call__(self, *_: Any, **__: Any) -> Any:
        self.inside.release()
        assert self.opened.wait(_DEADLINE_S)
        raise ZeroDivisionError

    def have_come(self, count: int) -> None:
        for _ in range(count):
            assert self.inside.acquire(timeout=_DEADLINE_S)


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


@pytest.mark.parametrize("path", ["/api/preflight", "/api/jobs", "/api/jobs/m/retry"])
def test_of_folders_to_look_at_one_too_many_is_refused_for_now(
    site: Site, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    folder = str(site.folder())
    assert site.ask("/api/jobs", {"path": folder, "model_id": "m"}).status == 201
    site.jobs.apply(1, Verb.CANCEL, site.jobs.job(1).created_at)
    monkeypatch.setattr(looks, "_PATIENCE_S", 0.1)
    gate = Gate()
    for name in ("inspect", "planned", "start_over"):
        monkeypatch.setattr(routes, name, gate)
    body = {"rescan": True} if path.endswith("retry") else {"path": folder}
    with asking(site, gate, ["/api/preflight", "/api/jobs"]):
        gate.have_come(2)
        refused = site.ask(path, body)
        assert (refused.status, refused.json["code"]) == (429, "too_fast")
        assert refused.headers["retry-after"] == "1"
        assert "Retry-After" in refused.json["hint"]
        assert site.ask("/api/jobs").status == 200


def test_one_too_many_waits_for_its_turn(site: Site, gate: Gate) -> None:
    with asking(site, gate, ["/api/preflight"] * 3) as asked:
        gate.have_come(2)
        assert not gate.inside.acquire(timeout=0.2)
        gate.opened.set()
        gate.have_come(1)
    assert [one.result().status for one in asked] == [500] * 3


def test_those_who_wait_leave_threads_to_everything_else(site: Site, gate: Gate) -> None:
    asked_for, most = 45, 2 + 16
    with asking(site, gate, ["/api/preflight"] * asked_for) as asked:
        answered = islice(as_completed(asked, timeout=_DEADLINE_S), asked_for - most)
        assert [one.result().status for one in answered] == [429] * (asked_for - most)
        assert site.ask("/api/jobs").status == 200
