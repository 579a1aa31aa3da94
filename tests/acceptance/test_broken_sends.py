"""Refusals that break a send, cuts and lost answers, in clear and over TLS (docs/field.md §3).

Over TLS the write fails first, and the answer that came early is still to be read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import DEADLINE_S, MIB, World, until

pytestmark = [pytest.mark.acceptance, pytest.mark.long]

SIZE = 16 * MIB + 1
#: The server reads 64 KiB of a PUT, answers and closes at once.
EARLY = {"on": "put", "match": "weights", "do": "status", "at_byte": 64 * 1024}
BOTH = pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"], indirect=True)


def enqueued(world: World, *faults: dict[str, Any], size: int = SIZE) -> Path:
    world.box.world.script.add([*faults])
    model = world.model("model", weights_bin=size)
    world.uploader("enqueue", model)
    return model


@pytest.mark.tls
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
        [
            {"on": on, "do": "middle-box", "status": 200}
            for on in ("create", "urls", "start", "put", "validate", "get")
        ],
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


@BOTH
@pytest.mark.parametrize("status", [400, 403])
def test_an_early_refusal_is_heard_and_ends_the_job(world: World, status: int) -> None:
    enqueued(world, {**EARLY, "status": status})
    with world.worker("--until-idle") as process:
        assert process.wait(DEADLINE_S) == 7
    reason = world.job()["reason"]
    assert reason["code"] == "refused"
    assert f"answered {status}" in reason["message"]
    assert world.box.report()["objects"]["sandbox/model/weights.bin"]["sessions_started"] == 1


@pytest.mark.tls
def test_an_early_refusal_of_a_plain_put_asks_for_another_url(world: World) -> None:
    world.box.world.config.url_kind = "put"
    model = enqueued(world, {**EARLY, "status": 403})
    world.finish()
    world.assert_identical(model)
    assert world.box.report()["urls_calls"] == 2


@pytest.mark.tls
def test_a_put_that_is_found_too_large_is_halved(world: World) -> None:
    model = enqueued(world, {**EARLY, "status": 413, "times": 2}, size=24 * MIB)
    world.finish()
    world.assert_identical(model)
    assert "they have 8.0 MiB now" in world.uploader("logs", 1).stdout
    assert world.job()["attempts"] == 0


@pytest.mark.parametrize("secure", [True], ids=["tls"], indirect=True)
def test_a_server_that_nobody_vouches_for_gets_nothing(world: World) -> None:
    del world.environment["REQUESTS_CA_BUNDLE"]
    enqueued(world)
    with world.worker():
        until(lambda: "certificate" in world.log())
    assert world.box.report()["create_calls"] == 0
