"""Answers that faults invent, and answers that faults damage on their way to the client."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator

from uploader.sandbox import refusals
from uploader.sandbox.kinds import STORAGE
from uploader.sandbox.script import Fault
from uploader.sandbox.wire import BLOCK_BYTES, ConnectionCut, Response, head
from uploader.sandbox.world import World

#: zlib's number for the format of gzip.
_GZIP = 31
_MIDDLE_BOX_PAGE = (
    "<!DOCTYPE html><html><head><title>Blocked</title></head><body><h1>{status}</h1>"
    "<p>This request was blocked by the security policy of your network.</p></body></html>"
)


def injected(world: World, fault: Fault) -> Response:
    """The answer that a fault gives instead of the service's own."""
    if fault.do == "middle-box":
        return _middle_box(fault)
    if fault.do == "expired-url":
        return refusals.expired_url()
    http, of_storage = fault.status or 503, fault.on in STORAGE
    if http < 300:  # noqa: PLR2004
        response = Response(http, {}, b"" if of_storage else b"{}")
    elif of_storage:
        response = refusals.xml(http, "InjectedFault")
    else:
        response = refusals.grpc_by_status(http, "injected fault", fault.reason)
    stamp = refusals.stamp_storage if of_storage else refusals.stamp_control
    stamp(response, world.ledger.next_id())
    return _dressed(fault, response)


def _middle_box(fault: Fault) -> Response:
    status = fault.status or 403
    headers = {"content-type": "text/html; charset=utf-8", "via": "1.1 proxy", "server": "proxy"}
    body = _MIDDLE_BOX_PAGE.format(status=status).encode()
    return _dressed(fault, Response(status, headers, body))


def _dressed(fault: Fault, response: Response) -> Response:
    """With the body and the Retry-After that the fault asks for."""
    if fault.body is not None:
        text = fault.body if isinstance(fault.body, str) else json.dumps(fault.body)
        response.body = text.encode()
        response.headers["content-type"] = (
            "text/plain" if isinstance(fault.body, str) else "application/json"
        )
    if fault.retry_after is not None:
        response.headers["retry-after"] = f"{fault.retry_after:g}"
    return response


def spoil(world: World, fault: Fault, response: Response) -> Response:
    """The service's own answer, as it reaches the client. Raises ConnectionCut if it does not."""
    match fault.do:
        case "reset-after" | "lost-answer":
            raise ConnectionCut(reset=fault.do == "reset-after")
        case "status-after":
            return injected(world, fault)
        case "malformed-json":
            response.body = b'{"malformed'
        case "lost-range":
            response.headers.pop("range", None)
    if fault.do in _ON_THE_WIRE:
        response.raw = _ON_THE_WIRE[fault.do](world, fault, response)
    return response


def _slow(world: World, fault: Fault, response: Response) -> Iterator[bytes]:
    yield head(response, length=len(response.body))
    for at in range(len(response.body)):
        _pause(world, fault.seconds)
        yield response.body[at : at + 1]


def _hanging(world: World, fault: Fault, response: Response) -> Iterator[bytes]:
    yield head(response, length=None)[:-2]
    while True:
        _pause(world, fault.seconds)
        yield b"x-and-one-more: header\r\n"


def _gzipped(_world: World, fault: Fault, response: Response) -> Iterator[bytes]:
    packer = zlib.compressobj(level=1, wbits=_GZIP)
    parts = [packer.compress(response.body)]
    lengths = (min(BLOCK_BYTES, fault.size - at) for at in range(0, fault.size, BLOCK_BYTES))
    parts += [packer.compress(b" " * length) for length in lengths]
    body = b"".join([*parts, packer.flush()])
    response.headers["content-encoding"] = "gzip"
    yield head(response, length=len(body)) + body


def _padded(world: World, fault: Fault, response: Response) -> Iterator[bytes]:
    """The answer and `size` blanks, or blanks for ever."""
    size = None if fault.do == "endless-answer" else fault.size
    length = None if size is None else len(response.body) + size
    yield head(response, length=length) + response.body
    left = size
    while left is None or left > 0:
        if world.pace.stopping.is_set():
            raise ConnectionCut(reset=True)
        block = b" " * (BLOCK_BYTES if left is None else min(left, BLOCK_BYTES))
        yield block
        left = None if left is None else left - len(block)


def _pause(world: World, seconds: float) -> None:
    world.pace.sleep(seconds)
    if world.pace.stopping.is_set():
        raise ConnectionCut(reset=True)


_ON_THE_WIRE = {
    "slow-answer": _slow,
    "hanging-headers": _hanging,
    "endless-answer": _padded,
    "oversize-answer": _padded,
    "gzip-answer": _gzipped,
}
