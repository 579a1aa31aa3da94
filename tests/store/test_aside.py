"""A job of which the database refuses what is written stops no other job."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from sqlalchemy import Engine, delete, text

from tests.store.conftest import BASE_URL, NOW, Hands
from uploader.core.errors import StoreError
from uploader.core.job import Stage, Status
from uploader.core.store_reasons import StoreCode
from uploader.runtime import METERS
from uploader.store.aside import Aside
from uploader.store.claims import Claims
from uploader.store.database.dialect import store_errors
from uploader.store.held import Held
from uploader.store.history import History, Rows
from uploader.store.jobs import Jobs
from uploader.store.tables import jobs as table

REFUSED = StoreError("the state store refuses a row", code=StoreCode.ROW_REFUSED)
Refuse = Callable[[int], None]


@pytest.fixture
def refuse(engine: Engine) -> Iterator[Refuse]:
    """From now on, the database refuses whatever is done to that job."""
    is_file = engine.dialect.name == "sqlite"

    def make(job_id: int) -> None:
        with engine.begin() as connection:
            for act in ("UPDATE", "DELETE"):
                if is_file:
                    connection.exec_driver_sql(
                        f"CREATE TRIGGER refuse_{act} BEFORE {act} ON jobs WHEN OLD.id = {job_id}"
                        " BEGIN SELECT RAISE(ABORT, 'no'); END"
                    )
            if not is_file:
                connection.exec_driver_sql(
                    "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
                    " $$ BEGIN RAISE EXCEPTION 'CANARY of %%', OLD.path; END $$"
                )
                connection.exec_driver_sql(
                    "CREATE TRIGGER refuse BEFORE UPDATE OR DELETE ON jobs FOR EACH ROW"
                    f" WHEN (OLD.id = {job_id}) EXECUTE FUNCTION refuse()"
                )

    def take_back() -> None:
        with engine.begin() as connection:
            if is_file:
                for act in ("UPDATE", "DELETE"):
                    connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS refuse_{act}")
            else:
                connection.exec_driver_sql("DROP FUNCTION IF EXISTS refuse CASCADE")

    make.take_back = take_back  # type: ignore[attr-defined]
    yield make
    take_back()


def claim(claims: Claims) -> int | None:
    held = claims.claim("w", BASE_URL, tuple(Stage), 60)
    return None if held is None else held.job.id


def test_a_job_that_the_database_refuses_to_lend_keeps_no_other_waiting(
    claims: Claims,
    clock: Hands,
    enqueue: Callable[..., int],
    refuse: Refuse,
    caplog: pytest.LogCaptureFixture,
) -> None:
    bad, good = enqueue("a", priority=9), enqueue("b")
    refuse(bad)
    before = METERS.counts("jobs_set_aside").get("", 0)
    assert claim(claims) == good
    for _ in range(3):
        assert claim(claims) is None
    clock.at += timedelta(seconds=11)
    assert claim(claims) is None
    assert METERS.counts("jobs_set_aside")[""] - before == 2
    assert [f"job {bad} is left alone" in line for line in caplog.messages] == [True]
    assert "CANARY" not in caplog.text
    refuse.take_back()  # type: ignore[attr-defined]
    assert claim(claims) is None
    clock.at += timedelta(seconds=21)
    assert claim(claims) == bad


def test_a_clock_that_is_set_back_leaves_no_job_alone(
    claims: Claims, enqueue: Callable[..., int], refuse: Refuse
) -> None:
    bad = enqueue("a")
    refuse(bad)
    assert claim(claims) is None
    refuse.take_back()  # type: ignore[attr-defined]
    claims.clear_future_waits()
    assert claim(claims) == bad


@pytest.fixture
def two(claims: Claims, enqueue: Callable[..., int]) -> list[Held]:
    """Two jobs in the hands of a worker."""
    for name in ("a", "b"):
        enqueue(name)
    found = [claims.claim("w", BASE_URL, tuple(Stage), 60) for _ in range(2)]
    return [held for held in found if held]


def test_one_lease_that_cannot_be_renewed_ends_no_other(
    claims: Claims, two: list[Held], refuse: Refuse
) -> None:
    refuse(two[0].job.id)
    for _ in range(2):
        assert claims.renew("w", 60) == {two[1].lease}


def test_one_lease_that_cannot_be_given_back_keeps_no_other(
    claims: Claims, two: list[Held], refuse: Refuse
) -> None:
    refuse(two[0].job.id)
    claims.release([held.lease for held in two])
    assert set(claims.leases_of("w")) == {two[0].lease}


def test_one_job_that_cannot_be_rescued_keeps_no_other(
    engine: Engine, claims: Claims, two: list[Held], refuse: Refuse
) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE jobs SET lease_expires_at = '2020-01-01 00:00:00'"))
    refuse(two[0].job.id)
    assert claims.reap(lambda _: False) == [two[1].job.id]
    assert claims.reap(lambda _: False) == []


def test_one_job_that_cannot_be_healed_keeps_no_other(
    claims: Claims,
    jobs: Jobs,
    enqueue: Callable[..., int],
    put: Callable[..., None],
    refuse: Refuse,
) -> None:
    ids = [enqueue(name) for name in ("a", "b")]
    for job_id in ids:
        put(job_id, status=Status.BLOCKED)
    refuse(ids[0])
    claims.heal(BASE_URL)
    assert [job.status for job in jobs.these(ids)] == ["blocked", "active"]


def test_one_job_that_cannot_be_forgotten_keeps_no_other(
    engine: Engine,
    jobs: Jobs,
    enqueue: Callable[..., int],
    put: Callable[..., None],
    refuse: Refuse,
) -> None:
    ids = [enqueue(name) for name in ("a", "b")]
    for job_id in ids:
        put(job_id, status=Status.DONE)
    refuse(ids[0])
    history, later = History(engine), NOW + timedelta(days=1)
    assert history.prune(later, later).jobs == 1
    assert history.prune(later, later) == Rows()
    assert [job.id for job in jobs.jobs()] == [ids[0]]


def test_a_job_that_is_refused_again_and_again_is_no_work_to_wait_for(
    claims: Claims, enqueue: Callable[..., int]
) -> None:
    job_id = enqueue("a")
    for _ in range(5):
        assert claims.any_open(BASE_URL)
        claims.put_aside(job_id, REFUSED)
    assert not claims.any_open(BASE_URL)
    assert job_id in claims.set_aside


def test_what_is_wrong_with_the_store_as_a_whole_is_not_about_a_job(
    claims: Claims, enqueue: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    enqueue("a")

    def locked(*_: object) -> None:
        raise StoreError("locked", code=StoreCode.LOCKED)

    monkeypatch.setattr(Claims, "_take", locked)
    with pytest.raises(StoreError, match="locked"):
        claim(claims)


def test_a_row_that_is_refused_is_told_by_its_rule_and_not_by_its_values(
    engine: Engine, enqueue: Callable[..., int]
) -> None:
    job_id = enqueue("a")
    with pytest.raises(StoreError) as caught, store_errors(), engine.begin() as connection:
        connection.execute(delete(table).where(table.c.id == job_id))
    assert (caught.value.code, caught.value.exit_code) == ("row_refused", 11)
    assert caught.value.__cause__ is None
    unknown = text("UPDATE jobs SET stage = 'CANARY'")
    with (
        pytest.raises(StoreError, match="jobs_stage_known"),
        store_errors(),
        engine.begin() as connection,
    ):
        connection.execute(unknown)


def test_a_pause_doubles_up_to_an_hour_and_few_jobs_are_remembered(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    aside, at = Aside(), NOW
    for pause_s in (10, 20, 40, 80):
        aside.add(7, REFUSED, at)
        at += timedelta(seconds=pause_s - 1)
        assert 7 in aside.ids(at)
        at += timedelta(seconds=1)
        assert 7 not in aside.ids(at)
    for _ in range(40):
        aside.add(7, REFUSED, at)
    assert 7 not in aside.ids(at + timedelta(hours=1))
    assert len(caplog.messages) == 1
    for job_id in range(1, 3000):
        aside.add(job_id, REFUSED, at)
    assert len(aside.ids(at)) == 1001


def test_after_a_long_while_without_trouble_it_counts_anew() -> None:
    aside = Aside()
    for _ in range(8):
        aside.add(7, REFUSED, NOW)
    later = NOW + timedelta(hours=5)
    aside.add(7, REFUSED, later)
    assert 7 not in aside.ids(later + timedelta(seconds=10))
    assert 7 not in aside.given_up()
