"""`uploader upload` as a user starts it: without a daemon, alongside one, interrupted."""

from __future__ import annotations

import contextlib
import json
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import DEADLINE_S, MIB, Stopwatch, World, until

pytestmark = [pytest.mark.acceptance, pytest.mark.long]


class Command:
    """`uploader` with some words, while it runs."""

    def __init__(self, process: subprocess.Popen[str], out: Path, err: Path) -> None:
        self.process = process
        self._out, self._err = out, err

    @property
    def out(self) -> str:
        return self._out.read_text()

    @property
    def err(self) -> str:
        return self._err.read_text()


@contextlib.contextmanager
def running(world: World, *words: object, **environment: str) -> Iterator[Command]:
    out, err = world.folder / "out.txt", world.folder / "err.txt"
    with out.open("w") as stdout, err.open("w") as stderr:
        process = subprocess.Popen(
            [*world.program, *map(str, words)],
            env=world.environment | environment,
            stdout=stdout,
            stderr=stderr,
            text=True,
        )
        try:
            yield Command(process, out, err)
        finally:
            process.kill()
            process.wait()


def locks(world: World) -> set[str]:
    """One for each worker."""
    return {path.name for path in (world.state / "workers").glob("*.lock")}


def workers(world: World) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(world.uploader("status", "--json").stdout)["workers"]
    return found


def test_a_folder_becomes_ready_and_no_other_job_is_touched(world: World) -> None:
    world.uploader("enqueue", world.model("other", weights_bin=MIB))
    before = world.job(1)
    model = world.model("model", weights_bin=3 * MIB)
    done = world.uploader("upload", model, "--json")
    assert json.loads(done.stdout)["status"] == "done"
    assert "job 2 model: READY" in done.stderr
    world.assert_identical(model)
    assert world.job(1) == before
    assert world.box.report()["creates"] == 1
    again = world.uploader("upload", model)
    assert again.stdout == "2\n"
    assert world.box.report()["creates"] == 1


def test_a_refused_folder_leaves_neither_job_nor_model(world: World) -> None:
    empty = world.folder / "empty"
    empty.mkdir()
    refused = world.uploader("upload", empty, expect=6)
    assert "error: " in refused.stderr
    assert json.loads(world.uploader("status", "--json").stdout)["jobs"] == []
    assert world.box.report()["models"] == {}


def test_an_upload_forgets_no_history_of_others(world: World) -> None:
    """Its clock may be wrong, and the rest is none of its business."""
    model = world.model("model", weights_bin=1)
    world.uploader("upload", model)
    with closing(sqlite3.connect(world.state / "uploader.db")) as store, store:
        store.execute("UPDATE jobs SET updated_at = '2001-01-01 00:00:00.000000'")
    world.uploader("upload", world.model("other", weights_bin=2))
    assert world.job()["status"] == "done"
    world.uploader("enqueue", world.model("third", weights_bin=3))
    world.uploader("run", "--until-idle")
    world.uploader("show", "1", expect=4)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"]
)
def test_an_interrupted_upload_goes_on_with_the_same_command(
    world: World, number: int, code: int
) -> None:
    model = world.model("model", weights_bin=24 * MIB)
    world.hold("weights", 4 * MIB)
    with running(world, "upload", model) as command:
        until(lambda: command.out and world.received() >= 4 * MIB)
        command.process.send_signal(number)
        assert command.process.wait(DEADLINE_S) == code
        assert "`uploader run`" in command.err
        assert "the same command" in command.err
    (weights,) = (file for file in world.job()["files"] if file["path"] == "weights.bin")
    held = max(session.part.persisted for session in world.box.world.sessions.values())
    assert weights["offset"] == held > MIB  # whole granules only, and other files were received
    world.release()
    world.uploader("upload", model)
    world.assert_identical(model)
    world.assert_kept_every_promise()


@pytest.mark.timed
def test_a_daemon_does_the_work_and_is_replaced_within_ten_seconds(world: World) -> None:
    model = world.model("model", weights_bin=24 * MIB)
    world.hold("weights", 4 * MIB)
    with world.worker() as daemon:
        until(lambda: locks(world))
        with running(world, "upload", model) as command:
            until(lambda: command.out and world.received() >= 4 * MIB)
            (only,) = workers(world)
            assert only["jobs"] == [1]
            assert "a worker runs already: it does the work" in command.err
            before = locks(world)
            world.kill(daemon)
            replaced = Stopwatch(command.process)
            assert replaced.until(lambda: locks(world) - before) < 10
            assert command.process.wait(DEADLINE_S) == 0, command.err
    world.assert_identical(model)
    world.assert_kept_every_promise()


def test_two_uploads_at_once_each_do_their_own(world: World) -> None:
    first, second = (world.model(name, weights_bin=12 * MIB) for name in ("first", "second"))
    world.hold("first/weights", MIB)
    with running(world, "upload", first) as command:
        until(lambda: command.out and world.received() >= MIB)
        world.uploader("upload", second)
        assert world.job(2)["status"] == "done"
        world.release()
        assert command.process.wait(DEADLINE_S) == 0, command.err
    for model in (first, second):
        world.assert_identical(model)
