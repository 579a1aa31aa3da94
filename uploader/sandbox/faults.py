"""How a fault of the script changes an exchange, and the only entry to both services."""

from __future__ import annotations

from uploader.sandbox.answers import injected, spoil
from uploader.sandbox.bodies import bend, carried
from uploader.sandbox.script import Fault
from uploader.sandbox.wire import BLOCK_BYTES, Body, ConnectionCut, Request, Response, Route
from uploader.sandbox.world import World


def exchange(world: World, route: Route, request: Request) -> Response:
    """Answer a request, with the fault that the script has for it.

    Raises ConnectionError if the connection ends without an answer.
    """
    with world.lock:
        fault = world.script.take(route.on, route.name, world.config.chaos)
    if route.on == "put":
        request.body = carried(world, request.body)
    if fault is None:
        return route.answer(request)
    if fault.do == "reset-before":
        raise ConnectionCut(reset=True)
    if fault.do == "latency":
        world.pace.sleep(fault.seconds)
    if fault.do in ("status", "middle-box", "expired-url"):
        return _instead(world, fault, request.body)
    request.fault = fault
    request.body = bend(world, fault, request.body)
    return spoil(world, fault, route.answer(request))


def _instead(world: World, fault: Fault, body: Body) -> Response:
    """An answer instead of the effect; a success is only credible once all was read."""
    response = injected(world, fault)
    if response.status < 300:  # noqa: PLR2004
        _swallow(body, body.length)
    elif fault.at_byte:
        _swallow(body, fault.at_byte)
        response.abrupt = True
    return response


def _swallow(body: Body, count: int) -> None:
    while count > 0 and (block := body.read(min(count, BLOCK_BYTES))):
        count -= len(block)
