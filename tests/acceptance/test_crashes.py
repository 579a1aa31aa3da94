"""SIGKILL, SIGTERM and restarts: what the product exists for."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import urllib.request
from hashlib import sha256

import pytest

from tests.acceptance.conftest import DEADLINE_S, GRANULE, MIB, Stopwatch, World, until
from uploader.service.http.door import addresses_of

pytestmark = pytest.mark.acceptance

DRAIN_S = 10.0


@pytest.mark.long
@pytest.mark.timeout(900)  # it starts sixty processes
def test_fifteen_kills_in_one_upload_cost_a_granule_per_file_in_flight(world: World) -> None:
    model = world.shards("model")
    total = sum(path.stat().st_size for path in model.iterdir())
    world.uploader("enqueue", model)
    dice, allowed = random.Random(20261122), 0
    for kill in range(15):
        with world.worker(UPLOADER_TRANSFER__BANDWIDTH_LIMIT="40MiB/s") as process:
            begun = world.received()
            goal = begun + dice.randrange(1, total // 20)
            until(lambda goal=goal: world.received() >= goal)  # type: ignore[misc]
            world.kill(process)
        in_flight = [o for o in world.box.report()["objects"].values() if o["size"] is None]
        allowed += len(in_flight) * GRANULE
        assert world.job()["stage"] == "upload", f"done after {kill} kills: nothing was proven"
    world.finish()
    world.assert_identical(model)
    world.assert_kept_every_promise()
    assert world.received() - total <= allowed
    job = world.job()
    assert (job["stage"], job["status"]) == ("ready", "done")
    assert job["bytes_confirmed"] == job["bytes_total"] == total


@pytest.mark.tls
def test_a_kill_in_the_middle_of_a_shard_goes_on_at_the_confirmed_byte(world: World) -> None:
    model = world.model("model", weights_bin=24 * MIB + 1)
    world.uploader("enqueue", model)
    world.hold("weights", 2 * MIB)
    with world.worker(UPLOADER_INTEGRITY__SHA256="on") as process:
        until(lambda: world.received() >= 2 * MIB)
        shown = world.job()["bytes_confirmed"]
        world.kill(process)
    held = world.box.report()["objects"]["sandbox/model/weights.bin"]["persisted"]
    assert shown <= held
    world.finish(UPLOADER_INTEGRITY__SHA256="on")
    world.assert_identical(model)
    world.assert_kept_every_promise()
    digests = {path.name: sha256(path.read_bytes()).hexdigest() for path in model.iterdir()}
    assert {file["path"]: file["sha256"] for file in world.job()["files"]} == digests
    assert f"the server has {held:,} of" in world.uploader("logs", 1).stdout


@pytest.mark.long
def test_a_kill_while_validating_sends_no_byte_again(world: World) -> None:
    world.box.world.config.landing_polls = 3
    model = world.model("model", weights_bin=MIB)
    world.uploader("enqueue", model)
    with world.worker() as process:
        until(lambda: world.box.report()["validate_calls"] >= 1)
        world.kill(process)
    received, creates = world.received(), world.box.report()["create_calls"]
    assert world.job()["stage"] == "validate"
    world.finish()
    assert world.received() == received
    assert world.box.report()["create_calls"] == creates
    world.assert_kept_every_promise()


@pytest.mark.long
def test_what_is_enqueued_while_nothing_runs_is_uploaded_later(world: World) -> None:
    model = world.model("model", weights_bin=MIB)
    done = world.uploader("enqueue", model)
    assert done.stdout == "1\n"
    assert "uploader run" in done.stderr
    assert world.box.report()["create_calls"] == 0
    world.finish()
    world.assert_identical(model)


@pytest.mark.timed
def test_a_running_worker_notices_a_new_job_within_a_second(world: World) -> None:
    world.uploader("db", "upgrade")
    with world.worker() as process:
        until(lambda: list((world.state / "workers").glob("*.lock")))
        world.uploader("enqueue", world.model("model", weights_bin=5))
        noticed_s = Stopwatch(process).until(lambda: world.box.report()["creates"] == 1)
        assert noticed_s < 3.0  # a poll of 5 s would be caught
        until(lambda: world.job()["status"] == "done")


@pytest.mark.tls
@pytest.mark.timed
@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.long)]
)
def test_a_signal_drains_within_ten_seconds_and_exits_zero(world: World, number: int) -> None:
    model = world.model("model", weights_bin=24 * MIB)
    world.uploader("enqueue", model)
    with world.worker(UPLOADER_TRANSFER__BANDWIDTH_LIMIT="4MiB/s") as process:
        until(lambda: world.received() > MIB)
        drain = Stopwatch(process)
        process.send_signal(number)
        assert drain.until(lambda: process.poll() is not None) < DRAIN_S
        assert process.returncode == 0
    held = world.box.report()["objects"]["sandbox/model/weights.bin"]["persisted"]
    assert world.job()["files"][-1]["offset"] <= held
    world.finish()
    world.assert_identical(model)
    world.assert_kept_every_promise()


#: `uploader`, with libraries that have something to say once the worker logs.
_TALKATIVE = """
import logging, runpy, threading, time
def speak():
    while not logging.getLogger("uploader").handlers:
        time.sleep(0.01)
    while True:
        logging.getLogger("sqlalchemy.pool").error("x" * 1000)
        time.sleep(0.01)
threading.Thread(target=speak, daemon=True).start()
runpy.run_module("uploader", run_name="__main__", alter_sys=True)
"""


@pytest.mark.timed
def test_a_signal_drains_though_nobody_reads_what_libraries_log(world: World) -> None:
    ours, its = os.pipe()
    os.set_blocking(its, False)
    with contextlib.suppress(BlockingIOError):
        while os.write(its, b"x"):
            pass
    os.set_blocking(its, True)
    command = [sys.executable, "-c", _TALKATIVE, "run"]
    environment = world.environment | {"UPLOADER_API__LISTEN": "127.0.0.1:0"}
    with subprocess.Popen(command, env=environment, stderr=its, text=True) as process:
        os.close(its)
        try:
            until(lambda: addresses_of(world.state))
            (address,) = addresses_of(world.state)
            with urllib.request.urlopen(f"http://{address}/livez", timeout=30) as answer:
                assert answer.status == 200
            drain = Stopwatch(process)
            process.terminate()
            assert drain.until(lambda: process.poll() is not None) < DRAIN_S
            assert process.returncode == 0
        finally:
            process.kill()
            os.close(ours)


@pytest.mark.long
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_an_interrupted_run_until_idle_is_no_success_if_a_job_is_left(
    world: World, number: int, code: int
) -> None:
    world.uploader("enqueue", world.model("model", weights_bin=24 * MIB))
    slow = {"UPLOADER_TRANSFER__BANDWIDTH_LIMIT": "4MiB/s"}
    with world.worker("--until-idle", **slow) as process:
        until(lambda: world.received() > MIB)
        process.send_signal(number)
        assert process.wait(DEADLINE_S) == code
    assert world.job()["status"] == "active"
    assert "info    worker drained" in world.log()


@pytest.mark.tls
@pytest.mark.timed
@pytest.mark.long
def test_a_signal_drains_a_connection_that_is_stalled(world: World) -> None:
    fault = {"on": "put", "match": "weights", "do": "stall", "at_byte": MIB, "seconds": 60}
    world.box.world.script.add([fault])
    model = world.model("model", weights_bin=24 * MIB)
    world.uploader("enqueue", model)
    with world.worker() as process:
        until(lambda: world.received() >= MIB)
        drain = Stopwatch(process)
        process.terminate()
        assert drain.until(lambda: process.poll() is not None) < DRAIN_S
        assert process.returncode == 0
    world.finish()
    world.assert_identical(model)


@pytest.mark.long
def test_a_sandbox_that_goes_away_and_comes_back_is_waited_for(world: World) -> None:
    """A night without network, in miniature: every answer a 503 or no answer at all."""
    model = world.model("model", weights_bin=8 * MIB)
    world.uploader("enqueue", model)
    night = [
        {"on": on, "do": do, "times": 0}
        for on, do in (("put", "reset-before"), ("query", "reset-before"), ("start", "reset-after"))
    ]
    world.box.world.script.add(night)
    with world.worker("--until-idle") as process:
        until(lambda: world.job()["files"][-1]["attempts"] >= 3)
        world.box.world.script.clear()
        assert process.wait(DEADLINE_S) == 0
    world.assert_identical(model)
    world.assert_kept_every_promise()


@pytest.mark.long
def test_two_workers_on_one_state_folder_upload_everything_once(world: World) -> None:
    models = [world.model(f"model-{number}", weights_bin=3 * MIB) for number in range(4)]
    for model in models:
        world.uploader("enqueue", model)
    with world.worker("--until-idle") as one, world.worker("--until-idle") as two:
        assert {one.wait(DEADLINE_S), two.wait(DEADLINE_S)} == {0}
    for model in models:
        world.assert_identical(model)
    assert world.box.report()["creates"] == 4
    assert world.box.report()["bytes_below_confirmed"] == 0
