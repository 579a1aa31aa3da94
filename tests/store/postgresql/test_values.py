"""Text, times and numbers that Python or PostgreSQL does not take stop nobody."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from tests.store.conftest import BASE_URL
from uploader.core.errors import StoreError
from uploader.core.events import EventKind
from uploader.core.job import Stage
from uploader.store.claims import Claims
from uploader.store.held import Held
from uploader.store.jobs import Jobs
from uploader.store.tables import UtcDateTime, metadata


def test_what_a_server_says_breaks_no_write(jobs: Jobs, claimed: Callable[..., Held]) -> None:
    held = claimed()
    held.add_event(EventKind.LEFT_OPEN, "a\0b \ud800 é")
    assert jobs.events()[-1].message == "a b ? é"


@pytest.mark.parametrize("at", ["infinity", "-infinity", "12000-01-01", "0044-03-15 BC"])
def test_a_time_that_python_has_not_stops_nobody(
    engine: Engine, jobs: Jobs, claims: Claims, enqueue: Callable[..., int], at: str
) -> None:
    ids = {enqueue("a"), enqueue("b")}
    for table in metadata.sorted_tables:
        times = [column for column in table.columns if isinstance(column.type, UtcDateTime)]
        with engine.begin() as connection:
            for column in times:
                this = f"UPDATE {table.name} SET {column.name} = '{at}'"
                connection.exec_driver_sql(this)
    claims.next_due(BASE_URL)
    assert {job.id for job in jobs.jobs()} == ids
    assert {event.job_id for event in jobs.events()} == ids
    assert jobs.oldest_waiting()
    assert {held.job.id for _ in ids if (held := claims.claim("w", BASE_URL, [*Stage], 60))} == ids


@pytest.mark.parametrize("taken", ["events", "jobs"])
def test_numbers_that_somebody_has_taken_are_refused_once_and_then_skipped(
    engine: Engine, enqueue: Callable[..., int], taken: str
) -> None:
    enqueue("a")
    ahead = "generate_series(2, 3000) n"
    event = "job_id, at, kind, message) SELECT n, 1, now(), 'edited', 'x'"
    names = [column.name for column in metadata.tables["jobs"].columns if column.name != "id"]
    job = f"{', '.join(names)}) SELECT n, {', '.join(names)}".replace(
        "SELECT n, base_url", "SELECT n, 'https://' || n"
    )
    with engine.begin() as connection:
        if taken == "events":
            connection.exec_driver_sql(f"INSERT INTO events (seq, {event} FROM {ahead}")
        else:
            connection.exec_driver_sql(f"INSERT INTO jobs (id, {job} FROM jobs, {ahead}")
    with pytest.raises(StoreError, match=f"{taken}_pkey") as caught:
        enqueue("b")
    assert caught.value.code == "row_refused"
    for name in ("b", "c"):
        enqueue(name)
