"""A worker without the secret of its job table: what has a seal is not its own."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from tests.store.conftest import BASE_URL, NOW, open_session
from uploader.core.job import NewJob, Stage, Status
from uploader.core.lifecycle import Verb
from uploader.core.reasons import Code
from uploader.core.redact import SessionUri
from uploader.core.seal import Seal
from uploader.store.claims import Claims
from uploader.store.jobs import Jobs

SEAL = Seal(b"s" * 32)
LATER = NOW + timedelta(hours=1)
Put = Callable[..., None]


@pytest.fixture
def sealing(engine: Engine) -> Jobs:
    return Jobs(engine, seal=SEAL)


@pytest.fixture
def sealed(sealing: Jobs, new: Callable[..., NewJob]) -> Callable[[str], int]:
    """Enqueue a job by a command with the secret."""
    return lambda name: sealing.enqueue(new(name), NOW)[0]


@pytest.fixture
def knowing(engine: Engine) -> Claims:
    """A worker with the secret."""
    return Claims(engine, lambda: NOW, seal=SEAL)


def test_it_writes_nothing_of_a_job_that_has_a_seal(
    claims: Claims,
    knowing: Claims,
    sealing: Jobs,
    sealed: Callable[[str], int],
    put: Put,
    dump: Callable[[], Any],
) -> None:
    sealed("cancelled")
    held = knowing.claim("w", BASE_URL, tuple(Stage), 60)
    assert held
    open_session(held, "config.json", SessionUri("https://s"), "b/k")
    held.release()
    sealing.apply(held.job.id, Verb.CANCEL, NOW)
    sealed("active")
    put(sealed("waiting"), not_before=LATER)
    put(sealed("validating"), stage=Stage.VALIDATE)
    put(sealed("blocked"), status=Status.BLOCKED, reason_code=Code.NO_KEY)
    before = dump()
    assert claims.claim("w", BASE_URL, tuple(Stage), 60) is None
    assert claims.claim_cancelled("w", BASE_URL, 60) is None
    claims.heal(BASE_URL)
    claims.clear_future_waits()
    assert claims.next_due(BASE_URL) is None
    assert not claims.any_open(BASE_URL)
    assert dump() == before
    assert knowing.any_open(BASE_URL)


def test_it_takes_the_others(
    claims: Claims, sealed: Callable[[str], int], enqueue: Callable[..., int]
) -> None:
    sealed("sealed")
    own = enqueue("own")
    held = claims.claim("w", BASE_URL, tuple(Stage), 60)
    assert held
    assert held.job.id == own


def test_a_job_whose_workers_died_does_not_wait_for_one_that_has_a_seal(
    claims: Claims, sealed: Callable[[str], int], enqueue: Callable[..., int], put: Put
) -> None:
    sealed("sealed")
    put(own := enqueue("own"), reason_code=Code.WORKERS_DIED, rescues=1, not_before=LATER)
    held = claims.claim("w", BASE_URL, tuple(Stage), 60)
    assert held
    assert held.job.id == own


def test_it_frees_a_job_whose_worker_is_gone_and_that_keeps_its_seal(
    claims: Claims, knowing: Claims, sealing: Jobs, sealed: Callable[[str], int], put: Put
) -> None:
    job_id = sealed("sealed")
    assert knowing.claim("gone", BASE_URL, tuple(Stage), 60)
    put(job_id, lease_expires_at=NOW - timedelta(days=999))
    seal = sealing.job(job_id).seal
    assert claims.reap(lambda _: False) == [job_id]
    job = sealing.job(job_id)
    assert (job.lease, job.seal) == (None, seal)
    assert knowing.claim("next", BASE_URL, tuple(Stage), 60)


def test_what_it_leaves_alone_is_listed(
    jobs: Jobs, sealing: Jobs, sealed: Callable[[str], int], enqueue: Callable[..., int], put: Put
) -> None:
    enqueue("own")
    one = sealed("one")
    put(sealed("elsewhere"), base_url="https://elsewhere.example")
    put(sealed("paused"), status=Status.PAUSED)
    assert [job.id for job in jobs.needing_secret(BASE_URL)] == [one]
    assert sealing.needing_secret(BASE_URL) == []
