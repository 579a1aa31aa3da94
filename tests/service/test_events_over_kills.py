"""Two readers of the history, while the daemon that they ask is killed again and again."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.acceptance.conftest import DEADLINE_S, MIB, World, until
from uploader.sandbox.server import Sandbox

pytestmark = [pytest.mark.long, pytest.mark.acceptance]

KILLS = 3


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with Sandbox(data_dir=tmp_path / "objects") as box:
        yield World(box, tmp_path)


class Reader:
    """Goes on after the last number it has seen, whatever happens to the daemon."""

    def __init__(self, port: int, token: Callable[[], str]) -> None:
        self.seen: list[int] = []
        self.ended = threading.Event()
        self._port = port
        self._token = token

    def run(self) -> None:
        while not self.ended.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)
            with suppress(OSError, http.client.HTTPException):
                self.read(connection)
            connection.close()
            self.ended.wait(0.05)

    def read(self, connection: http.client.HTTPConnection) -> None:
        raise NotImplementedError

    @property
    def last(self) -> int:
        return self.seen[-1] if self.seen else 0

    def ask(
        self, connection: http.client.HTTPConnection, path: str, **headers: str
    ) -> http.client.HTTPResponse:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("GET", path, headers=sent | {"Authorization": f"Bearer {self._token()}"})
        answer = connection.getresponse()
        assert answer.status == http.client.OK
        return answer


class Poller(Reader):
    def read(self, connection: http.client.HTTPConnection) -> None:
        whole = self.ask(connection, f"/api/events?since={self.last}&wait=1").read()
        self.seen += [event["seq"] for event in json.loads(whole)]


class Stream(Reader):
    def read(self, connection: http.client.HTTPConnection) -> None:
        answer = self.ask(
            connection, "/api/events", Accept="text/event-stream", Last_Event_ID=str(self.last)
        )
        while line := answer.readline():
            if line.startswith(b"data: ") and line.endswith(b"\n"):
                self.seen.append(json.loads(line[6:])["seq"])
            if self.ended.is_set():
                return


def test_no_event_is_lost_or_told_twice_although_the_daemon_is_killed(world: World) -> None:
    model = world.model("m", a_bin=16 * MIB, **{f"b{n}_bin": 70_000 for n in range(40)})
    world.environment["UPLOADER_TRANSFER__BANDWIDTH_LIMIT"] = "4MB/s"
    world.uploader("enqueue", model)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    readers = [
        kind(port, lambda: (world.state / "api.token").read_text().strip())
        for kind in (Poller, Stream)
    ]
    threads = [threading.Thread(target=reader.run, daemon=True) for reader in readers]
    for thread in threads:
        thread.start()
    for _ in range(KILLS):
        before = [len(reader.seen) for reader in readers]
        with world.worker("--listen", f"127.0.0.1:{port}") as process:
            until(lambda before=before: all(  # type: ignore[misc]
                len(reader.seen) > known for reader, known in zip(readers, before, strict=True)
            ))  # fmt: skip
            world.kill(process)
        for verb in ("pause", "resume"):  # nobody listens meanwhile
            world.uploader(verb, 1)
    with world.worker("--listen", f"127.0.0.1:{port}"):
        world.uploader("wait", 1)
        told = world.uploader("events").stdout.splitlines()
        every = [json.loads(line)["seq"] for line in told]
        until(lambda: all(reader.last >= every[-1] for reader in readers))
    for reader in readers:
        reader.ended.set()
    for thread in threads:
        thread.join(DEADLINE_S)
    assert [reader.seen for reader in readers] == [every, every]
    assert every == list(range(every[0], every[0] + len(every)))
