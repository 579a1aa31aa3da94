"""A watch hears what others write, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, text

from tests.acceptance.conftest import until
from tests.store.conftest import BASE_URL, NOW
from uploader import wiring
from uploader.core.job import NewJob, Scope, Stage
from uploader.core.seal import Seal
from uploader.settings.load import load
from uploader.store.claims import Claims
from uploader.store.database import migrate
from uploader.store.database.dialect import ChangeWatch, connected_workers, open_engine
from uploader.store.database.workers import WorkerLock, word_of
from uploader.store.held import Held
from uploader.store.jobs import Jobs
from uploader.wiring.stores import others


def test_change_watch_sees_others_and_stays_calm_otherwise(
    engine: Engine, enqueue: Callable[..., int]
) -> None:
    with closing(ChangeWatch(engine)) as watch:
        assert not watch.changed()
        enqueue()
        until(watch.changed)
        assert not watch.changed()


def test_a_watch_hears_what_writes_a_row_and_not_what_finds_nothing_to_do(
    engine: Engine, claims: Claims, claimed: Callable[..., Held]
) -> None:
    held = claimed()
    with closing(ChangeWatch(engine)) as watch:
        claims.claim("worker", BASE_URL, tuple(Stage), 60)
        claims.reap(lambda _: True)
        held.release()  # it makes the job claimable, and writes no event
        until(watch.changed)
        assert not watch.changed(), "one commit, told once"
        assert not any(watch.changed() for _ in range(50)), "questions of its own are not news"


def test_a_watch_hears_each_choice_of_a_limit(engine: Engine) -> None:
    with closing(ChangeWatch(engine)) as watch:
        for value in ("1MB/s", "2MB/s", None):
            Jobs(engine).limits.choose({"bandwidth": value}, NOW)
            until(watch.changed)


def test_a_watch_whose_connection_broke_connects_again_and_its_worker_still_counts(
    engine: Engine, postgresql_url: str
) -> None:
    assert not connected_workers(engine)
    with closing(ChangeWatch(engine, "one")) as watch, closing(ChangeWatch(engine, "two")):
        assert connected_workers(engine).keys() == {"one", "two"}
        with psycopg.connect(postgresql_url, autocommit=True) as other:
            other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'uploader worker one ' AND datname = current_database()"
            )
        until(watch.changed)  # the server ends a connection in its own time
        assert not watch.changed()
        until(lambda: connected_workers(engine).keys() == {"one", "two"})
    until(lambda: not connected_workers(engine))


def test_a_worker_of_another_table_with_the_same_state_folder_does_not_count(
    engine: Engine, postgresql_url: str, tmp_path: Path
) -> None:
    """As a service that still has its table in a file, while jobs move to PostgreSQL."""
    place = {"UPLOADER_STATE_DIR": str(tmp_path)}
    moved, usual = load(None, place | {"UPLOADER_DATABASE_URL": postgresql_url}), load(None, place)
    scope = Scope(BASE_URL)
    with wiring.Store(usual) as file, wiring.Store(moved) as store:
        with WorkerLock(usual.locks_dir, scope) as lock, closing(ChangeWatch(engine, "another")):
            assert file.living() == {lock.owner: scope}
            until(lambda: [*store.living()] == ["another"])
        with WorkerLock(moved.locks_dir, scope) as lock:
            assert file.living() == {}
            with closing(ChangeWatch(engine, lock.owner)):
                until(lambda: store.living() == {lock.owner: scope})


@pytest.mark.parametrize("shared", [False, True])
def test_a_worker_knows_of_others_that_take_every_job(
    engine: Engine, postgresql_url: str, tmp_path: Path, *, shared: bool
) -> None:
    names = {"UPLOADER_STATE_DIR": str(tmp_path), "UPLOADER_FIREWORKS__BASE_URL": BASE_URL}
    settings = load(None, names | ({"UPLOADER_DATABASE_URL": postgresql_url} if shared else {}))

    @contextmanager
    def worker(scope: Scope) -> Iterator[str]:
        with (
            WorkerLock(settings.locks_dir, scope) as lock,
            closing(ChangeWatch(engine, lock.owner, word_of(scope))),
        ):
            yield lock.owner

    with worker(Scope(BASE_URL)) as owner:
        are_there = others(settings, engine, owner)
        assert not are_there()
        with worker(Scope(BASE_URL, frozenset({1}))), worker(Scope("http://127.0.0.1:8080")):
            assert not are_there()
            with worker(Scope(BASE_URL)):
                assert are_there()
        until(lambda: not are_there())


@pytest.mark.parametrize("secret", [False, True])
@pytest.mark.parametrize("only", [None, frozenset({1})])
def test_a_worker_of_another_machine_tells_what_it_takes(
    engine: Engine,
    postgresql_url: str,
    tmp_path: Path,
    new: Callable[..., NewJob],
    only: Any,
    secret: bool,
) -> None:
    """`upload` would wait for ever for one that rehearses, or that has not the secret."""
    jobs, sealing = Jobs(engine), Jobs(engine, seal=Seal(b"s" * 32))
    ids = [jobs.enqueue(new(base_url=url), NOW)[0] for url in (BASE_URL, "http://127.0.0.1:8080")]
    ids.append(sealing.enqueue(new("sealed"), NOW)[0])
    scope = Scope(BASE_URL, only, secret)
    names = {"UPLOADER_DATABASE_URL": postgresql_url, "UPLOADER_STATE_DIR": str(tmp_path / "here")}
    with (
        WorkerLock(tmp_path / "there", scope) as lock,
        closing(ChangeWatch(engine, lock.owner, word_of(scope))),
        wiring.Store(load(None, names)) as store,
    ):
        until(lambda: bool(store.living()))
        unattended = [job.unattended for job in store.need().these(ids)]
        assert unattended == [only is not None, True, only is not None or not secret]


def test_a_worker_of_another_schema_does_not_count(engine: Engine, postgresql_url: str) -> None:
    """Two job tables in one database, each with workers of its own."""
    with engine.begin() as connection:
        connection.execute(text("CREATE SCHEMA another"))
    other = open_engine(f"{postgresql_url}?options=-csearch_path%3Danother")
    migrate.upgrade(other)
    with closing(ChangeWatch(other, "one")), closing(ChangeWatch(engine, "two")):
        until(lambda: connected_workers(other).keys() == {"one"})
        assert connected_workers(engine).keys() == {"two"}
    other.dispose()
