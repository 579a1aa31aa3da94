"""Which user of this machine is at the other end of a connection, as Linux says.

A browser sends its cookie to every port of a host, so another user who listens on one may get it.
Whoever shows the cookie must therefore be the user who opened the link; nobody can have the
kernel's word changed.
"""

from __future__ import annotations

import ipaddress
import sys
from dataclasses import dataclass, field
from pathlib import Path

#: The sockets of this machine (docs.kernel.org, networking/proc_net_tcp).
TABLES = (Path("/proc/self/net/tcp"), Path("/proc/self/net/tcp6"))
_USER, _INODE = 7, 9
_MAPPED = b"\0" * 10 + b"\xff\xff"
_WORD_BYTES = 4

#: Where a request's scope has its `Peer`, in `state`.
PEER = "peer"
Address = tuple[str, int | None]


@dataclass(slots=True)
class Peer:
    """The other end of the connection from ``there`` to ``here``, which are HOST and PORT."""

    here: Address | None
    there: Address | None
    #: Has it shown the token, or a cookie, with its last request?
    welcome: bool = False
    _known: list[int | None] = field(default_factory=list)

    @property
    def is_known(self) -> bool:
        """Was it looked up before?"""
        return bool(self._known)

    def user(self) -> int | None:
        """Its user id; None if it is not on this machine, or if the system does not say.

        Looked up once: the socket at the other end never changes its user.
        """
        if not self._known:
            self._known.append(_user(self.here, self.there))
        return self._known[0]


def _user(here: Address | None, there: Address | None) -> int | None:
    if here is None or there is None:
        return None
    # What is the remote end for us is the local one in the line of the other socket.
    ends = [f" {own} {other} " for own, other in zip(_written(there), _written(here), strict=False)]
    for table in TABLES:
        try:
            lines = table.read_text("ascii").splitlines()
        except OSError:
            continue
        for line in lines:
            if any(end in line for end in ends):
                found = line.split()
                # A socket that nobody holds any more is listed as root's, with inode 0.
                return int(found[_USER]) if int(found[_INODE]) else None
    return None


def _written(address: Address) -> list[str]:
    """The ways in which the tables write it: an IPv4 address may be used by an IPv6 socket."""
    host, port = address
    try:
        found = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return []
    plain = getattr(found, "ipv4_mapped", None) or found
    forms = [plain.packed] if plain.version != 4 else [plain.packed, _MAPPED + plain.packed]  # noqa: PLR2004
    return [f"{_words(form)}:{port:04X}" for form in forms]


def _words(packed: bytes) -> str:
    words = (packed[at : at + _WORD_BYTES] for at in range(0, len(packed), _WORD_BYTES))
    return "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words)
