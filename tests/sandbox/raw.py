"""Bytes to a port of the sandbox, as they are, and what comes back."""

from __future__ import annotations

import re
import socket
from urllib.parse import urlsplit

from uploader.sandbox.server import Sandbox

DEADLINE_S = 60.0


def answered(url: str, request: bytes) -> bytes:
    """What comes back for these bytes and the end of the stream."""
    split = urlsplit(url)
    with socket.create_connection((split.hostname, split.port), timeout=DEADLINE_S) as connection:
        try:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
        except (ConnectionResetError, BrokenPipeError, OSError):
            pass
        got = b""
        try:
            while block := connection.recv(65536):
                got += block
        except ConnectionResetError:
            pass
        return got


def status(answer: bytes) -> int:
    found = re.match(rb"HTTP/1\.1 (\d{3}) |.*Error code: (\d{3})", answer, re.DOTALL)
    assert found, answer[:200]
    return int(found[1] or found[2])


def head(box: Sandbox, first: str, *fields: str) -> bytes:
    host = urlsplit(box.base_url).netloc
    return "\r\n".join([first, f"Host: {host}", *fields, "", ""]).encode("latin-1")
