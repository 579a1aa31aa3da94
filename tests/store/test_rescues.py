"""A job whose workers die, one after the other, leaves the others a worker without it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import Engine, text, update

from tests.store.conftest import BASE_URL, NOW, Hands, mark_stored
from uploader.core.job import Event, Stage, Status
from uploader.core.lifecycle import Verb
from uploader.core.reasons import Code
from uploader.store.claims import Claims
from uploader.store.held import Held
from uploader.store.jobs import Jobs
from uploader.store.tables import jobs as jobs_table

#: So many deaths in a row cost a job nothing.
AT_ONCE = 4


class Workers:
    """Workers of one job, each of which dies."""

    def __init__(self, engine: Engine, claims: Claims, clock: Hands) -> None:
        self.engine, self.claims, self.clock = engine, claims, clock

    def claim(self) -> Held | None:
        return self.claims.claim("worker", BASE_URL, tuple(Stage), 60)

    def die(
        self,
        times: int = 1,
        then: Callable[[Held], object] = lambda _: None,
        after_s: float = 10.0,
    ) -> None:
        for _ in range(times):
            held = self.claim()
            assert held
            then(held)
            self.clock.at += timedelta(seconds=after_s)
            with self.engine.begin() as connection:
                if self.claims.leases_end:
                    moment = text("clock_timestamp() - interval '1 hour'")
                    connection.execute(update(jobs_table).values(lease_expires_at=moment))
            assert self.claims.reap(lambda _: False) == [held.job.id]


@pytest.fixture
def workers(engine: Engine, claims: Claims, clock: Hands) -> Workers:
    return Workers(engine, claims, clock)


def test_machines_are_switched_off_and_a_job_goes_on_at_once(
    workers: Workers, jobs: Jobs, enqueue: Callable[..., int]
) -> None:
    job_id = enqueue()
    workers.die(AT_ONCE)
    assert (jobs.job(job_id).not_before, jobs.job(job_id).reason) == (None, None)
    assert workers.claim()


def test_workers_that_are_killed_one_soon_after_the_other_cost_a_job_nothing(
    workers: Workers, jobs: Jobs, enqueue: Callable[..., int]
) -> None:
    job_id = enqueue()
    workers.die(3 * AT_ONCE, after_s=4.0)
    assert jobs.job(job_id).not_before is None


def test_from_the_fifth_worker_on_the_job_waits_longer_each_time(
    workers: Workers, jobs: Jobs, enqueue: Callable[..., int], told: list[Event]
) -> None:
    job_id = enqueue()
    workers.die(AT_ONCE)
    waited = []
    for _ in range(12):
        workers.die()
        job = jobs.job(job_id)
        assert job.status is Status.ACTIVE
        assert job.not_before is not None
        assert job.reason is not None
        assert (job.reason.code, job.attempts) == (Code.WORKERS_DIED, 0)
        assert workers.claim() is None
        waited.append((job.not_before - workers.clock.at).total_seconds())
        workers.clock.at = job.not_before
    for number, seconds in enumerate(waited):
        least = min(3600, 15 * 2**number)
        assert least <= seconds < 2 * least
    assert told[-1].kind == "rescued"
    assert "16 workers in a row have died" in told[-1].message
    assert "tried again in" in told[-1].message


@pytest.mark.parametrize(
    "further",
    [
        lambda held: held.enter_upload(created=True),
        lambda held: mark_stored(held, "config.json", 1, bytes_sent=10, verified=True),
    ],
    ids=["a stage", "a file"],
)
def test_what_comes_further_before_its_worker_dies_begins_to_count_anew(
    workers: Workers, jobs: Jobs, enqueue: Callable[..., int], further: Callable[[Held], object]
) -> None:
    job_id = enqueue()
    workers.die(AT_ONCE)
    workers.die(then=further)
    workers.die(AT_ONCE - 1)
    assert jobs.job(job_id).not_before is None


def test_a_worker_that_gives_the_job_back_did_not_die_of_it(
    workers: Workers, claims: Claims, jobs: Jobs, enqueue: Callable[..., int]
) -> None:
    job_id = enqueue()
    for give_back in (lambda held: held.release(), lambda held: claims.release([held.lease])):
        workers.die(AT_ONCE)
        held = workers.claim()
        assert held
        give_back(held)
    workers.die(AT_ONCE)
    assert jobs.job(job_id).not_before is None


def test_a_retry_begins_to_count_anew(
    workers: Workers, jobs: Jobs, enqueue: Callable[..., int], put: Callable[..., Any]
) -> None:
    job_id = enqueue()
    workers.die(AT_ONCE + 1)
    assert jobs.job(job_id).not_before is not None
    put(job_id, status=Status.FAILED)
    jobs.apply(job_id, Verb.RETRY, NOW)
    workers.die(AT_ONCE)
    assert jobs.job(job_id).not_before is None


def test_of_several_jobs_of_one_worker_each_waits_for_another_time(
    claims: Claims, jobs: Jobs, enqueue: Callable[..., int], engine: Engine, put: Callable[..., Any]
) -> None:
    ids = [enqueue(name) for name in "abc"]
    for job_id in ids:
        put(job_id, rescues=AT_ONCE + 3)
        assert claims.claim("dead", BASE_URL, tuple(Stage), 60)
    with engine.begin() as connection:
        moment = text("clock_timestamp() - interval '1 hour'")
        if claims.leases_end:
            connection.execute(update(jobs_table).values(lease_expires_at=moment))
    assert claims.reap(lambda _: False) == ids
    ends = sorted(job.not_before for job in jobs.jobs() if job.not_before)
    assert all(b - a > timedelta(seconds=1) for a, b in pairwise(ends))
    assert len(ends) == 3


def test_no_number_in_a_row_is_too_large_to_be_counted_on(
    workers: Workers, jobs: Jobs, enqueue: Callable[..., int], put: Callable[..., Any]
) -> None:
    job_id = enqueue()
    for rescues in (100, 10**8):
        put(job_id, rescues=rescues, not_before=None)
        workers.die()
        not_before = jobs.job(job_id).not_before
        assert not_before is not None
        assert not_before - workers.clock.at <= timedelta(hours=2)
