"""The link that `uploader dashboard` prints. Loads no server.

After a SIGKILL the address of an API is still announced, and another user may listen there by now.
So whoever listens has to answer a question that takes the token; the token is not sent.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from uploader import files
from uploader.core.errors import NotFound
from uploader.deadlines import Deadline
from uploader.runtime import SystemClock
from uploader.service.http.tokens import answer_to, api_token, known_token, new_link, new_question
from uploader.settings.schema import Settings

ADDRESS_FILE = "api.address"
LINK, PROOF = "/open/", "/proof/"
_PATIENCE_S = 2.0
#: The first question of all makes a daemon load its web server.
_PROOF_S = 20.0
_MAX_ANSWER_BYTES = 8192
_CLOCK = SystemClock()
_MAX_CHARS = 3000


def link_of(settings: Settings, now: datetime, user: int | None = None) -> str:
    """A link to the page of the API that listens; ``user`` as in `new_link`.

    Raises NotFound if none listens, and UsageError.
    """
    announced = addresses_of(settings.state_dir)
    address = next((one for one in announced if is_ours(settings, one, now)), None)
    if address is None:
        raise _not_ours(announced)
    scheme = "https" if settings.api.tls_cert_file else "http"
    link = new_link(api_token(settings.state_dir), address, now, user)
    return f"{scheme}://{_reachable(address)}{LINK}{link}"


def _not_ours(announced: list[str]) -> NotFound:
    if taken := next(filter(answers, announced), ""):
        return NotFound(
            f"who listens at {taken} does not prove to be the API of this state folder",
            hint="if another program has its port, choose another with api.listen; if this program"
            " was updated, restart the daemon",
        )
    return NotFound(
        "no API of this state folder listens",
        hint="start `uploader run` or `uploader serve`; if one runs, see its log",
    )


def is_ours(settings: Settings, address: str, now: datetime) -> bool:
    """Does whoever listens at ``address`` know the token of this state folder?

    Takes 20 s at most. Raises UsageError for a file that is not a token, and OSError.
    """
    token = known_token(settings.state_dir)
    if token is None:
        return False
    question = new_question(token, address, now)
    answer = answer_to(question, token, address).encode()
    try:
        with _connected(settings, address) as asked:
            return answer in _heard(asked, f"{PROOF}{question}", _reachable(address), answer)
    except (OSError, ValueError, OverflowError):
        return False


@contextlib.contextmanager
def _connected(settings: Settings, address: str) -> Iterator[socket.socket]:
    host, _, port = _reachable(address).rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE_S) as plain:
        plain.settimeout(_PROOF_S)
        if not settings.api.tls_cert_file:
            yield plain
            return
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE  # its answer is the proof
        with (
            plain.dup() as handle,
            Deadline(handle, _PROOF_S),
            tls.wrap_socket(plain) as wrapped,
        ):
            yield wrapped


def _heard(asked: socket.socket, path: str, host: str, answer: bytes) -> bytes:
    """What came until ``answer`` had, or too much, or nothing in time. Raises OSError."""
    ends_s, came = _CLOCK.boot_s() + _PROOF_S, b""
    asked.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    while answer not in came and len(came) < _MAX_ANSWER_BYTES:
        asked.settimeout(max(0.001, ends_s - _CLOCK.boot_s()))
        if not (block := asked.recv(4096)):
            break
        came += block
    return came


def addresses_of(state_dir: Path) -> list[str]:
    """HOST:PORT of each API of this state folder as announced, that of a worker first."""
    try:
        written, _ = files.read(state_dir / ADDRESS_FILE, _MAX_CHARS)
        return written.decode("ascii").split()
    except (OSError, ValueError):
        return []


def answers(address: str) -> bool:
    """Does anybody listen at ``address``? After a SIGKILL it is still announced."""
    host, _, port = _reachable(address).rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE_S):
            return True
    except (OSError, ValueError, OverflowError):
        return False


def _reachable(address: str) -> str:
    """An address that can be connected to: a server may listen on all of its machine's."""
    for every, own in (("0.0.0.0:", "127.0.0.1:"), ("[::]:", "[::1]:")):
        if address.startswith(every):
            return own + address.removeprefix(every)
    return address
