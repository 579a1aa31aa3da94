"""Who decides that a lease has ended: with SQLite a file lock, with PostgreSQL its clock."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, select, text, update

from tests.store.conftest import BASE_URL, NOW, Hands
from uploader.core.errors import LeaseLost
from uploader.core.job import Event, Stage, Status
from uploader.core.lifecycle import Verb
from uploader.store.claims import Claims
from uploader.store.held import Held
from uploader.store.jobs import Jobs
from uploader.store.tables import jobs as jobs_table

LATER = NOW + timedelta(seconds=5)

on_sqlite = pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
on_postgresql = pytest.mark.parametrize("backend", ["postgresql"], indirect=True)


def _claim(claims: Claims, owner: str) -> Held:
    held = claims.claim(owner, BASE_URL, tuple(Stage), 60)
    assert held
    return held


def _ends(engine: Engine) -> list[datetime]:
    query = select(jobs_table.c.lease_expires_at).order_by(jobs_table.c.id)
    with engine.begin() as connection:
        return [moment for (moment,) in connection.execute(query)]


def _ended_s_ago(engine: Engine, seconds: float) -> None:
    """By the database's own clock."""
    moment = text(f"clock_timestamp() - interval '{seconds} seconds'")
    with engine.begin() as connection:
        connection.execute(update(jobs_table).values(lease_expires_at=moment))


def _alive(_: str) -> bool:
    return True


# -- SQLite ----------------------------------------------------------------------------------


@on_sqlite
def test_renew_moves_only_ones_own_leases(
    engine: Engine, claims: Claims, clock: Hands, enqueue: Callable[..., int]
) -> None:
    enqueue("one")
    enqueue("two")
    _claim(claims, "me")
    _claim(claims, "you")
    clock.at = LATER
    claims.renew("me", 60)
    assert _ends(engine) == [LATER + timedelta(seconds=60), NOW + timedelta(seconds=60)]


@on_sqlite
def test_reap_ends_the_leases_of_the_dead(
    jobs: Jobs, claims: Claims, enqueue: Callable[..., int], told: list[Event]
) -> None:
    one, two, three = (enqueue(name) for name in ("a", "b", "c"))
    for owner in ("dead", "alive", "dead"):
        _claim(claims, owner)
    told.clear()
    assert claims.reap(lambda owner: owner == "alive") == [one, three]
    assert [(event.job_id, event.kind) for event in told] == [(one, "rescued"), (three, "rescued")]
    assert [job.lease is not None for job in jobs.jobs()] == [False, True, False]
    assert claims.reap(lambda owner: owner == "alive") == []
    assert jobs.job(two).status is Status.ACTIVE


# -- PostgreSQL ------------------------------------------------------------------------------


@on_postgresql
@pytest.mark.parametrize("renewed", [False, True])
def test_a_lease_ends_by_the_databases_clock_whatever_ours_says(
    engine: Engine, claims: Claims, clock: Hands, enqueue: Callable[..., int], renewed: bool
) -> None:
    def now() -> datetime:
        with engine.begin() as connection:
            found: datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
            return found

    enqueue()
    before = now()
    _claim(claims, "me")
    if renewed:
        _ended_s_ago(engine, 3)
        before = now()
        clock.at = NOW - timedelta(days=9)
        claims.renew("me", 60)
    (end,) = _ends(engine)
    assert before <= end - timedelta(seconds=60) <= now()


@on_postgresql
def test_the_taker_waits_ten_seconds_more(
    engine: Engine, jobs: Jobs, claims: Claims, enqueue: Callable[..., int], told: list[Event]
) -> None:
    job_id = enqueue()
    _claim(claims, "me")
    told.clear()
    for seconds in (-60, 0, 5):
        _ended_s_ago(engine, seconds)
        assert claims.reap(_alive) == []
        assert jobs.job(job_id).lease is not None
        assert claims.claim("you", BASE_URL, tuple(Stage), 60) is None
    _ended_s_ago(engine, 10)
    assert claims.reap(_alive) == [job_id]
    assert [(event.job_id, event.kind) for event in told] == [(job_id, "rescued")]
    assert _claim(claims, "you").job.id == job_id


@on_postgresql
def test_an_owner_that_lives_loses_an_overdue_lease_and_one_that_died_keeps_a_valid_one(
    engine: Engine, claims: Claims, enqueue: Callable[..., int]
) -> None:
    job_id = enqueue()
    _claim(claims, "me")
    assert claims.reap(lambda _: False) == []
    _ended_s_ago(engine, 11)
    assert claims.reap(_alive) == [job_id]


@on_postgresql
def test_who_lost_a_lease_neither_renews_it_nor_writes(
    engine: Engine, claims: Claims, enqueue: Callable[..., int], dump: Callable[[], Any]
) -> None:
    enqueue("a")
    lost = _claim(claims, "stopped")
    _ended_s_ago(engine, 11)
    claims.reap(_alive)
    _claim(claims, "taker")
    enqueue("b")
    kept = _claim(claims, "stopped").lease
    assert claims.renew("stopped", 60) == {kept}
    before = dump()
    with pytest.raises(LeaseLost):
        lost.files.report_progress([], 1.0)
    assert dump() == before


@on_postgresql
def test_a_lease_that_ended_but_was_not_taken_is_renewed(
    engine: Engine, claims: Claims, enqueue: Callable[..., int]
) -> None:
    enqueue()
    lease = _claim(claims, "slept").lease
    _ended_s_ago(engine, 3600)
    assert claims.renew("slept", 60) == {lease}
    assert claims.reap(_alive) == []


@on_postgresql
def test_of_a_job_a_user_took_away_only_the_lease_ends(
    engine: Engine, jobs: Jobs, claims: Claims, enqueue: Callable[..., int], told: list[Event]
) -> None:
    job_id = enqueue()
    _claim(claims, "me")
    jobs.apply(job_id, Verb.PAUSE, LATER)
    told.clear()
    _ended_s_ago(engine, 11)
    assert claims.reap(_alive) == [job_id]
    assert told == []
    assert jobs.job(job_id).status is Status.PAUSED
