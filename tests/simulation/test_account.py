"""The account: rate limits slow everything down, and blocked is not failed."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Event

import pytest

from tests.engine.conftest import GRANULE
from tests.simulation.lab import SimLab, simulated
from tests.simulation.oracle import assert_all_is_well
from tests.simulation.test_time import at
from uploader.core.job import Status
from uploader.core.lifecycle import Verb

CONTROL = ("create", "urls", "validate", "get", "verify", "delete")


def control_calls(lab: SimLab) -> int:
    return sum(any(f": {on} before" in step for on in CONTROL) for step in lab.sim.trace)


def test_ten_requests_a_minute_are_enough_for_ten_jobs(source: Path) -> None:
    """Validation polls included, and without a storm of refused calls."""
    with simulated(source, 1, requests_per_minute=10) as lab:
        for number in range(8):
            folder = lab.folder / f"job-{number}"
            folder.mkdir()
            (folder / "f").write_bytes(os.urandom(9))
            lab.enqueue(folder)
        assert lab.run_once(poll_interval_s=30.0)
        assert all(job.status is Status.DONE for job in lab.jobs.jobs()), lab.dump()
        minutes = lab.sim.boot_s() / 60
        answered = control_calls(lab)
        # Ten answers a minute are given; of those refused there is about one a minute.
        assert answered <= 10 * (minutes + 1) + 3 * (minutes + 1)


def test_a_rejected_key_lets_live_sessions_finish_and_starts_none(source: Path) -> None:
    """The key dies while the first files of a job are under way; others still need URLs."""
    with simulated(source, 2, url_life_s=8) as lab:
        lab.bytes_per_s = GRANULE / 4

        def die() -> None:
            lab.world.config.key_valid = False

        at(lab, "put block", 2, die)
        assert lab.run_once()
        for job in lab.jobs.jobs():
            files = lab.jobs.files(job.id)
            assert all(file.stored or file.session is None for file in files), lab.dump()
        blocked = [job for job in lab.jobs.jobs() if job.status is Status.BLOCKED]
        assert blocked
        assert all(job.reason and job.reason.code == "key_rejected" for job in blocked)
        assert all(job.reason and job.reason.hint for job in blocked)
        lab.world.config.key_valid = True
        lab.run_through()
        assert_all_is_well(lab)


@pytest.mark.parametrize(
    ("on", "status", "body", "code"),
    [
        ("create", 401, {"code": 16, "message": "no"}, "key_rejected"),
        ("create", 403, {"code": 7, "message": "missing permission"}, "permission"),
        ("create", 429, {"code": 8, "message": "quota of 100 models reached"}, "quota"),
        ("urls", 412, {"code": 9, "message": "account is suspended"}, "account_suspended"),
        ("validate", 412, {"code": 9, "message": "account suspended"}, "account_suspended"),
        ("get", 403, {"error": {"message": "bad", "code": "UNAUTHORIZED"}}, "key_rejected"),
    ],
)
def test_what_needs_a_human_blocks_and_heals_with_a_retry(
    source: Path, on: str, status: int, body: dict[str, object], code: str
) -> None:
    with simulated(source, 3) as lab:
        fault = {"on": on, "do": "status", "status": status, "body": body, "times": 0}
        lab.world.script.add([fault])
        assert lab.run_once()
        for job in lab.jobs.jobs():
            assert job.status is Status.BLOCKED, lab.dump()
            assert job.reason is not None
            assert job.reason.code == code
            lab.jobs.apply(job.id, Verb.RETRY, lab.clock.now())
        lab.world.script.clear()
        lab.run_through()
        assert_all_is_well(lab)


def test_a_changed_key_heals_within_a_minute(source: Path) -> None:
    with simulated(source, 4) as lab:
        lab.key = "fw_old_key_000000000"
        healed_s: list[float] = []

        def cure(name: str) -> None:
            if name == "verify after" and lab.key.startswith("fw_old"):
                lab.key = lab.world.config.api_key
                healed_s.append(lab.sim.boot_s())
            lab.sim.boundary(name)

        lab.at_boundary = cure
        lab.run_forever(lambda: all(job.status is Status.DONE for job in lab.jobs.jobs()))
        assert_all_is_well(lab)
        assert lab.sim.boot_s() - healed_s[0] < 130


@pytest.mark.parametrize("answer_s", [65.0, 119.0])
def test_a_key_heals_that_was_changed_before_the_old_one_was_refused(
    source: Path, answer_s: float
) -> None:
    """The look that notices the change finds nothing blocked yet."""
    with simulated(source, 4) as lab:
        lab.key = "fw_old_key_000000000"

        def change(name: str) -> None:
            if name == "verify after" and lab.key.startswith("fw_old"):
                lab.key = lab.world.config.api_key
                lab.clock.wait(Event(), answer_s)
            lab.sim.boundary(name)

        lab.at_boundary = change
        began_s = lab.sim.boot_s()
        lab.run_forever(
            lambda: (
                lab.sim.boot_s() - began_s > 3600
                or all(job.status is Status.DONE for job in lab.jobs.jobs())
            )
        )
        assert_all_is_well(lab)
