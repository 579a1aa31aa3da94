"""Clients that say nothing, or half of it, keep nobody out."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest

from tests.sandbox.raw import DEADLINE_S, answered, status
from uploader.sandbox import sockets
from uploader.sandbox.server import Sandbox


def opened(url: str) -> socket.socket:
    split = urlsplit(url)
    return socket.create_connection((split.hostname, split.port), timeout=DEADLINE_S)


def is_closed(connection: socket.socket) -> bool:
    """Its other side has ended it; raises TimeoutError if that does not happen."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def test_silent_connections_keep_nobody_out(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "MAX_CONNECTIONS", 8)
    with ExitStack() as stack:
        silent = [stack.enter_context(opened(box.base_url)) for _ in range(20)]
        assert all(is_closed(one) for one in silent[:12])
        for _ in range(10):
            assert status(answered(box.base_url, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")) == 421


def test_half_a_body_keeps_nobody_out(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "MAX_CONNECTIONS", 3)
    host = urlsplit(box.base_url).netloc.encode()
    with ExitStack() as stack:
        for _ in range(3):
            busy = stack.enter_context(opened(box.base_url))
            busy.sendall(b"POST / HTTP/1.1\r\nHost: %s\r\nContent-Length: 9\r\n\r\na" % host)
            assert busy.recv(12) == b"HTTP/1.1 404"
        for _ in range(3):
            assert status(answered(box.base_url, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")) == 421


@pytest.mark.parametrize("begun", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: lo"])
def test_who_does_not_finish_a_head_is_cut_off(
    box: Sandbox, begun: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "HEAD_S", 0.3)
    with opened(box.base_url) as one:
        one.sendall(begun)
        assert is_closed(one)


def test_who_is_being_answered_is_not_ended_for_others(
    box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its thread waits for the body, so that it does not count as silent."""
    monkeypatch.setattr(sockets, "MAX_CONNECTIONS", 3)
    key = box.world.config.api_key.encode()
    host = urlsplit(box.base_url).netloc.encode()
    head = b"POST /v1/accounts/a/models HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n"
    with ExitStack() as stack:
        busy = stack.enter_context(opened(box.base_url))
        busy.sendall(head % (host, key) + b"Content-Length: 2\r\n\r\n{")
        server, deadline = box._servers[0], time.monotonic() + DEADLINE_S
        while not server._live or server._silent:  # until its head was read
            assert time.monotonic() < deadline
        silent = [stack.enter_context(opened(box.base_url)) for _ in range(6)]
        assert all(is_closed(one) for one in silent[:3])
        busy.sendall(b"}")
        assert busy.recv(12).startswith(b"HTTP/1.1 4")
