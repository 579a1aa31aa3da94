"""Verbs from another process take effect within two seconds, whatever the worker is stuck in."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.acceptance.conftest import MIB, Stopwatch, World, until
from tests.sqlite import sqlite_url
from uploader.core.errors import VerbRefused
from uploader.core.job import Stage, Status
from uploader.core.lifecycle import Verb
from uploader.runtime import SystemClock
from uploader.store.database.dialect import open_engine
from uploader.store.jobs import Jobs

pytestmark = [pytest.mark.acceptance, pytest.mark.long]

GIB = 1 << 30
#: The promise; the drill itself costs a little on a busy machine.
PROMISE_S = 2.0


@pytest.fixture
def jobs(world: World) -> Iterator[Jobs]:
    world.uploader("db", "upgrade")
    engine = open_engine(sqlite_url(world.state / "uploader.db"))
    yield Jobs(engine)
    engine.dispose()


def in_a_long_put(world: World) -> Callable[[], object]:
    world.environment["UPLOADER_TRANSFER__CHUNK_SIZE"] = "1GiB"
    world.environment["UPLOADER_TRANSFER__BANDWIDTH_LIMIT"] = "32MiB/s"
    return lambda: world.received() > MIB


def on_a_stalled_connection(world: World) -> Callable[[], object]:
    stall = {"on": "put", "match": "weights", "do": "stall", "at_byte": 3 * MIB, "seconds": 90}
    world.box.world.script.add([stall])
    return lambda: world.received() >= 3 * MIB


def waiting_for_urls(world: World) -> Callable[[], object]:
    world.box.world.script.add([{"on": "urls", "do": "latency", "seconds": 90}])
    return lambda: world.box.report()["creates"] == 1


def waiting_for_validation(world: World) -> Callable[[], object]:
    (world.folder / "model" / "weights.bin").write_bytes(b"small")
    world.box.world.script.add([{"on": "validate", "do": "latency", "seconds": 90, "times": 0}])
    return lambda: stage(world) is Stage.VALIDATE


def stage(world: World) -> Stage:
    engine = open_engine(sqlite_url(world.state / "uploader.db"))
    try:
        return Jobs(engine).job(1).stage
    finally:
        engine.dispose()


def removed(jobs: Jobs) -> bool:
    """True once a worker has ended what the cancelled job left open."""
    try:
        jobs.remove(1, SystemClock().now())
    except VerbRefused:
        return False
    return not jobs.jobs()


SITUATIONS = (
    in_a_long_put,
    on_a_stalled_connection,
    waiting_for_urls,
    waiting_for_validation,
)


def one_gib(world: World) -> None:
    """A gibibyte that takes no room on the disk."""
    with (world.model("model") / "weights.bin").open("wb") as file:
        file.write(os.urandom(4096))  # zeros only would be refused as a download that did not end
        file.truncate(GIB)


@pytest.mark.tls
@pytest.mark.timed
@pytest.mark.parametrize("verb", [Verb.PAUSE, Verb.CANCEL])
@pytest.mark.parametrize("situation", SITUATIONS)
def test_a_verb_takes_effect_within_two_seconds(
    world: World, jobs: Jobs, situation: Any, verb: Verb
) -> None:
    one_gib(world)
    reached = situation(world)
    world.uploader("enqueue", world.folder / "model")
    with world.worker() as process:
        until(reached)
        until(lambda: jobs.job(1).lease)
        let_go = Stopwatch(process)
        jobs.apply(1, verb, SystemClock().now())
        assert let_go.until(lambda: not jobs.job(1).lease) < PROMISE_S + 0.5
        received = world.received()
        if verb is Verb.CANCEL:
            until(lambda: removed(jobs))
        assert world.received() == received


@pytest.mark.tls
@pytest.mark.parametrize("situation", [in_a_long_put, on_a_stalled_connection])
def test_pause_and_resume_at_once_never_make_two_writers(
    world: World, jobs: Jobs, situation: Any
) -> None:
    model = world.model("model", weights_bin=24 * MIB)
    reached = situation(world)
    world.uploader("enqueue", model)
    with world.worker():
        until(reached)
        for _ in range(3):
            jobs.apply(1, Verb.PAUSE, SystemClock().now())
            jobs.apply(1, Verb.RESUME, SystemClock().now())
        jobs.apply(1, Verb.PAUSE, SystemClock().now())
        until(lambda: not jobs.job(1).lease)
        jobs.apply(1, Verb.RESUME, SystemClock().now())
        until(lambda: jobs.job(1).status is Status.DONE)
    world.assert_identical(model)
    world.assert_kept_every_promise()


def test_retry_does_not_wait_for_the_backoff(world: World, jobs: Jobs) -> None:
    fault = {"on": "urls", "do": "status", "status": 503, "retry_after": 600}
    world.box.world.script.add([fault])
    model = world.model("model", weights_bin=MIB)
    world.uploader("enqueue", model)
    with world.worker():
        until(lambda: jobs.job(1).not_before)
        world.uploader("retry", 1)
        until(lambda: jobs.job(1).status is Status.DONE)
    world.assert_identical(model)


def test_cancel_deletes_the_model_this_job_created_and_no_other(world: World, jobs: Jobs) -> None:
    model = world.model("model", weights_bin=24 * MIB)
    other = world.model("other", weights_bin=5)
    world.uploader("enqueue", other)
    world.finish()
    world.uploader("enqueue", model)
    world.hold("weights", MIB)
    with world.worker():
        until(lambda: world.received() >= MIB)
        world.uploader("cancel", "model", "--delete-remote")
        until(lambda: len(world.box.report()["models"]) == 1)
    assert world.box.report()["models"] == {"accounts/sandbox/models/other": "READY"}
    assert jobs.find("model").status is Status.CANCELLED
