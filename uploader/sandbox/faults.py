"""How a fault of the script bends an exchange, and the one way into both services."""

from __future__ import annotations

import json
from collections.abc import Callable

from uploader.sandbox import refusals
from uploader.sandbox.script import Fault
from uploader.sandbox.wire import Body, ConnectionCut, Request, Response, Route
from uploader.sandbox.world import World

_DRIP_BYTES = 8 * 1024


def exchange(world: World, route: Route, request: Request) -> Response:
    """Answer a request, with the fault the script has for it.

    Raises ConnectionError where the connection ends without an answer.
    """
    with world.lock:
        fault = world.script.take(route.on, route.name, world.config.chaos)
    if fault is None:
        return route.answer(request)
    if (early := _before(world, fault)) is not None:
        return early
    request.fault = fault
    request.body = _bend(world, fault, request.body)
    return _after(fault, route.answer(request))


def _before(world: World, fault: Fault) -> Response | None:
    """What happens instead of the effect, if anything does."""
    if fault.do == "reset-before":
        raise ConnectionCut(reset=True)
    if fault.do == "latency":
        world.sleep(fault.seconds)
    if fault.do == "status":
        return _status(fault)
    return refusals.expired_url() if fault.do == "expired-url" else None


def _after(fault: Fault, response: Response) -> Response:
    if fault.do in ("reset-after", "lost-answer"):
        raise ConnectionCut(reset=fault.do == "reset-after")
    if fault.do == "malformed-json":
        response.body = b'{"malformed'
    return response


def _status(fault: Fault) -> Response:
    http = fault.status or 503
    response = refusals.xml(http, "InjectedFault")
    if fault.on not in ("start", "put", "query", "cancel"):
        response = refusals.grpc_by_status(http, "injected fault")
    if fault.body is not None:
        text = fault.body if isinstance(fault.body, str) else json.dumps(fault.body)
        response.body = text.encode()
        response.headers["content-type"] = (
            "text/plain" if isinstance(fault.body, str) else "application/json"
        )
    if fault.retry_after is not None:
        response.headers["retry-after"] = f"{fault.retry_after:g}"
    return response


def _bend(world: World, fault: Fault, body: Body) -> Body:
    if fault.do == "cut":
        return _Interrupted(body, fault.at_byte, _reset)
    if fault.do == "stall":
        return _Interrupted(body, fault.at_byte, lambda: world.sleep(fault.seconds))
    return _Dripping(body, lambda: world.sleep(fault.seconds)) if fault.do == "drip" else body


def _reset() -> None:
    raise ConnectionCut(reset=True)


class _Bent(Body):
    def __init__(self, body: Body) -> None:
        super().__init__(body.length)
        self._body = body


class _Interrupted(_Bent):
    """Calls `act` once, after exactly `at_byte` bytes or, in a shorter body, just before its end.

    Just before, because a whole body that was cut would be a finished upload.
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
    """Reads little, and pauses before each block."""

    def __init__(self, body: Body, pause: Callable[[], object]) -> None:
        super().__init__(body)
        self._pause = pause

    def _next(self, limit: int) -> bytes:
        self._pause()
        return self._body.read(min(limit, _DRIP_BYTES))
