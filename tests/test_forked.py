"""A process that uploads may fork: a data loader's workers live on after it was killed."""

from __future__ import annotations

import ast
import contextlib
import fcntl
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from uploader.forks import OurDescriptor
from uploader.sandbox.folder import DataFolder
from uploader.sandbox.tls import Authority
from uploader.store.database.workers import any_worker, exclusive

_T = TypeVar("_T")

ROOT = Path(__file__).parents[1]
PATIENCE_S = 30
_BEGIN = """
import os, sys, threading, time
from pathlib import Path
from uploader.core.job import Manifest
from uploader.forks import keep_from_children
from uploader.remote import trust
from uploader.remote.sockets import SocketAdapter
from uploader.runtime import StopToken
from uploader.sources.snapshot import Snapshots
from uploader.store.database.workers import WorkerLock, exclusive
place = sys.argv[1]
def fork(body=lambda: time.sleep(600)):
    child = os.fork()
    if child == 0:
        body()
        os._exit(0)
    return child
def wait_for_fork():
    print("ready", flush=True)
    sys.stdin.readline()
    fork(lambda: (print(os.getpid(), flush=True), time.sleep(600)))
    time.sleep(600)
"""
_WORKER = "with WorkerLock(Path(place)): wait_for_fork()"
_MIGRATION = "with exclusive(Path(place, 'migrate.lock')): wait_for_fork()"
_SNAPSHOT = "with Snapshots(Path(place)).taking(Manifest(place, ())): wait_for_fork()"
_REQUEST = """
import requests
session = requests.Session()
session.mount("http://", SocketAdapter(StopToken()))
def ask():
    print(session.get(place).status_code, flush=True)
threading.Thread(target=ask, daemon=True).start()
wait_for_fork()
"""


class Forking:
    """A process in which something is open, and the child that it forks then."""

    def __init__(self, body: str, place: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _BEGIN + body, place],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        self.child = 0
        assert self.line() == "ready"

    def line(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def fork(self) -> None:
        """Until the child has closed what it closes: it says so, for its parent does not know."""
        assert self.process.stdin
        print(file=self.process.stdin, flush=True)
        self.child = int(self.line())

    def kill_parent(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE_S)
        os.kill(self.child, 0)  # it lives, or this raises

    def end(self) -> None:
        for pid in filter(None, (self.child, self.process.pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.communicate()


@pytest.fixture
def forking() -> Iterator[Callable[[str, str], Forking]]:
    made: list[Forking] = []

    def make(body: str, place: str) -> Forking:
        made.append(Forking(body, place))
        return made[-1]

    yield make
    for one in made:
        one.end()


def test_a_worker_that_was_killed_is_gone_although_its_child_lives(
    tmp_path: Path, forking: Callable[[str, str], Forking]
) -> None:
    parent = forking(_WORKER, str(tmp_path))
    parent.fork()
    assert any_worker(tmp_path), "the child closed its own descriptor, not the parent's lock"
    parent.kill_parent()
    assert not any_worker(tmp_path)


def test_the_lock_of_a_migration_goes_with_its_process_although_its_child_lives(
    tmp_path: Path, forking: Callable[[str, str], Forking]
) -> None:
    parent = forking(_MIGRATION, str(tmp_path))
    parent.fork()
    parent.kill_parent()
    with exclusive(tmp_path / "migrate.lock", patience_s=0.0):
        pass


def test_a_snapshot_that_is_taken_holds_up_no_sweep_after_its_process_was_killed(
    tmp_path: Path, forking: Callable[[str, str], Forking]
) -> None:
    parent = forking(_SNAPSHOT, str(tmp_path))
    parent.fork()
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(BlockingIOError):
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        parent.kill_parent()
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(folder)


def test_a_child_that_leaves_its_copy_of_a_worker_ends_no_worker(tmp_path: Path) -> None:
    body = """
with WorkerLock(Path(place)) as lock:
    child = fork(lock.close)
    os.waitpid(child, 0)
    print("left", flush=True)
    time.sleep(600)
"""
    with subprocess.Popen(
        [sys.executable, "-c", _BEGIN + body, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "left\n"
            assert any_worker(tmp_path)
        finally:
            process.kill()


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE_S)
        yield server


@pytest.fixture
def asked(
    server: socket.socket, forking: Callable[[str, str], Forking]
) -> Iterator[tuple[Forking, socket.socket]]:
    """A process that has forked while it waits for an answer, and the connection to it."""
    parent = forking(_REQUEST, f"http://127.0.0.1:{server.getsockname()[1]}/")
    connection, _ = server.accept()
    with connection:
        connection.settimeout(PATIENCE_S)
        assert connection.recv(65536)
        parent.fork()
        yield parent, connection


def test_a_connection_ends_with_its_process_although_its_child_lives(
    asked: tuple[Forking, socket.socket],
) -> None:
    parent, connection = asked
    parent.kill_parent()
    with contextlib.suppress(ConnectionResetError):
        assert connection.recv(1) == b""


def test_a_child_ends_no_connection_of_its_parent(asked: tuple[Forking, socket.socket]) -> None:
    parent, connection = asked
    connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert parent.line() == "204"


class TlsWithinTls:
    """A proxy with TLS that plays the server of its tunnel, too, at the other end of more TLS."""

    def __init__(self, outer: ssl.SSLSocket) -> None:
        self._outer = outer
        assert self._outer.recv(65536).startswith(b"CONNECT localhost:443 ")
        self._outer.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        within = outer.context
        self._inner = within.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._until(self._inner.do_handshake)
        assert self._until(self._inner.read).startswith(b"GET / ")

    def _until(self, done: Callable[[], _T]) -> _T:
        while True:
            try:
                return done()
            except ssl.SSLWantReadError:
                if self._outgoing.pending:
                    self._outer.sendall(self._outgoing.read())
                if not (received := self._outer.recv(65536)):
                    raise ConnectionResetError from None
                self._incoming.write(received)

    def answer(self) -> None:
        self._inner.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        self._outer.sendall(self._outgoing.read())

    def has_ended(self) -> bool:
        try:
            return not self._until(self._inner.read)
        except (ConnectionResetError, ssl.SSLError):
            return True


_THROUGH_TLS = """
import requests
authority, proxy = place.split()
session = requests.Session()
context = lambda: trust.context(Path(authority))
session.mount("https://", SocketAdapter(StopToken(), context))
def ask():
    proxies = {"https": proxy}
    print(session.get("https://localhost/", proxies=proxies).status_code, flush=True)
threading.Thread(target=ask, daemon=True).start()
wait_for_fork()
"""


@pytest.fixture
def tunnelled(
    server: socket.socket,
    forking: Callable[[str, str], Forking],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[tuple[Forking, TlsWithinTls]]:
    """As `asked`, through a proxy that is spoken to by TLS."""
    authority = Authority(DataFolder(tmp_path / "tls"))
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    proxy = f"https://localhost:{server.getsockname()[1]}"
    parent = forking(_THROUGH_TLS, f"{authority.file} {proxy}")
    connection, _ = server.accept()
    connection.settimeout(PATIENCE_S)
    with authority.server_context().wrap_socket(connection, server_side=True) as outer:
        tunnel = TlsWithinTls(outer)
        parent.fork()
        yield parent, tunnel


def test_a_connection_within_tls_to_a_proxy_ends_with_its_process_although_its_child_lives(
    tunnelled: tuple[Forking, TlsWithinTls],
) -> None:
    parent, tunnel = tunnelled
    parent.kill_parent()
    assert tunnel.has_ended()


def test_a_child_ends_no_tls_of_its_parent(tunnelled: tuple[Forking, TlsWithinTls]) -> None:
    parent, tunnel = tunnelled
    tunnel.answer()
    assert parent.line() == "204"


def test_what_cannot_be_let_go_keeps_nothing_else_open(
    tmp_path: Path, forking: Callable[[str, str], Forking]
) -> None:
    body = (
        """
class Stubborn:
    def let_go(self):
        raise TypeError
stubborn = [Stubborn() for _ in range(50)]
[keep_from_children(one) for one in stubborn]
"""
        + _WORKER
    )
    parent = forking(body, str(tmp_path))
    parent.fork()
    parent.kill_parent()
    assert not any_worker(tmp_path)


def test_a_number_that_a_child_let_go_of_is_not_given_to_a_file_of_its_own() -> None:
    """Else what the child inherited would write to it, or close it."""
    here, there = socket.socketpair()
    with here, there:
        one = OurDescriptor(here.fileno())
        one.let_go()
        with Path(__file__).open() as file:
            assert file.fileno() != here.fileno()
        assert not os.get_inheritable(here.fileno())
        os.write(here.fileno(), b"goodbye")
        assert there.recv(9) == b""


def test_another_file_under_a_number_that_was_closed_is_left_alone(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.touch()
    second.write_text("mine")
    descriptor = os.open(first, os.O_RDONLY)
    one = OurDescriptor(descriptor)
    with second.open("rb") as file:
        os.dup2(file.fileno(), descriptor)
        one.let_go()
    with os.fdopen(descriptor, "rb") as file:
        assert file.read() == b"mine"


def test_nothing_is_locked_that_a_child_would_keep() -> None:
    found = set()
    for path in (ROOT / "uploader").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "fcntl.flock":
                found.add((path.name, ast.unparse(node.args[0])))
    sandbox = {("state.py", "self._lock")}  # a process of its own
    assert found == {("workers.py", "file"), ("snapshot.py", "file")} | sandbox
