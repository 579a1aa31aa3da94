"""What matters most, again over TLS: refusals that break the write, cuts, kills, drains, pauses.

See docs/field.md §3.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import DEADLINE_S, GRANULE, MIB, Stopwatch, World, until
from uploader.sandbox.server import Sandbox

pytestmark = pytest.mark.acceptance

DRAIN_S = 10.0
SIZE = 16 * MIB + 1
#: The server reads 64 KiB of a PUT, answers and closes at once.
EARLY = {"on": "put", "match": "weights", "do": "status", "at_byte": 64 * 1024}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """As everywhere, but nothing speaks in clear."""
    pytest.importorskip("trustme")
    with Sandbox(data_dir=tmp_path / "objects", tls=True) as box:
        assert box.base_url.startswith("https://")
        world = World(box, tmp_path)
        world.environment["REQUESTS_CA_BUNDLE"] = str(box.ca_file)
        yield world


def enqueued(world: World, *faults: dict[str, Any], size: int = SIZE) -> Path:
    world.box.world.script.add([*faults])
    model = world.model("model", weights_bin=size)
    world.uploader("enqueue", model)
    return model


@pytest.mark.long
@pytest.mark.parametrize(
    "faults",
    [
        [],
        [{"on": "put", "match": "weights", "do": "cut", "at_byte": 5 * MIB + 1}],
        [{"on": "put", "match": "weights", "do": "lost-answer"}],
        [{"on": "put", "match": "weights", "do": "reset-after"}],
        [{**EARLY, "status": 503}],
        [{**EARLY, "status": 410}],
        [{**EARLY, "status": 413}],
        [{"on": "put", "match": "weights", "do": "middle-box", "status": 403}],
        [{"on": on, "do": "lost-answer"} for on in ("create", "urls", "start", "validate")],
    ],
    ids=lambda faults: "-".join(f"{f['do']}{f.get('status', '')}" for f in faults) or "undisturbed",
)
def test_an_upload_ends_in_ready_whatever_breaks(
    world: World, faults: list[dict[str, Any]]
) -> None:
    model = enqueued(world, *faults)
    world.finish()
    world.assert_identical(model)
    world.assert_kept_every_promise()


@pytest.mark.parametrize("status", [400, 403])
def test_an_early_refusal_is_heard_and_ends_the_job(world: World, status: int) -> None:
    enqueued(world, {**EARLY, "status": status})
    with world.worker("--until-idle") as process:
        assert process.wait(DEADLINE_S) == 7
    reason = world.job()["reason"]
    assert reason["code"] == "refused"
    assert f"answered {status}" in reason["message"]
    assert world.box.report()["objects"]["sandbox/model/weights.bin"]["sessions_started"] == 1


@pytest.mark.long
def test_an_early_refusal_of_a_plain_put_asks_for_another_url(world: World) -> None:
    world.box.world.config.url_kind = "put"
    model = enqueued(world, {**EARLY, "status": 403})
    world.finish()
    world.assert_identical(model)
    assert world.box.report()["urls_calls"] == 2


def test_a_put_that_is_found_too_large_is_halved(world: World) -> None:
    model = enqueued(world, {**EARLY, "status": 413, "times": 2}, size=24 * MIB)
    world.finish()
    world.assert_identical(model)
    assert "they have 8.0 MiB now" in world.uploader("logs", 1).stdout
    assert world.job()["attempts"] == 0


def test_a_kill_goes_on_at_the_confirmed_byte(world: World) -> None:
    model = enqueued(world)
    with world.worker(UPLOADER_TRANSFER__BANDWIDTH_LIMIT="4MiB/s") as process:
        until(lambda: world.received() > 2 * MIB)
        world.kill(process)
    held = world.box.report()["objects"]["sandbox/model/weights.bin"]["persisted"]
    assert held > 0
    world.finish()
    world.assert_identical(model)
    world.assert_kept_every_promise()
    assert world.received() - sum(path.stat().st_size for path in model.iterdir()) <= GRANULE


@pytest.mark.long
@pytest.mark.timed
@pytest.mark.parametrize(
    "faults",
    [[], [{"on": "put", "match": "weights", "do": "stall", "at_byte": MIB, "seconds": 60}]],
)
def test_a_signal_drains_within_ten_seconds(world: World, faults: list[dict[str, Any]]) -> None:
    model = enqueued(world, *faults)
    with world.worker(UPLOADER_TRANSFER__BANDWIDTH_LIMIT="4MiB/s") as process:
        until(lambda: world.received() >= MIB)
        drain = Stopwatch(process)
        process.terminate()
        assert drain.until(lambda: process.poll() is not None) < DRAIN_S
        assert process.returncode == 0
    world.finish()
    world.assert_identical(model)
    world.assert_kept_every_promise()


@pytest.mark.long
def test_a_pause_is_heard_in_the_middle_of_a_put(world: World) -> None:
    model = enqueued(world)
    with world.worker(UPLOADER_TRANSFER__BANDWIDTH_LIMIT="4MiB/s"):
        until(lambda: world.received() >= MIB)
        world.uploader("pause", 1)
        until(lambda: not world.box.world.receiving())
        received = world.received()
        assert received < SIZE
        assert world.job()["status"] == "paused"
        world.uploader("resume", 1)
        until(lambda: world.job()["status"] == "done")
    world.assert_identical(model)
    world.assert_kept_every_promise()


def test_a_server_that_nobody_vouches_for_gets_nothing(world: World) -> None:
    del world.environment["REQUESTS_CA_BUNDLE"]
    enqueued(world)
    with world.worker():
        until(lambda: "certificate" in world.log())
    assert world.box.report()["create_calls"] == 0
