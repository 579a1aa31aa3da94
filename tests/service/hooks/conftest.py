"""One job, its history and its hooks, and a receiver that keeps what it was sent."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import ScriptedClock
from tests.model.build import BASE, folder
from uploader import wiring
from uploader.cli import app
from uploader.core.events import EventKind
from uploader.core.hooks import kinds_of
from uploader.service.hooks.loop import Hooks
from uploader.settings.load import load
from uploader.store.jobs import Jobs
from uploader.store.journal import Journal, no_listener
from uploader.store.outbox import Outbox


@dataclass
class Receiver:
    """A web server that keeps what it was sent."""

    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    got: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            made.got.append((self.command, self.path, headers, body))
            status, extra = made.answers.pop(0) if made.answers else (204, {})
            self.send_response(status)
            for name, value in extra.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST  # noqa: N815 - the library's name

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made.url = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield made
        server.shutdown()


class Moved(ScriptedClock):
    """A clock that is moved by hand."""

    at = datetime(2026, 11, 22, 12, tzinfo=UTC)

    def now(self) -> datetime:
        return self.at

    def jitter(self) -> float:
        return 1.0

    def boot_s(self) -> float:
        return time.monotonic()


@dataclass
class Lab:
    """One job, its history, and the hooks of a configuration."""

    root: Path
    clock: Moved = field(default_factory=Moved)

    def configure(self, *tables: Mapping[str, object]) -> Hooks:
        lines = []
        for table in tables:
            lines.append("[[hooks]]")
            lines += [f"{name} = {json.dumps(value)}" for name, value in table.items()]
        config = self.root / "config.toml"
        config.write_text("\n".join(lines))
        self.settings = load(config)
        self.opened = wiring.Store(self.settings)
        outbox = self.opened.outbox()
        assert outbox is not None
        self.outbox: Outbox = outbox
        return Hooks(self.settings.hooks, outbox, self.clock, wiring.trust(self.settings))

    @property
    def jobs(self) -> Jobs:
        return self.opened.need()

    def happen(self, *kinds: EventKind) -> None:
        """Write these events into the job's history, as a worker does."""
        journal = Journal(self.opened._opened(), no_listener)
        for kind in kinds:
            with journal.writing(self.clock.now()) as transaction:
                transaction.add_event(1, kind, "words")

    def fill(self, hooks: Hooks) -> int:
        wanted = {hook.name: kinds_of(hook.on) for hook in hooks.hooks}
        return self.outbox.fill(wanted, self.clock.now())


@pytest.fixture
def lab(store: Path, tmp_path: Path) -> Iterator[Lab]:
    assert store.exists()
    assert app.run(["enqueue", str(folder(tmp_path / "m", BASE))]) == 0
    made = Lab(tmp_path)
    yield made
    made.opened.__exit__()


def script(path: Path, text: str) -> list[str]:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)
    return [str(path), "an argument; with $things"]


def tell_all(hooks: Hooks) -> None:
    for hook in hooks.hooks:
        while hooks.tell_next(hook):
            pass
