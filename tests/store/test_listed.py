"""A list of jobs takes the room of what it shows, and not that of the files that they name."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event

from tests.store.conftest import BASE_URL, NOW
from uploader.core.job import POOLS, Job, Stage, Status
from uploader.core.timetable import UNLIMITED
from uploader.intake.forecast import forecast
from uploader.store.claims import Claims
from uploader.store.jobs import Jobs
from uploader.store.rows import read_job
from uploader.store.uploaded import Uploaded

JOBS = 10
#: As of a folder of countless long names.
BODY = {"model": {"baseModelDetails": {"huggingfaceFiles": ["n" * 250] * 8_000}}}
BODY_BYTES = 8_000 * 250
#: Of all those jobs together, with what SQLAlchemy keeps of a statement.
MOST_BYTES = BODY_BYTES // 2

LISTS: dict[str, Callable[[Jobs], list[Job]]] = {
    "all": lambda jobs: jobs.jobs(),
    "open": lambda jobs: jobs.jobs(0),
    "page": lambda jobs: jobs.page(0, 100),
    "stream": lambda jobs: list(jobs.stream(200, [Status.ACTIVE])),
    "these": lambda jobs: jobs.these(range(1, JOBS + 1)),
    "of a model": lambda jobs: jobs.of_model("m0"),
    "uploading": lambda jobs: jobs.uploading(),
    "elsewhere": lambda jobs: jobs.active_elsewhere("https://elsewhere.example"),
}


@pytest.fixture
def many(
    engine: Engine, jobs: Jobs, enqueue: Callable[..., int], put: Callable[..., None]
) -> list[int]:
    """Jobs with such bodies, in a worker's hands."""
    ids = [enqueue(f"m{number}") for number in range(JOBS)]
    for job_id in ids:
        assert Claims(engine, lambda: NOW).claim("w", BASE_URL, POOLS[0], 60)
        put(job_id, create_body=BODY, stage=Stage.UPLOAD)
    assert jobs.job(ids[0]).create_body == BODY
    return ids


def peak_bytes(act: Callable[[], object]) -> int:
    """How much memory Python's values take at most meanwhile."""
    act()  # what is kept once, whatever comes
    tracemalloc.start()
    try:
        kept = act()
        assert kept is not None
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize("name", LISTS)
def test_a_list_reads_no_body_of_countless_names(jobs: Jobs, name: str) -> None:
    assert LISTS[name](jobs)
    assert peak_bytes(lambda: LISTS[name](jobs)) < MOST_BYTES
    assert peak_bytes(lambda: jobs.job(1)) > BODY_BYTES  # or nothing is measured


def test_a_listed_job_is_what_a_list_shows_of_the_whole_one(
    engine: Engine, jobs: Jobs, many: list[int]
) -> None:
    """And cannot be taken for a whole one: it has no body at all."""
    listed = jobs.jobs()
    with engine.connect() as connection:
        assert listed == [read_job(connection, job_id).listed() for job_id in many]
    assert not any(hasattr(job, "create_body") for job in listed)
    assert jobs.find("m1").create_body == jobs.sealed(jobs.job(2)).create_body == BODY


@pytest.mark.usefixtures("many")
def test_a_job_whose_body_is_too_large_to_look_at_hides_none(
    jobs: Jobs, put: Callable[..., None]
) -> None:
    put(2, create_body=[BODY], options=5)
    put(3, create_body=[BODY])
    listed = {job.id: job.reason and job.reason.code for job in jobs.jobs()}
    assert listed == {job_id: "unreadable_row" if job_id == 2 else None for job_id in listed}
    assert len(listed) == JOBS


def uploaded(
    put: Callable[..., None], job_id: int, took_s: float | None, stage: Stage = Stage.VALIDATE
) -> None:
    ended = None if took_s is None else NOW + timedelta(seconds=took_s)
    put(job_id, stage=stage, upload_started_at=NOW, uploaded_at=ended)


def test_what_uploads_took(
    jobs: Jobs, enqueue: Callable[..., int], put: Callable[..., None]
) -> None:
    ids = [enqueue(f"m{number}", sizes={"a.bin": 70, "b.bin": 30}) for number in range(8)]
    uploaded(put, ids[0], 100.0)
    uploaded(put, ids[1], None)
    uploaded(put, ids[2], -5.0)  # a clock was set back
    uploaded(put, ids[3], 5.0, Stage.UPLOAD)  # not all of it is stored
    empty = enqueue("empty", sizes={"a.bin": 0})
    uploaded(put, empty, 5.0)
    for ended, job_id in enumerate(ids[4:7]):
        uploaded(put, job_id, 7.0, Stage.READY)
        put(job_id, status=Status.DONE, updated_at=NOW + timedelta(hours=ended))
    found = sorted(jobs.uploads(2), key=lambda one: one.job_id)
    hours = timedelta(hours=1)
    assert found == [
        Uploaded(ids[0], NOW, 100, 100.0),
        Uploaded(ids[1], NOW, 100, 0.0),
        Uploaded(ids[2], NOW, 100, 0.0),
        Uploaded(ids[5], NOW + hours, 100, 7.0),
        Uploaded(ids[6], NOW + 2 * hours, 100, 7.0),
    ]


def test_an_upload_that_cannot_be_read_is_no_measure_and_hides_no_other(
    sqlite_engine: Engine, new: Callable[..., object]
) -> None:
    jobs = Jobs(sqlite_engine)
    for name in ("a", "b", "c"):
        jobs.enqueue(new(name), NOW)  # type: ignore[arg-type]
    with sqlite_engine.begin() as connection:
        spoil = "UPDATE jobs SET stage = 'validate', uploaded_at = updated_at"
        connection.exec_driver_sql(f"{spoil}, upload_started_at = updated_at")
        connection.exec_driver_sql("UPDATE jobs SET uploaded_at = 'never' WHERE id = 2")
    assert [one.job_id for one in jobs.uploads(10)] == [1, 3]


def test_a_forecast_reads_only_what_a_rate_takes(
    engine: Engine, jobs: Jobs, enqueue: Callable[..., int], put: Callable[..., None]
) -> None:
    enqueue()
    uploaded(put, 1, 10.0)
    statements: list[str] = []

    def note(*given: Any) -> None:
        statements.append(given[2])

    event.listen(engine, "before_cursor_execute", note)
    try:
        found = forecast(None, UNLIMITED, jobs, 1000, NOW)
    finally:
        event.remove(engine, "before_cursor_execute", note)
    assert found
    assert (found.rate_bps, found.because) == (11.0, "as job 1 went")
    (read,) = [one for one in statements if "jobs" in one]
    large = ("create_body", "options", "preflight", "warnings", "seal")
    assert not [column for column in large if column in read]
