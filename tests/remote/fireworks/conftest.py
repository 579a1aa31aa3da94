"""A client of the control plane against a scripted server, with a clock that a test moves."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from types import MappingProxyType

import pytest

from tests.remote.scripted import HandClock, Reply, Server
from uploader.core.redact import ApiKey
from uploader.core.remote_model import RemoteModel
from uploader.core.retry import Backoff
from uploader.remote.fireworks import Fireworks
from uploader.remote.gate import Gate
from uploader.remote.sockets import SocketAdapter

BARE = RemoteModel("", "", "", "", None, "")


def ok(body: object = None, **headers: str) -> Reply:
    return Reply(200, headers, json.dumps({} if body is None else body).encode())


def model(fields: Mapping[str, object] = MappingProxyType({})) -> Reply:
    """The model `m`, as it is answered for."""
    return ok({"name": "accounts/a/models/m", **fields})


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def gate(clock: HandClock) -> Gate:
    return Gate(clock, Backoff(initial_s=2, max_s=60))


@pytest.fixture
def connect(adapter: SocketAdapter, clock: HandClock, gate: Gate) -> Callable[[Server], Fireworks]:
    return lambda server: Fireworks(server.base, lambda: ApiKey("fw_key"), clock, gate, adapter)


Connect = Callable[[Server], Fireworks]
