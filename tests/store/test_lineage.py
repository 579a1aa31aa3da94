"""Whether a table was put back, however far it has gone on since."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import Engine

from tests.store.conftest import NOW
from uploader.core.job import NewJob, Status
from uploader.store.jobs import Jobs


def test_a_table_follows_what_it_was(jobs: Jobs, new: Callable[..., NewJob]) -> None:
    before = ""
    for number in range(4):
        follows, before = jobs.lineage.follows(before)
        assert follows
        jobs.enqueue(new(f"m-{number}"), NOW + timedelta(seconds=number))


def test_an_event_that_is_gone_makes_no_difference(
    jobs: Jobs, enqueue: Callable[..., int], put: Callable[..., None]
) -> None:
    job_id = enqueue("m")
    _, before = jobs.lineage.follows("")
    put(job_id, status=Status.DONE)
    jobs.remove(job_id, NOW)
    assert jobs.lineage.follows(before)[0]
    enqueue("other")
    assert jobs.lineage.follows(before)[0]


@pytest.mark.parametrize("further", [0, 1, 2, 9])
def test_one_that_was_put_back_does_not(
    jobs: Jobs, new: Callable[..., NewJob], enqueue: Callable[..., int], further: int
) -> None:
    enqueue("m")
    known, other = jobs.lineage.follows("")[1].split(" ", 1)
    assert (known, other[:4]) == ("1", "2026")
    newer = f"2 {other.replace(':00', ':01')}"  # of the table that was there before
    for number in range(further):
        jobs.enqueue(new(f"m-{number}"), NOW + timedelta(hours=1))
    assert not jobs.lineage.follows(newer)[0]


@pytest.mark.parametrize("before", ["soon", "-1 x", "0", "\x00", " ", "9" * 5000])
def test_what_no_table_ever_said_counts_as_its_beginning(
    jobs: Jobs, enqueue: Callable[..., int], before: str
) -> None:
    enqueue("m")
    assert jobs.lineage.follows(before)[0]


def test_a_time_that_cannot_be_read_stops_nobody(
    sqlite_engine: Engine, new: Callable[..., NewJob]
) -> None:
    table = Jobs(sqlite_engine)
    table.enqueue(new("m"), NOW)
    with sqlite_engine.begin() as connection:
        connection.exec_driver_sql("UPDATE events SET at = CAST(x'ff' AS TEXT)")
    assert table.lineage.follows("1 2026")[0]
