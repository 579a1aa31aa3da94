"""docs/invariants.md §10: a worker reads past words of a row that no version ever wrote."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, exc

from tests.store.conftest import BASE_URL, NOW
from uploader.core.job import POOLS, Scope
from uploader.store.claims import Claims
from uploader.store.database.workers import WorkerLock
from uploader.store.jobs import Jobs
from uploader.store.tables import jobs as table

STRANGE = {
    "a way out": "'../outside'",
    "a whole path": "'/etc/passwd'",
    "half a character": "CAST(x'ff' AS TEXT)",
    "bytes": "x'ff00'",
    "NUL": "'a' || char(0) || 'b'",
    "a long word": f"'{'a' * 300}'",
    "nothing": "''",
    "a number": "5",
    "half a time": "'2026-11-23 0'",
}
COLUMNS = [column.name for column in table.c if column.name != "id"]
HELD = "lease_owner = 'somebody', lease_token = 'somebody'"


@pytest.fixture
def lock(tmp_path: Path) -> Iterator[WorkerLock]:
    with WorkerLock(tmp_path) as lock:
        yield lock


def turn(claims: Claims, lock: WorkerLock) -> set[int]:
    """What a worker asks of its table in a turn; the ids of the jobs that it gets."""
    claims.reap(lock.alive)
    claims.heal(BASE_URL)
    claims.renew(lock.owner, 60)
    got = set[int]()
    for pool in POOLS:
        while held := claims.claim(lock.owner, BASE_URL, pool, 60):
            got.add(held.job.id)
    while held := claims.claim_cancelled(lock.owner, BASE_URL, 60):
        got.add(held.job.id)
        held.close()
    claims.leases_of(lock.owner)
    claims.next_due(BASE_URL)
    claims.any_open(BASE_URL)
    claims.clear_future_waits()
    return got


def spoil(engine: Engine, job_id: int, *settings: str) -> None:
    """Whoever may write the file writes what its rules let through."""
    for setting in settings:
        try:
            with engine.begin() as connection:
                connection.exec_driver_sql(f"UPDATE jobs SET {setting} WHERE id = {job_id}")
        except exc.IntegrityError:
            return  # the table itself refuses it


#: In which state the job is that has the strange word.
STATES = {
    "waits": "",
    "is held": HELD,
    "is held by this worker": HELD.replace("somebody", "OURS", 1),
    "is cancelled": f"{HELD}, status = 'cancelled'",
}


@pytest.mark.parametrize("state", STATES.values(), ids=STATES)
@pytest.mark.parametrize(
    "column",
    [
        pytest.param(name, marks=[] if name.startswith("lease_") else [pytest.mark.long])
        for name in COLUMNS
    ],
)
def test_no_word_of_a_job_stops_a_worker_from_taking_another(
    sqlite_engine: Engine, lock: WorkerLock, new: Callable[..., Any], column: str, state: str
) -> None:
    jobs, claims = Jobs(sqlite_engine), Claims(sqlite_engine, lambda: NOW)
    good, *bad = (jobs.enqueue(new(f"m-{number}"), NOW)[0] for number in range(len(STRANGE) + 1))
    for job_id, word in zip(bad, STRANGE.values(), strict=True):
        if state:
            spoil(sqlite_engine, job_id, state.replace("OURS", lock.owner))
        spoil(sqlite_engine, job_id, f"{column} = {word}")
    assert good in turn(claims, lock)


def test_no_word_of_a_job_hides_who_waits_and_who_works(
    sqlite_engine: Engine, new: Callable[..., Any]
) -> None:
    """What `/metrics` shows of the table as a whole."""
    jobs = Jobs(sqlite_engine, living=lambda: {"somebody": Scope()})
    columns = ("updated_at", "lease_owner")
    odd = [(column, word) for column in columns for word in STRANGE.values()]
    good, held, *bad = (jobs.enqueue(new(f"m-{n}"), NOW)[0] for n in range(len(odd) + 2))
    spoil(sqlite_engine, held, HELD)
    for job_id, (column, word) in zip(bad, odd, strict=True):
        held_too = [HELD] if column == "lease_owner" else []
        spoil(sqlite_engine, job_id, *held_too, f"{column} = {word}")
    assert good
    assert jobs.oldest_waiting() == NOW
    (worker,) = jobs.workers()
    assert held in worker.jobs


@pytest.mark.parametrize("name", ["../poetry", "sub/../../poetry"])
def test_an_owner_that_is_a_path_leads_to_no_file(
    lock: WorkerLock, tmp_path: Path, name: str
) -> None:
    (tmp_path / "workers" / "sub").mkdir()
    other = tmp_path / "poetry.lock"
    other.touch()
    assert not lock.alive(name)
    assert not lock.alive(str(other.with_suffix("")))
    assert other.exists()


def test_a_pipe_among_the_locks_is_not_waited_for(lock: WorkerLock, tmp_path: Path) -> None:
    owner = "0" * 32
    os.mkfifo(tmp_path / "workers" / f"{owner}.lock")
    assert not lock.alive(owner)
