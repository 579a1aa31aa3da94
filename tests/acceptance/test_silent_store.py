"""A job table that falls silent: no command outlives a signal for long."""

from __future__ import annotations

import contextlib
import http.client
import signal
import subprocess
import threading
from collections.abc import Iterator

import pytest

from tests.acceptance.conftest import MIB, World, until
from tests.postgresql import Cluster
from tests.soak.proxy import Proxy, before
from uploader.deadlines import PATIENCE_S
from uploader.service.http.door import addresses_of
from uploader.service.http.tokens import api_token

pytestmark = pytest.mark.acceptance

#: What a busy machine may add.
_BUSY_S = 10.0


@pytest.fixture
def table(world: World, postgresql: Cluster) -> Iterator[Proxy]:
    """The way to the job table of ``world``, which can be held up."""
    with postgresql.database() as name, before(postgresql.url(name)) as (proxy, url):
        world.environment["UPLOADER_DATABASE_URL"] = url
        yield proxy


@contextlib.contextmanager
def running(world: World, *words: str) -> Iterator[subprocess.Popen[str]]:
    with (world.folder / "log").open("a") as log:
        process = subprocess.Popen(
            [*world.program, *words],
            env=world.environment,
            stdout=log,
            stderr=log,
            text=True,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def ask(world: World, path: str) -> int:
    connection = http.client.HTTPConnection(addresses_of(world.state)[0], timeout=120)
    with contextlib.closing(connection):
        token = {"Authorization": f"Bearer {api_token(world.state)}"}
        connection.request("GET", path, headers=token)
        return connection.getresponse().status


def ask_in_vain(world: World, path: str) -> None:
    def run() -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            ask(world, path)

    threading.Thread(target=run, daemon=True).start()


@contextlib.contextmanager
def serving(world: World) -> Iterator[subprocess.Popen[str]]:
    world.environment["UPLOADER_API__LISTEN"] = "127.0.0.1:0"
    with running(world, "serve") as process:
        until(lambda: addresses_of(world.state))
        assert ask(world, "/readyz") == 200
        yield process


@pytest.mark.parametrize(
    ("path", "number"),
    [("/readyz", signal.SIGTERM), ("/api/jobs", signal.SIGINT), ("/api/events", signal.SIGTERM)],
)
def test_serve_ends_in_time_though_its_job_table_is_silent(
    world: World, table: Proxy, path: str, number: signal.Signals
) -> None:
    with serving(world) as process:
        table.flowing.clear()
        held = table.held
        pause = threading.Event()
        while table.held == held:  # the last answer about the table counts for a second
            ask_in_vain(world, path)
            pause.wait(0.3)
        process.send_signal(number)
        assert process.wait(PATIENCE_S + _BUSY_S) == 0
    assert addresses_of(world.state) == []


@pytest.mark.long
@pytest.mark.parametrize(
    ("words", "number"),
    [
        (["wait"], signal.SIGINT),
        (["follow"], signal.SIGTERM),
        (["logs", "--follow"], signal.SIGTERM),
        (["upload"], signal.SIGINT),
    ],
)
def test_a_command_ends_ten_seconds_after_a_signal_though_its_job_table_is_silent(
    world: World, table: Proxy, words: list[str], number: signal.Signals
) -> None:
    model = world.model("model", weights_bin=MIB)
    world.hold("weights.bin", 0)
    if words == ["upload"]:
        words = ["upload", str(model)]
    else:
        world.uploader("enqueue", model)
        words = [*words, "1"]
    with running(world, *words) as process:
        falls_silent(world, table)
        process.send_signal(number)
        assert process.wait(PATIENCE_S + _BUSY_S) == 128 + number
    assert "cancellation" not in (world.folder / "log").read_text()


def test_a_second_signal_ends_a_command_at_once_though_its_job_table_is_silent(
    world: World, table: Proxy
) -> None:
    world.uploader("enqueue", world.model("model", weights_bin=MIB))
    with running(world, "follow", "1") as process:
        falls_silent(world, table)

        def has_ended() -> bool:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(0.5) is not None
            return False

        until(has_ended, PATIENCE_S / 2)
        assert process.returncode == 143


def falls_silent(world: World, table: Proxy) -> None:
    """The table, once a command has shown what is in it, and asks for more."""
    until((world.folder / "log").read_text)
    table.flowing.clear()
    held = table.held
    until(lambda: table.held > held)
