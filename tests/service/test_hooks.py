"""Hooks: what is told, to whom, how often, and what a dead receiver costs."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from apprise import Apprise
from sqlalchemy import func, select, update
from standardwebhooks.webhooks import Webhook

from tests.cli.conftest import ScriptedClock, home, store, template
from tests.model.build import BASE, folder
from uploader import wiring
from uploader.cli import app
from uploader.core.documents import job_document
from uploader.core.errors import NoThread, StoreError, UsageError
from uploader.core.events import EventKind
from uploader.core.hooks import (
    GIVE_UP_AFTER,
    LEAST_TRIES,
    MAX_WAITING,
    Undelivered,
    again_after_s,
    kinds_of,
)
from uploader.core.redact import ApiKey, remember
from uploader.engine.worker import Worker
from uploader.remote.webhook import may_reach
from uploader.service import daemon
from uploader.service.hooks import command, deliver, loop, notify
from uploader.service.hooks.loop import Hooks
from uploader.settings.hooks import deaf
from uploader.settings.load import load
from uploader.store.claims import Claims
from uploader.store.jobs import Jobs
from uploader.store.journal import Journal, no_listener
from uploader.store.outbox import Outbox
from uploader.store.outbox_tables import deliveries
from uploader.store.tables import jobs
from uploader.threads import Spawn, spawn

__all__ = ["home", "store", "template"]


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


def test_a_command_gets_the_jobs_document_and_no_key(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIREWORKS_API_KEY", "fw_secret_of_the_test")
    argv = script(
        tmp_path / "hook", f"cat > {tmp_path}/in; env > {tmp_path}/env; echo $1 > {tmp_path}/arg"
    )
    hooks = lab.configure({"name": "h", "on": ["ready"], "command": argv})
    assert lab.fill(hooks) == 0
    lab.happen(EventKind.READY)
    assert lab.fill(hooks) == 1
    tell_all(hooks)
    document = json.loads((tmp_path / "in").read_text())
    assert (document["schema"], document["id"]) == ("uploader.job/1", 1)
    environment = (tmp_path / "env").read_text()
    assert {"UPLOADER_EVENT=ready", "UPLOADER_JOB=1"} <= {*environment.splitlines()}
    assert "fw_secret_of_the_test" not in environment
    assert (tmp_path / "arg").read_text() == "an argument; with $things\n"
    assert lab.outbox.states(["h"])[0].waiting == 0


def test_each_hook_is_told_only_of_what_it_asked_for(lab: Lab, receiver: Receiver) -> None:
    hooks = lab.configure(
        {"name": "a", "on": ["ready"], "webhook": f"{receiver.url}/a"},
        {"name": "b", "on": ["needs_human", "failed"], "webhook": f"{receiver.url}/b"},
        {"name": "c", "on": ["healed"], "webhook": f"{receiver.url}/c"},
    )
    lab.fill(hooks)
    kinds = (
        EventKind.FAILED,
        EventKind.BLOCKED,
        EventKind.HEALED,
        EventKind.STORED,
        EventKind.READY,
    )
    lab.happen(*kinds)
    lab.fill(hooks)
    tell_all(hooks)
    told = [(path, json.loads(body)["type"]) for _, path, _, body in receiver.got]
    assert told == [
        ("/a", "job.ready"),
        ("/b", "job.failed"),
        ("/b", "job.blocked"),
        ("/c", "job.healed"),
    ]


def test_a_webhook_is_signed_by_each_secret_and_keeps_its_id_on_retries(
    lab: Lab, receiver: Receiver, tmp_path: Path
) -> None:
    secrets = ["whsec_" + base64.b64encode(bytes([n]) * 24).decode() for n in (1, 2)]
    files = [tmp_path / f"secret{n}" for n in (1, 2)]
    for file, secret in zip(files, secrets, strict=True):
        file.write_text(f"{secret}\n")
    lab.clock.at = datetime.now(UTC)
    hooks = lab.configure(
        {"name": "h", "on": ["ready"], "webhook": receiver.url, "secret_file": [*map(str, files)]}
    )
    lab.fill(hooks)
    lab.happen(EventKind.READY)
    lab.fill(hooks)
    receiver.answers = [(500, {})]
    tell_all(hooks)
    lab.clock.at += timedelta(minutes=1)
    tell_all(hooks)
    (_, _, first, body), (_, _, second, again) = receiver.got
    assert (first["webhook-id"], body) == (second["webhook-id"], again)
    assert first["webhook-signature"] != second["webhook-signature"]
    for secret in secrets:
        assert Webhook(secret).verify(again, second)["data"]["id"] == 1
    assert json.loads(body).keys() == {"type", "timestamp", "data"}


def test_a_crash_before_the_delivery_is_settled_tells_it_again(
    lab: Lab, receiver: Receiver
) -> None:
    hooks = lab.configure({"name": "h", "on": ["ready"], "webhook": receiver.url})
    lab.fill(hooks)
    lab.happen(EventKind.READY)
    lab.fill(hooks)
    lent = lab.outbox.take(["h"], lab.clock.now(), 90.0)
    assert lent is not None
    assert lab.outbox.take(["h"], lab.clock.now(), 90.0) is None  # another worker leaves it alone
    lab.clock.at += timedelta(seconds=91)
    tell_all(hooks)
    assert receiver.got[0][2]["webhook-id"] == lent.message_id


def test_of_one_job_a_hook_is_told_in_order_and_another_job_is_not_kept(
    lab: Lab, receiver: Receiver
) -> None:
    hooks = lab.configure({"name": "h", "on": ["ready", "failed"], "webhook": receiver.url})
    lab.fill(hooks)
    lab.happen(EventKind.FAILED, EventKind.READY)
    lab.fill(hooks)
    receiver.answers = [(503, {"Retry-After": "600"})]
    tell_all(hooks)
    assert len(receiver.got) == 1
    lab.clock.at += timedelta(seconds=599)
    tell_all(hooks)
    assert len(receiver.got) == 1  # Retry-After is honoured
    lab.clock.at += timedelta(seconds=2)
    tell_all(hooks)
    assert [json.loads(body)["type"] for *_, body in receiver.got] == ["job.failed"] * 2 + [
        "job.ready"
    ]


def test_410_switches_a_hook_off_until_retry(
    lab: Lab, receiver: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    hooks = lab.configure({"name": "h", "on": ["ready"], "webhook": receiver.url})
    lab.fill(hooks)
    lab.happen(EventKind.READY, EventKind.READY)
    lab.fill(hooks)
    receiver.answers = [(410, {})]
    tell_all(hooks)
    lab.happen(EventKind.READY)
    lab.fill(hooks)
    tell_all(hooks)
    assert len(receiver.got) == 1
    config = str(lab.root / "config.toml")
    capsys.readouterr()
    assert app.run(["--config", config, "hooks", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["hooks"][0]["off"] is True
    assert app.run(["--config", config, "hooks", "retry", "h"]) == 0
    lab.happen(EventKind.READY)
    lab.fill(hooks)
    tell_all(hooks)
    assert len(receiver.got) == 2


def test_a_dead_receiver_is_told_in_the_history_given_up_and_bounded(
    lab: Lab, receiver: Receiver
) -> None:
    hooks = lab.configure({"name": "h", "on": ["ready"], "webhook": receiver.url})
    lab.fill(hooks)
    lab.happen(EventKind.READY)
    lab.fill(hooks)
    receiver.answers = [(500, {})] * 1000
    for _ in range(3):
        tell_all(hooks)
        lab.clock.at += timedelta(hours=1)
    kinds = [event.kind for event in lab.jobs.events(1)]
    assert kinds.count("hook_failed") == 1
    assert lab.outbox.undelivered(1)[0][0] == "h"
    lab.clock.at += GIVE_UP_AFTER  # as if a clock that was set ahead had said so
    tell_all(hooks)
    assert lab.outbox.states(["h"])[0].waiting == 1
    for _ in range(LEAST_TRIES):
        lab.clock.at += timedelta(hours=1)
        tell_all(hooks)
    assert lab.outbox.states(["h"])[0].waiting == 0
    assert 1000 - len(receiver.answers) == LEAST_TRIES
    assert [event.kind for event in lab.jobs.events(1)].count("hook_failed") == 2
    assert lab.jobs.job(1).status == "active"


@pytest.mark.parametrize("ahead", [timedelta(days=1), timedelta(hours=1)])
def test_a_clock_that_is_set_back_keeps_no_delivery_waiting(
    lab: Lab, receiver: Receiver, ahead: timedelta
) -> None:
    hooks = lab.configure({"name": "h", "on": ["ready"], "webhook": receiver.url})
    lab.fill(hooks)
    lab.happen(EventKind.READY)
    lab.clock.at += ahead
    lab.fill(hooks)
    receiver.answers = [(500, {})]
    tell_all(hooks)
    lab.clock.at -= ahead
    if ahead < timedelta(days=1):  # so near is only what a worker clears that sees it happen
        tell_all(hooks)
        assert len(receiver.got) == 1
        Claims(lab.opened._opened(), now=lab.clock.now).clear_future_waits()
    tell_all(hooks)
    assert len(receiver.got) == 2
    assert lab.outbox.states(["h"])[0].waiting == 0


def test_the_backlog_of_a_dead_receiver_is_bounded(lab: Lab) -> None:
    hooks = lab.configure({"name": "h", "on": ["ready"], "webhook": "http://127.0.0.1:9"})
    lab.fill(hooks)
    journal = Journal(lab.opened._opened(), no_listener)
    with journal.writing(lab.clock.now()) as transaction:
        for _ in range(MAX_WAITING + 200):
            transaction.add_event(1, EventKind.READY, "words")
    while lab.fill(hooks):
        pass
    assert lab.outbox.states(["h"])[0].waiting == MAX_WAITING


def test_a_ping_says_start_success_and_failure(lab: Lab, receiver: Receiver) -> None:
    hooks = lab.configure(
        {
            "name": "h",
            "on": ["started", "ready", "needs_human", "healed"],
            "ping": f"{receiver.url}/uuid",
        }
    )
    lab.fill(hooks)
    lab.happen(
        EventKind.CREATED, EventKind.BLOCKED, EventKind.HEALED, EventKind.FAILED, EventKind.READY
    )
    lab.fill(hooks)
    tell_all(hooks)
    assert [path for _, path, _, _ in receiver.got] == [
        "/uuid/start", "/uuid/fail", "/uuid/start", "/uuid/fail", "/uuid",
    ]  # fmt: skip
    assert not [body for *_, body in receiver.got if body.rstrip().endswith(b":")]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("exit 3", "exit code 3"),
        ("echo words of mine; exit 1", "words of mine"),
        ("sleep 60", "did not end"),
        ("sleep 60 & exit 2", "exit code 2"),
        ("head -c 300000 /dev/zero; exit 4", "exit code 4"),
    ],
)
def test_a_command_that_fails_or_hangs_is_bounded(
    lab: Lab, tmp_path: Path, text: str, why: str
) -> None:
    hooks = lab.configure(
        {"name": "h", "on": ["ready"], "command": script(tmp_path / "hook", text), "timeout": "2s"}
    )
    lab.fill(hooks)
    lab.happen(EventKind.READY)
    lab.fill(hooks)
    began = time.monotonic()
    tell_all(hooks)
    assert time.monotonic() - began < 20
    assert why in (lab.outbox.states(["h"])[0].last_error or "")


SECRET = "fw_CANARY0123456789abcdef"
SPELLED = base64.b64encode(f"x {SECRET} y".encode()).decode()


@pytest.mark.parametrize(
    ("printed", "words"),
    [
        (f"{SECRET}{'y' * (64 * 1024 - 8)}", ""),
        (f"{SECRET.encode().hex()}{'y' * (64 * 1024 - 40)}", ""),
        (f"{SECRET}{'y' * (64 * 1024 - 30)}\nthat is why", "that is why"),
        (f"that is why\n{SPELLED[:20]}\n{SPELLED[20:]}", None),
    ],
    ids=["as it is", "in hexadecimal", "with a line after it", "over lines"],
)
def test_no_cut_of_what_a_command_prints_lets_the_end_of_a_secret_through(
    tmp_path: Path, printed: str, words: str | None
) -> None:
    remember(ApiKey(SECRET))
    said = tmp_path / "said"
    said.write_text(printed)
    _, ended = command.finished(["cat", str(said)], b"", {}, 30.0, wiring.clock())
    found = command.last_words(ended)
    assert words in (None, found)
    assert SECRET[-8:] not in found
    assert SPELLED[20:36] not in found


@pytest.mark.skipif(not hasattr(os, "waitid"), reason="an end is not seen without waiting for it")
@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("exit 3", 3),
        ("sleep 60 & exit 2", 2),
        ("exec >&- 2>&-; sleep 0.2; exit 4", 4),
        ("sleep 60", None),
    ],
)
def test_a_group_is_killed_before_its_number_can_be_anothers(
    text: str, code: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[bool] = []
    real = os.killpg

    def killpg(group: int, number: int) -> None:
        # It raises ChildProcessError once the process was waited for, and its number is free.
        ended = os.waitid(os.P_PID, group, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        killed.append(ended is not None)
        real(group, number)

    monkeypatch.setattr(os, "killpg", killpg)
    try:
        found, _ = command.finished(["sh", "-c", text], b"", {}, 2.0, wiring.clock())
    except Undelivered:
        assert code is None
    else:
        assert found == code
    assert killed == [code is not None]


@pytest.mark.skipif(shutil.which("setsid") is None, reason="no program to start a session with")
def test_what_a_command_leaves_running_with_its_stdin_unread_holds_nobody_up(
    tmp_path: Path,
) -> None:
    pid, rest = tmp_path / "pid", "exec sleep 60"
    text = f"exec 3<&0\nsetsid sh -c 'echo $$ >{pid}; {rest}' <&3 >/dev/null 2>&1 &"
    wait = f"until [ -s {pid} ]; do sleep 0.01; done"
    began = time.monotonic()
    try:
        large = {"id": 1, "files": "x" * 300_000}
        command.run(["sh", "-c", f"{text}\n{wait}"], "ready", large, 50.0, wiring.clock())
    finally:
        os.kill(int(pid.read_text()), signal.SIGKILL)
    assert time.monotonic() - began < 30


def test_a_command_that_is_not_there_is_a_failure_not_a_bug(lab: Lab) -> None:
    hooks = lab.configure({"name": "h", "on": ["ready"], "command": ["/nowhere/at/all"]})
    lab.fill(hooks)
    lab.happen(EventKind.READY)
    lab.fill(hooks)
    tell_all(hooks)
    assert "cannot be run" in (lab.outbox.states(["h"])[0].last_error or "")


@pytest.mark.parametrize(
    "address",
    [
        "10.1.2.3",
        "192.168.0.1",
        "169.254.169.254",
        "fe80::1%eth0",
        "fd00::1",
        "::ffff:10.0.0.1",
        "0.0.0.0",
        "100.64.0.1",
        "nonsense",
        "64:ff9b::a9fe:a9fe",
        "2002:a00:1::1",
        "::10.0.0.1",
        "::",
        "224.0.0.1",
        "ff0e::1",
        "192.0.0.192",
        "64:ff9b:1::a9fe:a9fe",
        "::ffff:0:a9fe:a9fe",
        "fec0::1",
    ],
)
def test_private_and_link_local_addresses_are_reached_only_if_allowed(address: str) -> None:
    assert not may_reach(address, private=False)
    assert may_reach(address, private=True) is (address != "nonsense")


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "::1", "::ffff:127.0.0.1", "93.184.216.34", "2606:4700::1111",
        "64:ff9b::5db8:d822",
    ],
)  # fmt: skip
def test_public_addresses_and_this_machine_are_reached(address: str) -> None:
    assert may_reach(address, private=False)


def test_a_private_receiver_is_refused_before_anything_is_sent(lab: Lab) -> None:
    hooks = lab.configure({"name": "h", "on": ["ready"], "webhook": "https://10.255.255.1/x"})
    lab.fill(hooks)
    lab.happen(EventKind.READY)
    lab.fill(hooks)
    tell_all(hooks)
    assert "allow_private" in (lab.outbox.states(["h"])[0].last_error or "")


@pytest.fixture
def apprise_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def tell(url: str, title: str, text: str, *_: object, private: bool) -> None:
        notify.notify(url, title, text, private=private)

    monkeypatch.setattr(deliver, "tell", tell)


@contextlib.contextmanager
def stranger(first: bytes, piece: bytes, pieces: int, pause_s: float = 0.0) -> Iterator[str]:
    """The address of a server that answers with ``first``, and ``pieces`` times with ``piece``."""
    ended = threading.Event()

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            connection.recv(65536)
            connection.sendall(first)
            for _ in range(pieces):
                connection.sendall(piece)
                if ended.wait(pause_s):
                    return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        yield f"json://127.0.0.1:{listener.getsockname()[1]}/CANARY"
        ended.set()
    thread.join(10)


def told_by_apprise(lab: Lab, url: str, timeout: str) -> str:
    """Why it was not taken; empty if it was."""
    hooks = lab.configure({"name": "h", "on": ["ready"], "apprise": url, "timeout": timeout})
    lab.fill(hooks)
    lab.happen(EventKind.READY)
    lab.fill(hooks)
    tell_all(hooks)
    state = lab.outbox.states(["h"])[0]
    assert bool(state.last_error) == bool(state.waiting)
    return state.last_error or ""


def test_apprise_tells_what_happened(lab: Lab, receiver: Receiver) -> None:
    url = f"json://{receiver.url.removeprefix('http://')}/CANARY"
    assert told_by_apprise(lab, url, "30s") == ""
    assert [json.loads(body)["title"] for _, _, _, body in receiver.got] == ["m is READY"]


@pytest.mark.long
def test_an_answer_without_an_end_does_not_fill_the_memory_by_way_of_apprise(lab: Lab) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with stranger(b"HTTP/1.1 200 OK\r\n\r\n", bytes(1 << 20), 1000) as url:
        assert told_by_apprise(lab, url, "60s") == "apprise could not deliver it"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024


@pytest.mark.long
def test_an_answer_that_drips_does_not_keep_apprise_longer_than_its_time(lab: Lab) -> None:
    with stranger(b"HTTP/1.1 200 OK\r\n\r\n", b"x", 100, pause_s=0.1) as url:
        assert told_by_apprise(lab, url, "2s") == "it did not end within 2 s"


@pytest.mark.long
def test_apprise_ends_in_time_without_a_worker_that_ends_it() -> None:
    with stranger(b"HTTP/1.1 200 OK\r\n\r\n", b"x", 100, pause_s=0.1) as url:
        asked = {"url": url, "title": "t", "text": "t", "timeout_s": 2, "private": False}
        words = [sys.executable, "-P", "-m", notify.__name__]
        done = subprocess.run(words, input=json.dumps(asked).encode(), check=False, timeout=60)
    assert done.returncode == -signal.SIGALRM


def test_no_other_user_sees_whom_apprise_tells(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Arguments stand in the list of processes; what a plug-in prints may hold the URL."""
    (tmp_path / "apprise.py").write_text(
        "import sys\nclass Apprise:\n    def add(self, url):\n        print(url)\n"
        "        raise KeyError(url)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(subprocess, "Popen", begun := Mock(wraps=subprocess.Popen))
    assert (
        told_by_apprise(lab, "json://x.example/CANARY", "30s") == "apprise ended with exit code 1"
    )
    assert begun.call_count == 1
    assert "CANARY" not in repr(begun.call_args)


@pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")  # its plug-ins
@pytest.mark.usefixtures("apprise_in_this_process")
@pytest.mark.parametrize(
    "url",
    [
        "json://10.255.255.1:8080/CANARY",
        "form://[fd00::1]/CANARY",
        "ntfy://10.255.255.1/CANARY",
        "mailto://user:CANARY@example.org?smtp=10.255.255.1",
        "json://private.example/CANARY",
    ],
)
def test_apprise_reaches_private_addresses_only_if_allowed(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setattr(Apprise, "notify", told := Mock(return_value=True))
    monkeypatch.setattr("uploader.remote.webhook.addresses", resolved)
    for allowed, waiting in ((False, 1), (True, 0)):
        table = {"name": f"h{allowed}", "on": ["ready"], "apprise": url, "allow_private": allowed}
        hooks = lab.configure(table)
        lab.fill(hooks)
        lab.happen(EventKind.READY)
        lab.fill(hooks)
        tell_all(hooks)
        state = lab.outbox.states([f"h{allowed}"])[0]
        assert (told.call_count, state.waiting) == (1 - waiting, waiting)
        assert ("allow_private = true" in (state.last_error or "")) is not allowed
        assert "CANARY" not in (state.last_error or "")


@pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")  # its plug-ins
@pytest.mark.usefixtures("apprise_in_this_process")
@pytest.mark.parametrize(
    "url",
    [
        "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ",
        "json://127.0.0.1:9/",
        "json://public.example/",
        "ntfy://topic",
        "json://unknown.example/",
    ],
)
def test_apprise_reaches_this_machine_the_public_and_services_of_their_own(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setattr(Apprise, "notify", told := Mock(return_value=True))
    monkeypatch.setattr("uploader.remote.webhook.addresses", resolved)
    hooks = lab.configure({"name": "h", "on": ["ready"], "apprise": url})
    lab.fill(hooks)
    lab.happen(EventKind.READY)
    lab.fill(hooks)
    tell_all(hooks)
    assert told.call_count == 1


@pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")  # its plug-ins
@pytest.mark.usefixtures("apprise_in_this_process")
@pytest.mark.parametrize(
    ("url", "variable", "told"),
    [
        ("json://127.0.0.1:9/CANARY", "http_proxy", False),
        ("jsons://localhost:9/CANARY", "https_proxy", False),
        ("ntfy://here.example/CANARY", "HTTP_PROXY", False),
        ("form://[::1]:9/CANARY", "all_proxy", False),
        ("jsons://127.0.0.1:9/CANARY", "http_proxy", True),
        ("json://public.example/CANARY", "http_proxy", True),
        ("mailto://user:CANARY@example.org?smtp=127.0.0.1", "http_proxy", True),
        ("json://127.0.0.1:9/CANARY", "", True),
    ],
)
def test_apprise_tells_nothing_of_this_machine_to_a_proxy(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, url: str, variable: str, *, told: bool
) -> None:
    """It reads the environment by itself, as does requests, so that only the user can except it."""
    monkeypatch.setattr(Apprise, "notify", notify := Mock(return_value=True))
    monkeypatch.setattr("uploader.remote.webhook.addresses", resolved)
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    if variable:
        monkeypatch.setenv(variable, "http://proxy.example:3128")
    hooks = lab.configure({"name": "h", "on": ["ready"], "apprise": url, "allow_private": True})
    lab.fill(hooks)
    lab.happen(EventKind.READY)
    lab.fill(hooks)
    tell_all(hooks)
    said = lab.outbox.states(["h"])[0].last_error or ""
    assert (notify.call_count == 1, "to NO_PROXY" in said) == (told, not told)
    assert "CANARY" not in said


def resolved(host: str, port: int | None) -> list[Any]:
    """Addresses as they are; of the few names that there are, what they stand for."""
    names = {
        "private.example": ["93.184.216.34", "10.0.0.1"],
        "public.example": ["93.184.216.34"],
        "here.example": ["127.0.1.1"],
        "localhost": ["127.0.0.1"],
    }
    if host.endswith("example") and host not in names:
        raise socket.gaierror
    return [(0, 0, 0, (address, port)) for address in names.get(host, [host])]


def test_delays_double_up_to_an_hour() -> None:
    delays = [again_after_s(failures, None, 1.0) for failures in range(1, 15)]
    assert delays[:4] == [5.0, 10.0, 20.0, 40.0]
    assert max(delays) == again_after_s(10**6, None, 1.0) == 3600.0
    assert again_after_s(1, 10**9, 0.0) == 3600.0


@pytest.mark.parametrize(
    "table",
    [
        {"name": "h", "on": ["ready"]},
        {"name": "h", "on": ["ready"], "command": ["a"], "ping": "https://x.example"},
        {"name": "h", "on": ["ready"], "command": "a string"},
        {"name": "h", "on": ["nonsense"], "command": ["a"]},
        {"name": "h", "on": [], "command": ["a"]},
        {"name": "h", "on": ["started"], "command": ["a"]},
        {"name": "no good name", "on": ["ready"], "command": ["a"]},
        {"on": ["ready"], "command": ["a"]},
        {"name": "h", "on": ["ready"], "webhook": "ftp://x.example"},
        {"name": "h", "on": ["ready"], "webhook": "https://x.example:9999999"},
        {"name": "h", "on": ["ready"], "command": ["a"], "unknown": 1},
        {"name": "h", "on": ["ready"], "webhook": "https://x.example", "secret_file": "/none"},
        {"name": "h", "on": ["ready"], "command": ["a"], "timeout": "2h"},
    ],
)
def test_a_wrong_table_is_a_usage_error_that_says_which(lab: Lab, table: dict[str, object]) -> None:
    lab.configure()
    with pytest.raises(UsageError, match="hook 1 in") as refused:
        lab.configure(table)
    assert refused.value.hint


@pytest.mark.parametrize(
    ("table", "message", "hint"),
    [
        (
            {"name": "h", "on": ["ready"], "url": "https://x.example"},
            "unknown field url",
            "webhook",
        ),
        ({"name": "h", "on": ["ready"], "web_hook": "https://x.example"}, "web_hook", "webhook?"),
        ({"on": ["ready"], "command": ["a"]}, "name is missing", "[[hooks]]"),
        ({"name": "h", "command": ["a"]}, "on is missing", "[[hooks]]"),
        ({"name": "h", "on": ["ready"], "command": ["a"], "timeout_s": 5}, "timeout_s", "timeout?"),
    ],
)
def test_a_field_that_is_unknown_or_missing_is_told_with_those_there_are(
    table: dict[str, object], message: str, hint: str, lab: Lab
) -> None:
    lab.configure()
    with pytest.raises(UsageError) as refused:
        lab.configure(table)
    assert message in refused.value.message
    assert hint in refused.value.hint


def test_two_hooks_of_one_name_are_refused(lab: Lab) -> None:
    one: dict[str, object] = {"name": "h", "on": ["ready"], "command": ["a"]}
    lab.configure()
    with pytest.raises(UsageError, match="hooks"):
        lab.configure(one, one)


def test_the_urls_and_commands_of_hooks_are_never_shown(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.configure(
        {"name": "h", "on": ["ready"], "apprise": "mailtos://u:swordfish@x.example"},
        {"name": "g", "on": ["ready"], "webhook": "https://x.example/swordfish"},
    )
    config = str(lab.root / "config.toml")
    for words in (
        ["config", "show"],
        ["config", "show", "--json"],
        ["hooks", "list"],
        ["config", "check"],
    ):
        app.run(["--config", config, *words])
    assert "swordfish" not in str(capsys.readouterr()) + repr(lab.settings)


def test_a_hook_that_could_not_be_told_is_known_before_a_job_needs_it(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.configure(
        {"name": "mail", "on": ["failed"], "apprise": "mailtos://u:swordfish@x.example"},
        {"name": "gone", "on": ["ready"], "command": ["/none/deploy", "swordfish"]},
        {"name": "there", "on": ["ready"], "command": ["sh", "-c", "true"]},
    )
    monkeypatch.setitem(sys.modules, "apprise", None)
    app.run(["--config", str(lab.root / "config.toml"), "config", "check"])
    said = capsys.readouterr().err
    assert "hook mail cannot be told: apprise is not installed" in said
    assert "hook gone cannot be told" in said
    assert "hook there" not in said
    assert "swordfish" not in said
    concerns = wiring.concerns(lab.settings, lab.opened._opened())
    assert {*deaf(lab.settings.hooks)} <= {*concerns}


def test_hooks_test_says_whether_it_was_taken(
    lab: Lab, receiver: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.configure({"name": "h", "on": ["ready"], "webhook": receiver.url})
    config = str(lab.root / "config.toml")
    assert app.run(["--config", config, "hooks", "test", "h"]) == 0
    receiver.answers = [(500, {})]
    assert app.run(["--config", config, "hooks", "test", "h"]) == 7
    assert app.run(["--config", config, "hooks", "test", "none"]) == 4
    assert "answered 500" in capsys.readouterr().err
    assert json.loads(receiver.got[0][3])["data"]["schema"] == "uploader.job/1"


@pytest.mark.parametrize(
    ("on", "words", "told", "status"),
    [
        (["ready"], [], "ready", "done"),
        (["needs_human", "ready"], [], "failed", "failed"),
        (["needs_human", "ready"], ["--kind", "blocked"], "blocked", "blocked"),
        (["healed"], [], "healed", "active"),
    ],
)
def test_hooks_test_tells_the_first_kind_of_its_hook_or_the_one_that_is_asked_for(
    lab: Lab, receiver: Receiver, on: list[str], words: list[str], told: str, status: str
) -> None:
    lab.configure({"name": "h", "on": on, "webhook": receiver.url})
    config = str(lab.root / "config.toml")
    assert app.run(["--config", config, "hooks", "test", "h", *words]) == 0
    body = json.loads(receiver.got[0][3])
    assert (body["type"], body["data"]["status"]) == (f"job.{told}", status)
    assert bool(body["data"]["reason"]) is (status in ("failed", "blocked"))


def test_hooks_test_tells_no_kind_that_its_hook_is_not_told_of(
    lab: Lab, receiver: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.configure({"name": "h", "on": ["started", "heartbeat"], "ping": f"{receiver.url}/p"})
    test = ["--config", str(lab.root / "config.toml"), "hooks", "test", "h"]
    assert app.run([*test, "--kind", "ready"]) == 2
    assert "--kind may be created, adopted, heartbeat" in capsys.readouterr().err
    assert app.run([*test, "--kind", "heartbeat"]) == 0
    assert app.run(test) == 0
    assert [(method, path) for method, path, *_ in receiver.got] == [
        ("GET", "/p"),
        ("POST", "/p/start"),
    ]


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
