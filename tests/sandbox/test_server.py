"""What only real sockets show: resets, disconnects, keep-alive, the process."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import requests

from uploader.sandbox.server import Sandbox

if TYPE_CHECKING:
    from tests.sandbox.conftest import Remote

GRANULE = 256 * 1024
DEADLINE_S = 60.0
DOCUMENT = ("base_url", "storage_url", "api_key", "account_id", "control_token")


def wait_until(condition: Callable[[], bool]) -> None:
    deadline, pause = time.monotonic() + DEADLINE_S, threading.Event()
    while not condition():
        assert time.monotonic() < deadline
        pause.wait(0.005)


def connect(url: str) -> socket.socket:
    split = urlsplit(url)
    return socket.create_connection((split.hostname, split.port), timeout=DEADLINE_S)


def raw_put(uri: str, content: bytes, total: int) -> socket.socket:
    """Send the head of a PUT of `total` bytes and only `content` of its body."""
    split = urlsplit(uri)
    head = (
        f"PUT {split.path}?{split.query} HTTP/1.1\r\nHost: {split.netloc}\r\n"
        f"Content-Length: {total}\r\nContent-Range: bytes 0-{total - 1}/{total}\r\n\r\n"
    )
    connection = connect(uri)
    connection.sendall(head.encode() + content)
    return connection


@pytest.fixture
def remote(tmp_path: Path, over: type[Remote]) -> Iterator[Remote]:
    with Sandbox(data_dir=tmp_path) as box, requests.Session() as http:
        http.trust_env = False
        yield over(box.world, http)


def test_a_cut_is_a_real_reset(remote: Remote) -> None:
    remote.world.script.add([{"on": "put", "do": "cut", "at_byte": 10}])
    connection = raw_put(remote.session(100), bytes(100), 100)
    with connection, pytest.raises(ConnectionResetError):
        connection.recv(1)


def test_a_lost_answer_is_an_orderly_close(remote: Remote) -> None:
    remote.world.script.add([{"on": "put", "do": "lost-answer"}])
    with raw_put(remote.session(100), bytes(100), 100) as connection:
        assert connection.recv(1) == b""


@pytest.mark.parametrize("linger", [b"", b"\1\0\0\0\0\0\0\0"])
def test_a_client_that_goes_away_leaves_whole_granules(
    remote: Remote, content: bytes, capfd: pytest.CaptureFixture[str], linger: bytes
) -> None:
    uri = remote.session(len(content))
    with raw_put(uri, content[: GRANULE + 7], len(content)) as connection:
        wait_until(lambda: remote.seen()["body_bytes_read"] == GRANULE + 7)
        if linger:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    wait_until(lambda: remote.seen()["cuts"] == 1)
    assert remote.offset(uri) == GRANULE
    assert capfd.readouterr() == ("", "")


def test_a_query_ends_the_put_of_a_client_that_hangs(remote: Remote, content: bytes) -> None:
    uri = remote.session(len(content))
    with raw_put(uri, content[:GRANULE], len(content)) as connection:
        wait_until(lambda: remote.seen()["persisted"] == GRANULE)
        assert remote.offset(uri) == GRANULE
        assert remote.put(uri, content[GRANULE:], GRANULE, len(content)).status_code == 200
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            connection.sendall(bytes(256 * GRANULE))
    assert remote.seen()["cuts"] == 1


def test_a_cut_is_counted_when_the_bytes_are_lost_not_when_a_stalled_thread_notices(
    remote: Remote, content: bytes
) -> None:
    stall = {"on": "put", "do": "stall", "at_byte": len(content), "seconds": 3600.0}
    remote.world.script.add([stall])
    uri, whole = remote.session(len(content)), len(content) // GRANULE * GRANULE
    with raw_put(uri, content, len(content)):
        wait_until(lambda: remote.seen()["body_bytes_read"] == len(content) - 1)
        assert remote.offset(uri) == whole
        assert remote.seen()["cuts"] == 1
        assert remote.put(uri, content[whole:], whole, len(content)).status_code == 200
        assert remote.seen()["cuts"] == 1


def test_connections_are_kept_alive(remote: Remote) -> None:
    with connect(remote.world.base_url) as connection:
        for _ in range(2):
            host = remote.world.base_url.removeprefix("http://").encode()
            connection.sendall(b"GET /verifyApiKey HTTP/1.1\r\nHost: %s\r\n\r\n" % host)
            assert connection.recv(65536).startswith(b"HTTP/1.1 403")


def test_an_early_answer_reaches_a_client_that_is_still_sending(remote: Remote) -> None:
    remote.world.script.add([{"on": "put", "do": "status", "status": 503, "retry_after": 1}])
    size = 32 * 1024 * 1024
    answer = remote.put(remote.session(size), bytes(size))
    assert (answer.status_code, answer.headers["Connection"]) == (503, "close")


def test_chunked_bodies_are_refused(remote: Remote) -> None:
    headers = {"Content-Range": "bytes 0-2/3"}
    answer = remote.http.put(remote.session(3), data=iter([b"abc"]), headers=headers)
    assert answer.status_code == 400
    assert remote.world.report()["refused"] == ["chunked request body"]


def test_the_host_is_signed(remote: Remote) -> None:
    url = remote.url(10).replace("127.0.0.1", "localhost")
    assert "SignatureDoesNotMatch" in remote.start(url, 10).text


@pytest.mark.parametrize("which", ["port", "storage_port"])
def test_two_worlds_do_not_share_a_port_and_the_error_names_it(remote: Remote, which: str) -> None:
    port = int(remote.world.base_url.rpartition(":")[2])
    with pytest.raises(OSError, match=f"port {port} of 127.0.0.1: .* in use"):
        Sandbox(**{which: port})  # type: ignore[arg-type] # both are ports


def test_a_stall_does_not_delay_the_end(tmp_path: Path, over: type[Remote]) -> None:
    faults = [{"on": "put", "do": "stall", "seconds": 3600}]
    with Sandbox(data_dir=tmp_path, faults=faults) as box, requests.Session() as http:
        remote = over(box.world, http)
        connection = raw_put(remote.session(10), bytes(10), 10)
        wait_until(lambda: remote.seen()["puts"] == 1)
        started = time.monotonic()
    connection.close()
    assert time.monotonic() - started < DEADLINE_S / 2


def run(*options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "uploader.sandbox.server", *options]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_process_says_where_it_listens_and_ends_with_0(tmp_path: Path, number: int) -> None:
    faults = json.dumps([{"on": "verify", "do": "status"}])
    with run("--data-dir", str(tmp_path), "--faults", faults) as process:
        try:
            assert process.stdout
            said: dict[str, Any] = json.loads(process.stdout.readline())
            assert said.keys() == {*DOCUMENT}
            answer = requests.get(f"{said['base_url']}/verifyApiKey", timeout=DEADLINE_S)
            assert answer.status_code == 503
            process.send_signal(number)
            out, err = process.communicate(timeout=DEADLINE_S)
        finally:
            process.kill()
    assert (process.returncode, out, err) == (0, "", "")


def test_a_wrong_script_is_a_usage_error() -> None:
    with run("--faults", '[{"on": "put", "do": "explode"}]') as process:
        _, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 2
    assert "unknown fault 'explode'" in err
    assert "Traceback" not in err
