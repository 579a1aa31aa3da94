"""Without its events a store answers every verb as it does with them, at every stage and status."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.sqlite import sqlite_url
from tests.store.old_stores import fill_sqlite
from uploader.core.errors import UploaderError
from uploader.core.job import Manifest, ManifestFile, NewJob, Stage
from uploader.core.lifecycle import Verb
from uploader.core.timetable import UNLIMITED
from uploader.core.whole_job import WholeJob
from uploader.intake.forecast import forecast
from uploader.store.claims import Claims
from uploader.store.database import migrate
from uploader.store.database.dialect import open_engine
from uploader.store.jobs import Jobs

NOW = datetime(2026, 11, 2, tzinfo=UTC)
Act = Callable[[Jobs, WholeJob], object]


def again(jobs: Jobs, job: WholeJob, name: str | None = None) -> NewJob:
    """The job's folder as it is now; with ``name``, one file has another name."""
    files = [ManifestFile(file.path, file.size_bytes, "new:1") for file in jobs.files(job.id)]
    if name is not None:
        files[0] = replace(files[0], path=name)
    manifest = Manifest(job.path, tuple(files))
    return NewJob(
        job.base_url, job.account, job.model_id, job.kind, manifest, job.create_body, job.options
    )


ACTS: dict[str, Act] = {
    **{
        verb: lambda jobs, job, verb=verb: jobs.apply(job.id, verb, NOW)  # type: ignore[misc]
        for verb in (Verb.PAUSE, Verb.RESUME, Verb.CANCEL, Verb.RETRY)
    },
    "delete": lambda jobs, job: jobs.apply(job.id, Verb.CANCEL, NOW, delete_remote=True),
    "enqueue": lambda jobs, job: jobs.enqueue(again(jobs, job), NOW),
    "rescan": lambda jobs, job: jobs.restart(jobs.sealed(job), again(jobs, job), NOW),
    "other files": lambda jobs, job: jobs.restart(
        jobs.sealed(job), again(jobs, job, "new.bin"), NOW
    ),
    "replace": lambda jobs, job: jobs.restart(
        jobs.sealed(job), again(jobs, job, "new.bin"), NOW, replace=True
    ),
    "remove": lambda jobs, job: jobs.remove(job.id, NOW),
    "forecast": lambda jobs, _: forecast(None, UNLIMITED, jobs, 1, NOW),
}


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a job in every stage and status, none of them in a worker's hands."""
    path = tmp_path_factory.mktemp("migrated") / "uploader.db"
    fill_sqlite(path, path.parent)
    engine = open_engine(sqlite_url(path))
    migrate.ensure(engine, path.parent)
    Claims(engine, lambda: NOW).reap(lambda _: False)
    engine.dispose()
    return path


@pytest.mark.parametrize("name", ACTS)
def test_a_lost_history_changes_no_answer(migrated: Path, tmp_path: Path, name: str) -> None:
    answers = [_answers(migrated, tmp_path, ACTS[name], lost=lost) for lost in (False, True)]
    assert answers[0] == answers[1]
    assert len(set(answers[0])) > (1 if name != "forecast" else 0)


def test_other_files_are_refused_if_the_model_exists_and_no_history_says_so(
    migrated: Path, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(migrated)) as connection:
        query = "SELECT model_exists FROM jobs WHERE status IN ('active', 'paused', 'failed')"
        known = {bool(row[0]) for row in connection.execute(query)}
    assert known == {False, True}
    answers = _answers(migrated, tmp_path, ACTS["other files"], lost=True)
    assert any("cannot be changed" in answer for answer in answers)
    assert any(Stage.CREATE in answer and "new.bin" in answer for answer in answers)


def _answers(migrated: Path, folder: Path, act: Act, *, lost: bool) -> list[str]:
    """What each job's ``act`` returns or raises, and what its rows are then."""
    path = folder / f"{lost}.db"
    path.write_bytes(migrated.read_bytes())
    engine = open_engine(sqlite_url(path))
    jobs, found = Jobs(engine), []
    if lost:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("DELETE FROM events")
    for job in [jobs.job(one.id) for one in jobs.jobs()]:
        try:
            answer = repr(act(jobs, job))
        except UploaderError as error:
            answer = f"{error.code}: {error.message} ({error.hint})"
        found.append(f"{answer} {jobs.files(job.id)}")
    engine.dispose()
    return found
