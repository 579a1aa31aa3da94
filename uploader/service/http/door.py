"""The link that `uploader dashboard` prints. Loads no server."""

from __future__ import annotations

import socket
from datetime import datetime
from pathlib import Path

from uploader.core.errors import NotFound
from uploader.service.http.tokens import api_token, new_link
from uploader.settings.schema import Settings

ADDRESS_FILE = "api.address"
LINK = "/open/"
_PATIENCE_S = 2.0
_MAX_CHARS = 3000


def link_of(settings: Settings, now: datetime, user: int | None = None) -> str:
    """A link to the page of the API that listens; ``user`` as in `new_link`.

    Raises NotFound if none listens, and UsageError.
    """
    address = next(filter(answers, addresses_of(settings.state_dir)), None)
    if address is None:
        raise NotFound(
            "no API of this state folder listens",
            hint="start `uploader run` or `uploader serve`; if one runs, see its log",
        )
    scheme = "https" if settings.api.tls_cert_file else "http"
    link = new_link(api_token(settings.state_dir), address, now, user)
    return f"{scheme}://{_reachable(address)}{LINK}{link}"


def addresses_of(state_dir: Path) -> list[str]:
    """HOST:PORT of each API of this state folder as announced, that of a worker first."""
    try:
        with (state_dir / ADDRESS_FILE).open(encoding="ascii") as file:
            return file.read(_MAX_CHARS).split()
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
