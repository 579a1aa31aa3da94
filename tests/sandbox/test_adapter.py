"""The in-process adapter: what it reads, and where a simulation can step in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests

from uploader.sandbox.adapter import InProcessAdapter
from uploader.sandbox.world import World

if TYPE_CHECKING:
    from tests.sandbox.conftest import Remote

GRANULE = 256 * 1024


class Blocks:
    """A client's streamed body: its blocks are longer than asked for."""

    def __init__(self, content: bytes, block_bytes: int, *, length: int | None = None) -> None:
        self._content = content
        self._block_bytes = block_bytes
        self._length = len(content) if length is None else length

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[bytes]:
        return iter(lambda: self.read(1), b"")

    def read(self, _: int) -> bytes:
        block, self._content = (
            self._content[: self._block_bytes],
            self._content[self._block_bytes :],
        )
        return block


class Crash(BaseException):
    """What a simulation raises to kill the client."""


class Steps:
    """A boundary that remembers its steps, and crashes at the given one."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.crash_at: int | None = None

    def __call__(self, step: str) -> None:
        self.seen.append(step)
        if len(self.seen) - 1 == self.crash_at:
            raise Crash(step)


@pytest.fixture
def steps() -> Steps:
    return Steps()


@pytest.fixture
def remote(steps: Steps, tmp_path: Path, over: type[Remote]) -> Iterator[Remote]:
    world = World(data_dir=tmp_path)
    with requests.Session() as http:
        http.mount("http://", InProcessAdapter(world, steps))
        yield over(world, http)


def test_blocks_may_be_longer_than_asked_for(
    remote: Remote, content: bytes, tmp_path: Path
) -> None:
    uri = remote.session(len(content))
    assert remote.put(uri, Blocks(content, 300_000)).status_code == 200
    assert (tmp_path / "sandbox/m/f").read_bytes() == content


def test_a_body_that_ends_early_is_a_broken_connection(remote: Remote, content: bytes) -> None:
    uri = remote.session(len(content))
    short = Blocks(content[: GRANULE + 5], GRANULE, length=len(content))
    with pytest.raises(requests.ConnectionError):
        remote.put(uri, short)
    assert remote.offset(uri) == GRANULE


def test_the_boundary_sees_every_exchange_and_block(
    remote: Remote, content: bytes, steps: Steps
) -> None:
    uri = remote.session(len(content))
    remote.put(uri, Blocks(content, GRANULE))
    remote.query(uri)
    exchanges = [
        f"{on} {when}" for on in ("create", "urls", "start") for when in ("before", "after")
    ]
    put = ["put before", "put block", "put block", "put block", "put after"]
    assert steps.seen == [*exchanges, *put, "query before", "query after"]


@pytest.mark.parametrize(
    ("step", "persisted", "finished"),
    [(0, 0, False), (1, 0, False), (2, 1, False), (3, 2, False), (4, 2, True)],
)
def test_a_crash_at_a_boundary_is_like_a_cut(
    remote: Remote, content: bytes, steps: Steps, step: int, persisted: int, finished: bool
) -> None:
    uri = remote.session(len(content))
    steps.crash_at = len(steps.seen) + step
    with pytest.raises(Crash):
        remote.put(uri, Blocks(content, GRANULE))
    answer = remote.query(uri)
    assert (answer.status_code == 200) is finished
    if not finished:
        assert remote.offset(uri) == persisted * GRANULE
    assert remote.world.report()["bytes_below_confirmed"] == 0


def test_a_boundary_holds_no_lock_and_sees_progress(remote: Remote, content: bytes) -> None:
    uri = remote.session(len(content))
    offsets: list[int] = []

    def look(step: str) -> None:
        if step == "put block":
            offsets.append(remote.world.report()["objects"]["sandbox/m/f"]["persisted"])

    with requests.Session() as http:
        http.mount("http://", InProcessAdapter(remote.world, look))
        headers = {"Content-Range": f"bytes 0-{len(content) - 1}/{len(content)}"}
        assert http.put(uri, data=Blocks(content, GRANULE), headers=headers).ok
    assert offsets == [0, GRANULE, 2 * GRANULE]


def test_a_query_takes_over_from_a_running_put(remote: Remote, content: bytes) -> None:
    uri, size = remote.session(len(content)), len(content)
    answers: list[int] = []

    def ask_meanwhile(step: str) -> None:
        if step == "put block" and remote.seen()["persisted"] == GRANULE:
            answers.append(remote.offset(uri))

    with requests.Session() as http:
        http.mount("http://", InProcessAdapter(remote.world, ask_meanwhile))
        headers = {"Content-Range": f"bytes 0-{size - 1}/{size}"}
        with pytest.raises(requests.ConnectionError):
            http.put(uri, data=Blocks(content, GRANULE), headers=headers)
    assert (answers, remote.offset(uri)) == ([GRANULE], GRANULE)
    assert remote.put(uri, content[GRANULE:], GRANULE, size).status_code == 200


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("PUT", {"Content-Range": "bytes */10"}, 400),
        ("PUT", {"Content-Range": "bytes 0-9/10"}, 411),
        ("DELETE", {}, 400),
    ],
)
def test_a_missing_length_is_refused(
    remote: Remote, method: str, headers: dict[str, str], status: int
) -> None:
    request = requests.Request(method, remote.session(10), headers=headers).prepare()
    del request.headers["Content-Length"]
    assert remote.http.send(request).status_code == status
    assert len(remote.world.report()["refused"]) == 1


def test_nothing_listens_elsewhere(remote: Remote) -> None:
    with pytest.raises(requests.ConnectionError, match="nothing listens"):
        remote.http.get("http://127.0.0.1:3/")


def test_a_world_without_a_folder_cleans_up() -> None:
    world = World()
    root = world.folder.root
    assert root.is_dir()
    del world
    assert not root.exists()


def test_an_answer_without_end_ends_in_a_broken_connection(remote: Remote) -> None:
    remote.world.script.add([{"on": "get", "do": "endless-answer"}])
    remote.create("f")
    with pytest.raises(requests.exceptions.ChunkedEncodingError, match="without end"):
        remote.call("GET", "/models/m")
