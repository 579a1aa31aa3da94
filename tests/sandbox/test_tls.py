"""The sandbox over TLS: its own authority, the whole protocol, refusals that break the write."""

from __future__ import annotations

import gc
import json
import select
import socket
import ssl
import stat
import struct
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
import requests

from uploader.sandbox.folder import DataFolder
from uploader.sandbox.server import Sandbox
from uploader.sandbox.tls import Authority

if TYPE_CHECKING:
    from tests.sandbox.conftest import Remote

GRANULE = 256 * 1024
MIB = 1 << 20
DEADLINE_S = 60.0


@pytest.fixture
def box(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Iterator[Sandbox]:
    with Sandbox(data_dir=tmp_path, tls=True) as box:
        yield box
    assert capfd.readouterr() == ("", "")


@pytest.fixture
def remote(box: Sandbox, over: type[Remote]) -> Iterator[Remote]:
    with requests.Session() as http:
        http.trust_env = False
        http.verify = str(box.ca_file)
        yield over(box.world, http)


def test_an_upload_over_tls(remote: Remote, content: bytes, tmp_path: Path) -> None:
    assert remote.world.base_url.startswith("https://")
    uri, size = remote.session(len(content)), len(content)
    assert uri.startswith("https://")
    assert remote.put(uri, content[:GRANULE], 0, size).status_code == 308
    assert remote.offset(uri) == GRANULE
    assert remote.put(uri, content[GRANULE:], GRANULE, size).status_code == 200
    assert (tmp_path / "sandbox/m/f").read_bytes() == content


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_the_certificate_is_for_the_names_of_loopback(box: Sandbox, name: str) -> None:
    url = box.base_url.replace("127.0.0.1", name)
    answer = requests.get(f"{url}/verifyApiKey", verify=str(box.ca_file), timeout=DEADLINE_S)
    assert answer.status_code == 403


def test_nobody_else_trusts_it(box: Sandbox) -> None:
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(f"{box.base_url}/verifyApiKey", timeout=DEADLINE_S)


def test_the_key_of_the_authority_is_private(box: Sandbox, tmp_path: Path) -> None:
    assert box.ca_file is not None
    assert b"PRIVATE" not in box.ca_file.read_bytes()
    assert stat.S_IMODE((tmp_path / ".sandbox-ca.key").stat().st_mode) == 0o600


def test_the_authority_outlives_a_restart(box: Sandbox, tmp_path: Path) -> None:
    assert box.ca_file is not None
    before = box.ca_file.read_bytes()
    with Sandbox(data_dir=tmp_path, tls=True) as again:
        answer = requests.get(
            f"{again.base_url}/verifyApiKey", verify=str(box.ca_file), timeout=DEADLINE_S
        )
        assert answer.status_code == 403
    assert box.ca_file.read_bytes() == before


@pytest.mark.parametrize("status", [403, 400, 413])
def test_an_early_refusal_breaks_the_write_and_leaves_its_answer(
    remote: Remote, box: Sandbox, status: int
) -> None:
    """What a client finds that reads after its write has failed."""
    refusal = {"on": "put", "do": "status", "status": status, "at_byte": 65536}
    remote.world.script.add([refusal])
    size = 64 * MIB
    split = urlsplit(remote.session(size))
    context = ssl.create_default_context(cafile=str(box.ca_file))
    head = (
        f"PUT {split.path}?{split.query} HTTP/1.1\r\nHost: {split.netloc}\r\n"
        f"Content-Length: {size}\r\nContent-Range: bytes 0-{size - 1}/{size}\r\n\r\n"
    )
    plain = socket.create_connection((split.hostname, split.port), timeout=DEADLINE_S)
    with context.wrap_socket(plain, server_hostname=split.hostname) as connection:
        with pytest.raises(OSError):  # noqa: PT011  # EPIPE, a reset, or an SSL error
            connection.sendall(head.encode() + bytes(size))
        assert connection.recv(65536).startswith(f"HTTP/1.1 {status} ".encode())
    assert remote.seen()["puts"] == 0


@pytest.mark.parametrize("do", ["cut", "lost-answer", "reset-before", "reset-after"])
def test_connections_break_over_tls_too(remote: Remote, do: str, content: bytes) -> None:
    place = {"at_byte": GRANULE} if do == "cut" else {}
    remote.world.script.add([{"on": "put", "do": do, **place}])
    uri = remote.session(len(content))
    with pytest.raises(requests.ConnectionError):
        remote.put(uri, content)
    assert remote.query(uri, len(content)).status_code in (200, 308)


def test_a_client_in_clear_and_one_that_hangs_hold_nobody_up(box: Sandbox, remote: Remote) -> None:
    split = urlsplit(box.base_url)
    address = (split.hostname, split.port)
    with (
        socket.create_connection(address, timeout=DEADLINE_S) as silent,
        socket.create_connection(address, timeout=DEADLINE_S) as clear,
    ):
        clear.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert remote.create("f").ok
        assert not clear.recv(65536).startswith(b"HTTP")
        silent.shutdown(socket.SHUT_WR)


def test_a_socket_whose_peer_went_while_it_was_accepted_is_closed(box: Sandbox) -> None:
    assert box.ca_file
    context = Authority(DataFolder(box.ca_file.parent)).server_context()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        gone = socket.create_connection(listener.getsockname(), DEADLINE_S)
        accepted, _ = listener.accept()
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        gone.close()
        ended = select.poll()
        ended.register(accepted)
        assert ended.poll(DEADLINE_S * 1000)
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always", ResourceWarning)
            with pytest.raises(OSError):  # noqa: PT011  # whichever question finds it gone
                context.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)
            gc.collect()
    assert not seen


def test_a_connection_whose_peer_is_gone_already_is_closed(box: Sandbox, remote: Remote) -> None:
    split = urlsplit(box.base_url)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always", ResourceWarning)
        for _ in range(200):
            with socket.create_connection((split.hostname, split.port), DEADLINE_S) as gone:
                gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        assert remote.create("f").ok  # after all of them
        gc.collect()
    assert not [one.message for one in seen if "unclosed" in str(one.message)]


def test_facts_and_lines_for_a_shell_name_the_authority(box: Sandbox) -> None:
    assert json.loads(json.dumps(box.facts()))["ca_file"] == str(box.ca_file)
    assert f"export REQUESTS_CA_BUNDLE={box.ca_file}\n" in box.exports()


def test_without_the_package_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "trustme", None)
    with pytest.raises(ValueError, match="the extra sandbox-tls"):
        Sandbox(data_dir=tmp_path, tls=True)
