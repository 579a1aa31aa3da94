"""A service that keeps OpenSSL busy for ever holds no command after a signal."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import Iterator

import pytest

from tests.acceptance.conftest import World
from tests.endless import Endless
from uploader.sandbox.folder import DataFolder
from uploader.sandbox.tls import Authority

pytestmark = pytest.mark.acceptance
_PATIENCE_S = 60.0


@pytest.fixture
def endless(world: World) -> Iterator[Endless]:
    authority = Authority(DataFolder(world.folder / "tls"))
    world.environment["REQUESTS_CA_BUNDLE"] = str(authority.file)
    with contextlib.closing(Endless(authority.server_context(), world.folder)) as server:
        world.environment["FIREWORKS_BASE_URL"] = server.base
        yield server


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_command_that_openssl_keeps_busy(
    world: World, endless: Endless, number: signal.Signals
) -> None:
    command = [*world.program, "model", "list"]
    with subprocess.Popen(command, env=world.environment) as process:
        try:
            assert endless.asked.wait(_PATIENCE_S)
            process.send_signal(number)
            assert process.wait(_PATIENCE_S) == 128 + number  # an answer may take 120 s
        finally:
            process.kill()
