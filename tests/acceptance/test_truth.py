"""What the screen says is what is: of a killed worker, a paused job, a drain, an answer awaited."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.acceptance.conftest import MIB, Stopwatch, World, until
from tests.sqlite import sqlite_url
from uploader.core.job import FileState
from uploader.core.lifecycle import Verb
from uploader.runtime import SystemClock
from uploader.store.database.dialect import open_engine
from uploader.store.database.workers import living
from uploader.store.jobs import Jobs

pytestmark = [pytest.mark.acceptance, pytest.mark.long]

OBJECT = "sandbox/model/weights.bin"
SLOW = {"UPLOADER_TRANSFER__BANDWIDTH_LIMIT": "4MiB/s"}


def status(world: World) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(world.uploader("status", "--json").stdout)
    return found


def job(world: World) -> dict[str, Any]:
    found: dict[str, Any] = status(world)["jobs"][0]
    return found


def weights(jobs: Jobs) -> FileState:
    (found,) = (file for file in jobs.files(1) if file.path == "weights.bin")
    return found


def offset(jobs: Jobs) -> int:
    return weights(jobs).checkpoint.offset


def held(world: World) -> int:
    """What the server has of the one file that is on its way."""
    sessions = world.box.world.sessions.values()
    return max(session.part.persisted for session in sessions)


@pytest.fixture
def sending(world: World) -> World:
    world.uploader("enqueue", world.model("model", weights_bin=64 * MIB))
    return world


@pytest.fixture
def jobs(sending: World) -> Iterator[Jobs]:
    """The job table as a command reads it, without the time that a command takes to start."""
    engine = open_engine(sqlite_url(sending.state / "uploader.db"))
    yield Jobs(engine, living=lambda: living(sending.state))
    engine.dispose()


@pytest.mark.timed
def test_a_killed_worker_has_no_rate_within_two_seconds(sending: World, jobs: Jobs) -> None:
    with sending.worker(UPLOADER_TRANSFER__BANDWIDTH_LIMIT="512KiB/s") as process:
        until(lambda: jobs.job(1).rate_bps)
        alive = status(sending)
        assert alive["jobs"][0]["rate_bps"] > 0
        assert alive["jobs"][0]["eta_s"] > 0
        assert [worker["jobs"] for worker in alive["workers"]] == [[1]]
        gone = Stopwatch(process)
        process.send_signal(signal.SIGKILL)
        assert gone.until(lambda: jobs.job(1).rate_bps is None) < 2
    dead = status(sending)
    assert (dead["jobs"][0]["eta_s"], dead["workers"]) == (None, [])
    assert "no worker runs" in sending.uploader("status").stderr
    assert "no worker runs" in sending.uploader("explain", 1).stdout
    assert "no worker runs" in sending.uploader("wait", 1, "--timeout", 1, expect=10).stderr


@pytest.mark.timed
def test_three_seconds_after_a_pause_each_offset_is_the_servers(sending: World, jobs: Jobs) -> None:
    with sending.worker(**SLOW) as process:
        until(lambda: weights(jobs).bytes_sent > 4 * MIB)
        assert offset(jobs) == 0  # one PUT of 64 MiB
        paused = Stopwatch(process)
        jobs.apply(1, Verb.PAUSE, SystemClock().now())
        assert paused.until(lambda: not jobs.job(1).lease) < 3
        assert MIB < offset(jobs) == held(sending) <= weights(jobs).bytes_sent
        (worker,) = status(sending)["workers"]
        assert worker["jobs"] == []
        assert sending.box.report()["objects"][OBJECT]["queries"] == 1
        assert "no worker" not in sending.uploader("status").stderr
    assert sending.box.report()["bytes_below_confirmed"] == 0


@pytest.mark.timed
def test_before_a_drain_ends_each_offset_is_the_servers(sending: World, jobs: Jobs) -> None:
    with sending.worker(**SLOW) as process:
        until(lambda: weights(jobs).bytes_sent > 4 * MIB)
        drained = Stopwatch(process)
        process.terminate()
        assert drained.until(lambda: process.poll() is not None) < 8
        assert process.returncode == 0
    assert offset(jobs) == held(sending) > MIB
    sending.finish()
    sending.assert_identical(sending.folder / "model")
    sending.assert_kept_every_promise()


@pytest.mark.timed
def test_a_server_that_says_nothing_delays_no_drain(sending: World, jobs: Jobs) -> None:
    sending.box.world.script.add([{"on": "query", "do": "latency", "seconds": 60, "times": 0}])
    with sending.worker(**SLOW) as process:
        until(lambda: weights(jobs).bytes_sent > 4 * MIB)
        drained = Stopwatch(process)
        process.terminate()
        assert drained.until(lambda: process.poll() is not None) < 4
    assert offset(jobs) == 0


def test_an_answer_that_is_awaited_is_reported_without_promising_an_end(sending: World) -> None:
    forward = {"on": "put", "match": "weights", "do": "store-and-forward", "bytes_per_s": MIB}
    sending.box.world.script.add([forward])
    with sending.worker() as process:
        del process
        answer = "waiting for the storage service's answer since "
        until(lambda: answer in sending.uploader("explain", 1).stdout)
        waiting = job(sending)
        assert waiting["bytes_confirmed"] < waiting["bytes_total"] <= waiting["bytes_sent"]
        assert waiting["awaiting_since"]
        assert waiting["eta_s"] is None
        assert answer in sending.uploader("status").stdout
