"""A hook told by apprise: bounded, unseen by others, and no way to private addresses."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from email import message_from_string, policy
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from apprise import Apprise

from tests.service.hooks.conftest import Lab, Receiver, tell_all
from uploader.core.events import EventKind
from uploader.service.hooks import deliver, notify


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


@contextlib.contextmanager
def mailbox() -> Iterator[tuple[str, list[str]]]:
    """The address of a mail server, and what it was given."""
    mails = list[str]()

    class Server(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 ready\r\n")
            for line in self.rfile:
                if line.strip().upper() != b"DATA":
                    self.wfile.write(b"250 yes\r\n")
                    continue
                self.wfile.write(b"354 go on\r\n")
                mails.append(b"".join(iter(self.rfile.readline, b".\r\n")).decode())
                self.wfile.write(b"250 taken\r\n")

    with socketserver.TCPServer(("127.0.0.1", 0), Server) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}", mails
        server.shutdown()
        thread.join()


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


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated")
def test_what_others_said_is_no_markup_in_a_mail() -> None:
    said = "gone<img src=https:evil.example>.json\nTo do: <a href='https://evil.example'>log in</a>"
    with mailbox() as (host, mails):
        notify.notify(f"mailto://{host}?from=a@b.org&to=c@d.org", "m failed", said, private=True)
    mail = message_from_string(mails[0], policy=policy.default)
    leaves = [part for part in mail.walk() if not part.is_multipart()]
    parts = {part.get_content_type(): part.get_content() for part in leaves}
    assert parts["text/plain"].splitlines() == said.splitlines()
    html = parts.get("text/html", "")
    assert "<img" not in html
    assert "<a " not in html


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
