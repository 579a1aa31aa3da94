"""A worker that is stopped, not dead: its lock is held, so its leases are valid.

See docs/architecture.md §9.
"""

from __future__ import annotations

import signal
import time

import pytest

from tests.acceptance.conftest import DEADLINE_S, MIB, World, until

pytestmark = [pytest.mark.acceptance, pytest.mark.long]

LEASE_S = 1.0


def test_a_stopped_worker_keeps_its_lease_and_a_dead_one_loses_it_at_once(world: World) -> None:
    world.environment["UPLOADER_LEASE__DURATION"] = f"{LEASE_S:.0f}s"
    model = world.model("model", weights_bin=24 * MIB)
    world.uploader("enqueue", model)
    with world.worker(UPLOADER_TRANSFER__BANDWIDTH_LIMIT="8MiB/s") as first:
        until(lambda: world.received() > 2 * MIB)
        first.send_signal(signal.SIGSTOP)
        with world.worker("--until-idle") as second:
            until(lambda: len(list((world.state / "workers").glob("*.lock"))) == 2)
            still = world.received()
            began = time.monotonic()
            until(lambda: time.monotonic() - began > 5 * LEASE_S)
            # What the sandbox still finds in the socket's buffer may have come meanwhile.
            assert world.box.report()["objects"]["sandbox/model/weights.bin"]["queries"] == 0
            assert world.received() - still < 8 * MIB
            first.kill()
            assert second.wait(DEADLINE_S) == 0
    world.assert_identical(model)
    world.assert_kept_every_promise()


def test_a_worker_that_goes_on_after_a_stop_finishes_its_job(world: World) -> None:
    world.environment["UPLOADER_LEASE__DURATION"] = f"{LEASE_S:.0f}s"
    model = world.model("model", weights_bin=16 * MIB)
    world.uploader("enqueue", model)
    with world.worker("--until-idle", UPLOADER_TRANSFER__BANDWIDTH_LIMIT="8MiB/s") as first:
        until(lambda: world.received() > 2 * MIB)
        first.send_signal(signal.SIGSTOP)
        with world.worker() as second:
            began = time.monotonic()
            until(lambda: time.monotonic() - began > 3 * LEASE_S)
            first.send_signal(signal.SIGCONT)
            assert first.wait(DEADLINE_S) == 0
            second.terminate()
            assert second.wait(DEADLINE_S) == 0
    world.assert_identical(model)
    world.assert_kept_every_promise()
