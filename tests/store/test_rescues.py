"""A job whose workers die, one after the other, leaves the others a worker without it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import Engine, update

from tests.store.conftest import BASE_URL, NOW, Hands, mark_stored
from uploader.core.events import EventKind
from uploader.core.job import Event, Reason, Stage, Status
from uploader.core.lifecycle import Verb
from uploader.core.reasons import Code
from uploader.store.claims import Claims
from uploader.store.held import Held
from uploader.store.jobs import Jobs
from uploader.store.tables import jobs as jobs_table

#: So many deaths cost a job nothing, and so many more cost one nothing that is alone.
AT_ONCE, ALONE = 4, 32
#: Whatever ends a worker after so many seconds is not what it took.
LONG_S = 300.0


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
            if self.claims.leases_end:
                self.end_leases()
            assert self.claims.reap(lambda _: False) == [held.job.id]

    def end_leases(self) -> None:
        """So long ago that it says nothing of how long their runs lived."""
        with self.engine.begin() as connection:
            connection.execute(
                update(jobs_table).values(lease_expires_at=NOW - timedelta(days=999))
            )


@pytest.fixture
def workers(engine: Engine, claims: Claims, clock: Hands) -> Workers:
    return Workers(engine, claims, clock)


def test_what_a_dead_worker_wrote_while_its_clock_was_ahead_makes_nobody_wait(
    workers: Workers, jobs: Jobs, clock: Hands, enqueue: Callable[..., int]
) -> None:
    job_id = enqueue()

    def fail(held: Held) -> None:
        clock.at += timedelta(hours=20)
        later = clock.at + timedelta(seconds=30)
        held.files.mark_failed("config.json", Reason("net", "reset"), later, bytes_sent=9)
        clock.at -= timedelta(hours=20)

    workers.die(then=fail)
    assert [file.not_before for file in jobs.files(job_id)] == [None, None]


def test_machines_are_switched_off_and_a_job_goes_on_at_once(
    workers: Workers, jobs: Jobs, enqueue: Callable[..., int]
) -> None:
    job_id = enqueue()
    workers.die(AT_ONCE)
    assert (jobs.job(job_id).not_before, jobs.job(job_id).reason) == (None, None)
    assert workers.claim()


@pytest.fixture
def other(enqueue: Callable[..., int], put: Callable[..., Any]) -> int:
    """A job for whose sake others wait; it waits itself."""
    job_id = enqueue("other")
    put(job_id, not_before=NOW + timedelta(days=1))
    return job_id


@pytest.mark.parametrize("after_s", [0.1, 4.0, 200.0])
def test_from_the_fifth_worker_on_the_job_waits_longer_each_time(
    workers: Workers,
    jobs: Jobs,
    enqueue: Callable[..., int],
    other: int,
    told: list[Event],
    after_s: float,
) -> None:
    job_id = enqueue()
    workers.die(AT_ONCE, after_s=after_s)
    waited = []
    for _ in range(12):
        workers.die(after_s=after_s)
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
    assert "16 workers have died soon after" in told[-1].message
    assert "tried again in" in told[-1].message
    assert jobs.job(other).reason is None


@pytest.mark.parametrize(
    "further",
    [
        lambda held: held.enter_upload(created=True),
        lambda held: mark_stored(held, "config.json", 1, bytes_sent=10, verified=True),
    ],
    ids=["a stage", "a file"],
)
@pytest.mark.usefixtures("other")
def test_no_small_step_makes_up_for_dead_workers(
    workers: Workers, jobs: Jobs, enqueue: Callable[..., int], further: Callable[[Held], object]
) -> None:
    """Whoever wrote the folder decides how many small steps there are."""
    job_id = enqueue()
    workers.die(AT_ONCE)
    workers.die(then=further)
    assert jobs.job(job_id).not_before is not None


@pytest.mark.usefixtures("other")
def test_no_failed_try_makes_up_for_dead_workers(
    workers: Workers, claims: Claims, jobs: Jobs, enqueue: Callable[..., int]
) -> None:
    """A folder that is away for a moment makes a try fail."""
    job_id = enqueue()
    workers.die(AT_ONCE)
    for give_back in (lambda held: held.release(), lambda held: claims.release([held.lease])):
        held = workers.claim()
        assert held
        give_back(held)
    assert jobs.job(job_id).not_before is None, "whoever gives a job back did not die of it"
    workers.die()
    assert jobs.job(job_id).not_before is not None


def _writes_late(workers: Workers, held: Held) -> None:
    workers.clock.at += timedelta(seconds=LONG_S)
    held.add_event(EventKind.SESSIONS_LOST, "it is sent")


def _renews_late(workers: Workers, held: Held) -> None:
    workers.clock.at += timedelta(seconds=LONG_S)
    workers.claims.renew(held.lease.owner, 60)


def _is_given_back_late(workers: Workers, held: Held) -> None:
    workers.clock.at += timedelta(seconds=LONG_S)
    held.release()
    assert workers.claim()


@pytest.mark.parametrize("lives", [_writes_late, _renews_late, _is_given_back_late])
@pytest.mark.usefixtures("other")
def test_a_worker_that_lived_for_long_makes_up_for_one_that_did_not(
    workers: Workers,
    jobs: Jobs,
    enqueue: Callable[..., int],
    lives: Callable[[Workers, Held], object],
) -> None:
    """A large job whose machine is switched off each hour goes on at once each time."""
    if lives is _renews_late and workers.claims.leases_end:
        pytest.skip("its lease has an end by the clock of the database")
    job_id = enqueue()
    workers.die(AT_ONCE)
    for _ in range(AT_ONCE):
        workers.die(then=lambda held: lives(workers, held))
        assert jobs.job(job_id).not_before is None
    workers.die(AT_ONCE if lives is not _is_given_back_late else 0)
    assert jobs.job(job_id).not_before is None


def test_a_job_that_is_alone_waits_for_nobody_until_it_has_ended_many_workers(
    workers: Workers, jobs: Jobs, enqueue: Callable[..., int], other: int, put: Callable[..., Any]
) -> None:
    job_id = enqueue()
    put(other, status=Status.PAUSED)
    workers.die(ALONE)
    assert jobs.job(job_id).reason is not None
    workers.die()
    assert workers.claim() is None
    workers.clock.at += timedelta(hours=2)
    assert workers.claim()


def test_of_jobs_that_all_wait_the_one_that_ended_fewest_workers_goes_on_alone(
    workers: Workers, enqueue: Callable[..., int], put: Callable[..., Any]
) -> None:
    ids = [enqueue(name) for name in "abc"]
    for job_id, rescues in zip(ids, (7, 5, 6), strict=True):
        reason = {"reason_code": Code.WORKERS_DIED, "reason_message": "m", "reason_hint": "h"}
        put(job_id, rescues=rescues, not_before=NOW + timedelta(hours=1), **reason)
    for job_id in (ids[1], ids[2], ids[0]):
        held = workers.claim()
        assert held
        assert (held.job.id, held.job.not_before) == (job_id, None)
        assert workers.claim() is None, "it is not alone"
        put(job_id, status=Status.FAILED)
        held.release()


def _has_token(put: Callable[..., Any], token: str, held: Held) -> None:
    put(held.job.id, lease_token=token)


def test_a_strange_token_of_a_lease_says_nothing_of_its_run(
    workers: Workers, enqueue: Callable[..., int], put: Callable[..., Any]
) -> None:
    enqueue()
    for token in ("", "z" * 32, "f" * 32, "7" * 4096):
        workers.die(then=partial(_has_token, put, token))
    assert workers.claim()


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
    workers: Workers,
    claims: Claims,
    jobs: Jobs,
    enqueue: Callable[..., int],
    put: Callable[..., Any],
) -> None:
    ids = [enqueue(name) for name in "abc"]
    for job_id in ids:
        put(job_id, rescues=AT_ONCE + 3)
        assert claims.claim("dead", BASE_URL, tuple(Stage), 60)
    if claims.leases_end:
        workers.end_leases()
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
