"""Which user of this machine is at the other end of a connection, as Linux says.

A browser sends its cookie to every port of a host, so another user who listens on one may get it.
Whoever shows the cookie must therefore be the user who opened the link; nobody can have the
kernel's word changed.
"""

from __future__ import annotations

import asyncio
import errno
from dataclasses import dataclass, field

from uploader.service.http.kernel import OwnEnd, end_of, is_connected, user_at

#: Where a request's scope has its `Peer`, in `state`.
PEER = "peer"
Address = tuple[str, int | None]
#: The kernel answers within a millisecond. Only one that is held up needs longer.
_PATIENCE_S = 2.0


@dataclass(slots=True)
class Peer:
    """The other end of the connection of ``ours``, from ``there`` to ``here`` (HOST and PORT)."""

    ours: OwnEnd
    here: Address | None
    there: Address | None
    #: Has it shown the token, or a cookie, with its last request?
    welcome: bool = False
    _known: list[int | None] = field(default_factory=list)

    async def user(self) -> int | None:
        """Its user id; None if it is not on this machine, or if the system does not say.

        Asked once, because the socket at the other end never changes its user, and in a thread
        that no request needs. Raises OSError if that end was left, or nobody answers now.
        """
        if not self._known:
            async with asyncio.timeout(_PATIENCE_S):
                user = await asyncio.to_thread(_user, self.here, self.there)
            if user is not None and not is_connected(self.ours):
                raise ConnectionAbortedError(errno.ECONNABORTED, "the connection has ended")
            self._known.append(user)
        return self._known[0]


def _user(here: Address | None, there: Address | None) -> int | None:
    ours, theirs = (_end(one) for one in (here, there))
    return None if ours is None or theirs is None else user_at(theirs, ours)


def _end(address: Address | None) -> tuple[bytes, int] | None:
    if address is None or address[1] is None:
        return None
    return end_of(address[0], address[1])
