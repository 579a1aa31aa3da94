"""What only a worker at work makes true is told of no job whose worker is gone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.store.conftest import mark_stored, open_session
from uploader.core.job import Job, LivingWorker, PrefixCrc, Scope, Stage
from uploader.core.redact import SessionUri
from uploader.store.claims import Claims
from uploader.store.database.workers import WorkerLock, living
from uploader.store.held import Held
from uploader.store.held_files import FileProgress
from uploader.store.jobs import Jobs

SINCE = datetime(2026, 11, 22, 11, 58, tzinfo=UTC)
PATH = "a.safetensors"


@pytest.fixture
def sending(claimed: Callable[..., Held]) -> Held:
    """A job in the hands of the owner "worker" that sends at a rate and waits for an answer."""
    held = claimed()
    open_session(held, PATH, SessionUri("https://s"), "b/k")
    held.files.report_progress([_waiting()], 5.0)
    return held


def _waiting(since: datetime | None = SINCE) -> FileProgress:
    return FileProgress(PATH, 1, PrefixCrc(), PrefixCrc(100, 7), 100, awaiting_since=since)


def _told(engine: Engine, *living: str) -> tuple[float | None, datetime | None, bool]:
    """What each way to read the job tells, which is one and the same."""
    jobs = Jobs(engine, living=lambda: dict.fromkeys(living, Scope()))
    (told,) = {_moving(job) for job in (jobs.job(1), jobs.find("m"), *jobs.jobs())}
    return told


def _moving(job: Job) -> tuple[float | None, datetime | None, bool]:
    return job.rate_bps, job.awaiting_since, job.unattended


@pytest.mark.usefixtures("sending")
def test_a_rate_and_a_wait_are_reported_as_long_as_the_holder_lives(engine: Engine) -> None:
    assert _told(engine, "worker", "another") == (5.0, SINCE, False)
    assert _told(engine, "another") == (None, None, False)
    assert _told(engine) == (None, None, True)


@pytest.mark.usefixtures("sending")
def test_the_workers_are_those_that_live_with_what_they_hold(
    engine: Engine, enqueue: Callable[..., int]
) -> None:
    enqueue("other")
    jobs = Jobs(engine, living=lambda: {"worker": Scope(), "idle": Scope()})
    assert jobs.workers() == [LivingWorker("idle", ()), LivingWorker("worker", (1,))]
    assert Jobs(engine, living=dict).workers() == []


@pytest.mark.parametrize(
    "end",
    [
        lambda held: held.files.report_progress([_waiting(None)], 5.0),
        lambda held: mark_stored(held, PATH, 1, bytes_sent=100, verified=True),
        lambda held: held.files.drop_session(PATH, "gone", bytes_sent=100),
        lambda held: held.release(),
    ],
    ids=["answered", "stored", "dropped", "released"],
)
def test_a_wait_ends_with_what_ends_it(
    engine: Engine, sending: Held, end: Callable[[Held], object]
) -> None:
    end(sending)
    assert Jobs(engine).job(1).awaiting_since is None


def test_who_takes_a_job_over_waits_for_nothing_yet(
    engine: Engine, sending: Held, claims: Claims, put: Callable[..., None]
) -> None:
    put(sending.job.id, lease_owner=None, lease_token=None)  # as after a kill
    taken = claims.claim("another", sending.job.base_url, tuple(Stage), 60)
    assert taken
    assert taken.job.awaiting_since is None
    assert Jobs(engine).files(1)[0].awaiting_since is None


def test_who_lives_is_named_by_the_locks_that_are_held(tmp_path: Path) -> None:
    with WorkerLock(tmp_path) as one, WorkerLock(tmp_path) as two:
        assert living(tmp_path) == {one.owner: Scope(), two.owner: Scope()}
    theirs = tmp_path / "workers" / "poetry.lock"
    theirs.touch()
    assert living(tmp_path) == {}
    assert [*theirs.parent.iterdir()] == [theirs], "it is no worker's"


def test_who_has_no_urls_yet_waits_for_fireworks(
    engine: Engine, claimed: Callable[..., Held], put: Callable[..., None]
) -> None:
    held = claimed()
    put(held.job.id, stage=Stage.UPLOAD, urls_until=None, updated_at=SINCE)
    assert _told(engine, "worker")[1] == SINCE
    assert _told(engine)[1] is None
    put(held.job.id, urls_until=SINCE)
    assert _told(engine, "worker")[1] is None
