"""Request bodies as faults change them: interrupted, dripping, or passed on by a slow proxy."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Callable

from uploader.sandbox.script import Fault
from uploader.sandbox.wire import Body, ConnectionCut
from uploader.sandbox.world import World

_DRIP_BYTES = 8 * 1024
_FORWARDED_BYTES = 64 * 1024
_SPOOLED_BYTES = 8 << 20


def carried(world: World, body: Body) -> Body:
    """The body as fast as its connection, and the link that all of them share, carry it."""
    config = world.config
    if config.connection_bytes_per_s or config.link_bytes_per_s:
        return _Carried(body, world)
    return body


def bend(world: World, fault: Fault, body: Body) -> Body:
    """The body as the service sees it."""
    if fault.do == "cut":
        return _Interrupted(body, fault.at_byte, _reset)
    if fault.do == "stall":
        return _Interrupted(body, fault.at_byte, lambda: world.pace.sleep(fault.seconds))
    if fault.do == "drip":
        return _Dripping(body, lambda: world.pace.sleep(fault.seconds))
    if fault.do == "store-and-forward":
        return _Forwarded(body, fault.bytes_per_s, world)
    return body


def _reset() -> None:
    raise ConnectionCut(reset=True)


class _Bent(Body):
    def __init__(self, body: Body) -> None:
        super().__init__(body.length)
        self._body = body


class _Interrupted(_Bent):
    """Calls `act` once, after exactly `at_byte` bytes or, in a shorter body, just before its end.

    It is called just before the end because a complete body would be a finished upload.
    """

    def __init__(self, body: Body, at_byte: int, act: Callable[[], object]) -> None:
        super().__init__(body)
        self._left: int | None = min(at_byte, max(0, body.length - 1))
        self._act = act

    def _next(self, limit: int) -> bytes:
        if self._left == 0:
            self._left = None
            self._act()
        block = self._body.read(limit if self._left is None else min(limit, self._left))
        if self._left is not None:
            self._left -= len(block)
        return block


class _Dripping(_Bent):
    """Reads small blocks, and pauses before each."""

    def __init__(self, body: Body, pause: Callable[[], object]) -> None:
        super().__init__(body)
        self._pause = pause

    def _next(self, limit: int) -> bytes:
        self._pause()
        return self._body.read(min(limit, _DRIP_BYTES))


class _Carried(_Bent):
    """Arrives as fast as its connection and the shared link carry it, as they are configured."""

    def __init__(self, body: Body, world: World) -> None:
        super().__init__(body)
        self._world = world
        self._free_at = 0.0

    def _next(self, limit: int) -> bytes:
        block = self._body.read(min(limit, _FORWARDED_BYTES))
        pace, config = self._world.pace, self._world.config
        with self._world.lock:
            now = pace.now()
            if each := config.connection_bytes_per_s:
                self._free_at = max(now, self._free_at) + len(block) / each
            if link := config.link_bytes_per_s:
                pace.link_free_at = max(now, pace.link_free_at) + len(block) / link
            arrives_at = max(self._free_at, pace.link_free_at)
        pace.sleep(max(0.0, arrives_at - now))
        if pace.stopping.is_set():
            raise ConnectionCut(reset=True)
        return block


class _Forwarded(_Bent):
    """Takes the whole body from the client at once, and passes it on at its own rate."""

    def __init__(self, body: Body, bytes_per_s: int, world: World) -> None:
        super().__init__(body)
        self._bytes_per_s = bytes_per_s
        self._world = world
        self._store = tempfile.SpooledTemporaryFile(max_size=_SPOOLED_BYTES)  # noqa: SIM115
        weakref.finalize(self, self._store.close)

    def _next(self, limit: int) -> bytes:
        if self._body.unread:
            while block := self._body.read():
                self._store.write(block)
            self._store.seek(0)
        block = self._store.read(min(limit, _FORWARDED_BYTES))
        self._world.pace.sleep(len(block) / self._bytes_per_s)
        if self._world.pace.stopping.is_set():
            raise ConnectionCut(reset=True)
        return block
