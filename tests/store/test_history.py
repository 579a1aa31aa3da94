"""Jobs that ended long ago go, with all that belongs to them; nothing else changes."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, event

from tests.store.conftest import BASE_URL, NOW
from tests.store.old_stores import fill_sqlite
from uploader.core.events import EventKind
from uploader.core.job import NewJob, Reason, Stage, Status
from uploader.core.redact import SessionUri
from uploader.store import history as history_module
from uploader.store.claims import Claims
from uploader.store.database import migrate
from uploader.store.database.dialect import open_engine
from uploader.store.held import Held
from uploader.store.held_files import NewSession
from uploader.store.history import History, Rows
from uploader.store.jobs import Jobs
from uploader.store.outbox import Outbox

AGO = NOW - timedelta(days=100)
BEFORE = NOW - timedelta(days=90)
REASON = Reason("key", "refused")


@pytest.fixture
def history(engine: Engine) -> History:
    return History(engine)


@pytest.mark.parametrize("status", Status)
def test_only_jobs_that_ended_long_ago_go(
    history: History,
    jobs: Jobs,
    enqueue: Callable[..., int],
    put: Callable[..., None],
    status: Status,
) -> None:
    old, new = enqueue("old"), enqueue("new")
    put(old, status=status, updated_at=AGO)
    put(new, status=status, updated_at=BEFORE)
    ended = status in (Status.DONE, Status.CANCELLED)
    assert history.count(BEFORE) == (Rows(1, 2, 1) if ended else Rows())
    assert history.prune_all(BEFORE, NOW) == (Rows(1, 2, 1) if ended else Rows())
    assert [job.id for job in jobs.jobs()] == ([new] if ended else [old, new])
    assert history.prune_all(BEFORE, NOW) == Rows()


def test_no_id_and_no_event_number_is_used_again(
    history: History, jobs: Jobs, enqueue: Callable[..., int], put: Callable[..., None]
) -> None:
    last = enqueue("old")
    seq = jobs.events()[-1].seq
    put(last, status=Status.DONE, updated_at=AGO)
    history.prune_all(BEFORE, NOW)
    assert jobs.events() == []
    assert enqueue("new") == last + 1
    assert jobs.events(since=seq)[0].seq == seq + 1, "a reader goes on where it stopped"


@pytest.mark.parametrize("left", ["a lease", "a session", "a model to delete"])
def test_a_job_that_a_worker_still_has_work_for_stays(
    history: History,
    jobs: Jobs,
    claimed: Callable[..., Held],
    put: Callable[..., None],
    left: str,
) -> None:
    held = claimed()
    if left == "a session":
        held.files.open_sessions([NewSession("config.json", SessionUri("u"), None)])
    if left != "a lease":
        held.release()
    put(
        held.job.id,
        status=Status.CANCELLED,
        updated_at=AGO,
        delete_on_cancel=left == "a model to delete",
    )
    assert history.count(BEFORE) == history.prune_all(BEFORE, NOW) == Rows()
    assert len(jobs.files(held.job.id)) == 2


HOOK = ["mail"]
ASKED = {"mail": [EventKind.ENQUEUED]}


@pytest.mark.parametrize("end", ["delivered", "given up", "switched off"])
def test_a_job_stays_until_its_hook_was_told_or_has_given_up(
    end: str,
    history: History,
    engine: Engine,
    enqueue: Callable[..., int],
    put: Callable[..., None],
) -> None:
    outbox = Outbox(engine)
    assert outbox.fill(ASKED, NOW) == 0, "from here on, it is told"
    put(enqueue("old"), status=Status.DONE, updated_at=AGO)
    assert history.count(BEFORE, HOOK) == history.prune(BEFORE, NOW, HOOK) == Rows(), "not seen yet"
    assert outbox.fill(ASKED, NOW) == 1
    assert history.count(BEFORE, HOOK) == history.prune(BEFORE, NOW, HOOK) == Rows(), "waits"
    assert history.count(BEFORE, ["another"]) == history.count(BEFORE) == Rows(1, 2, 1)
    if end == "switched off":
        outbox.switch_off("mail", "410", NOW)
    else:
        delivery = outbox.take(HOOK, NOW, 1.0)
        assert delivery is not None
        if end == "delivered":
            outbox.mark_delivered(delivery, NOW)
        else:
            outbox.give_up(delivery, "dead", NOW)
    assert history.count(BEFORE, HOOK) == history.prune_all(BEFORE, NOW, HOOK) == Rows(1, 2, 1)


def test_what_the_bound_of_the_backlog_drops_keeps_no_job(
    history: History,
    engine: Engine,
    jobs: Jobs,
    enqueue: Callable[..., int],
    put: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("uploader.store.outbox.MAX_WAITING", 2)
    outbox = Outbox(engine)
    outbox.fill(ASKED, NOW)
    ids = [enqueue(f"m{number}") for number in range(4)]
    for job_id in ids:
        put(job_id, status=Status.DONE, updated_at=AGO)
    outbox.fill(ASKED, NOW)
    assert history.prune_all(BEFORE, NOW, HOOK) == Rows(2, 4, 2)
    assert [job.id for job in jobs.jobs()] == ids[2:]


def test_a_step_is_short_however_much_there_is(
    history: History,
    jobs: Jobs,
    enqueue: Callable[..., int],
    put: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An interruption between two steps leaves whole jobs."""
    monkeypatch.setattr(history_module, "_STEP_JOBS", 2)
    monkeypatch.setattr(history_module, "_STEP_EVENTS", 3)
    for number in range(4):
        put(enqueue(f"m{number}"), status=Status.DONE, updated_at=AGO + timedelta(number))
    steps = []
    while (gone := history.prune(BEFORE, NOW)) != Rows():
        steps.append(gone)
        assert all(len(jobs.files(job.id)) == 2 for job in jobs.jobs())
    assert steps == [Rows(2, 4, 2), Rows(2, 4, 2)]


def test_a_job_with_many_events_goes_in_several_steps(
    history: History,
    jobs: Jobs,
    claimed: Callable[..., Held],
    put: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(history_module, "_STEP_EVENTS", 3)
    held = claimed()
    for _ in range(6):
        held.block(REASON)
        put(held.job.id, status=Status.ACTIVE)
    held.release()
    put(held.job.id, status=Status.DONE, updated_at=AGO)
    steps = [history.prune(BEFORE, NOW) for _ in range(4)]
    assert steps == [Rows(events=3), Rows(events=3), Rows(1, 2, 1), Rows()]
    assert jobs.jobs() == []


def test_nothing_old_means_no_lock(
    history: History, engine: Engine, enqueue: Callable[..., int]
) -> None:
    enqueue()
    seen: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *of: seen.append(of[2]))
    assert history.prune(BEFORE, NOW) == Rows()
    assert not [one for one in seen if not one.startswith("SELECT") and one != "BEGIN"]


def test_the_jobs_that_stay_are_claimed_and_enqueued_as_before(
    history: History,
    jobs: Jobs,
    claims: Claims,
    enqueue: Callable[..., int],
    new: Callable[..., NewJob],
    put: Callable[..., None],
) -> None:
    put(enqueue("old"), status=Status.DONE, stage=Stage.READY, updated_at=AGO)
    done, waiting = enqueue("done"), enqueue("waiting")
    put(done, status=Status.DONE, stage=Stage.READY, updated_at=NOW)
    history.prune_all(BEFORE, NOW)
    assert jobs.enqueue(new("done"), NOW) == (done, False)
    held = claims.claim("w", BASE_URL, tuple(Stage), 60)
    assert held is not None
    assert held.job.id == waiting


def _size(path: Path) -> int:
    return path.stat().st_size


def test_a_file_shrinks(sqlite_engine: Engine, database: Path, new: Callable[..., NewJob]) -> None:
    jobs, history = Jobs(sqlite_engine), History(sqlite_engine)
    _many(jobs, new, database)
    large = _size(database)
    history.prune_all(BEFORE, NOW)
    sqlite_engine.dispose()
    assert _size(database) < large / 2


def test_an_older_store_learns_to_shrink_when_it_is_migrated(
    tmp_path: Path, new: Callable[..., NewJob]
) -> None:
    path = tmp_path / "state" / "old.db"
    path.parent.mkdir(mode=0o700)
    fill_sqlite(path, tmp_path)
    engine = open_engine(f"sqlite:///{path}")
    migrate.ensure(engine, path.parent)
    _many(Jobs(engine), new, path)
    large = _size(path)
    History(engine).prune_all(BEFORE, NOW)
    engine.dispose()
    assert _size(path) < large / 2


def _many(jobs: Jobs, new: Callable[..., NewJob], path: Path) -> None:
    sizes = {f"model-{number:05}-of-00300.safetensors": 1 for number in range(300)}
    for number in range(10):
        jobs.enqueue(new(f"big{number}", root=f"/models/{number}", sizes=sizes), NOW)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("UPDATE jobs SET status = 'done', updated_at = '2026-01-01 00:00:00.000000'")
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
