"""A large store answers with the work of a small one: counted, or read off the plans, not timed."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, text, true

from tests.postgresql import Cluster
from tests.store.conftest import BASE_URL, NOW
from uploader.core.job import POOLS, Stage, Status
from uploader.core.lifecycle import Verb
from uploader.store.claims import Claims
from uploader.store.database.dialect import open_engine
from uploader.store.due import next_to_clean_up
from uploader.store.jobs import Jobs
from uploader.store.tables import files, leftovers, metadata
from uploader.store.tables import jobs as jobs_table

POOL = POOLS[0]
#: What may grow with the number of jobs: the depth of an index.
FLAT = 1.5
#: With PostgreSQL: rows read by all statements of one act, of thousands that are there.
FEW_ROWS = 200
#: How many files a job has in a store of few, and how many times as many in one of many.
FEW_FILES, TIMES = 100, 10
_ROW: dict[str, Any] = {
    "base_url": BASE_URL,
    "account": "acme",
    "path": "/models/m",
    "kind": "base",
    "create_body": {},
    "options": {},
    "preflight": [],
    "warnings": [],
    "stage": Stage.CREATE,
    "created_at": NOW,
    "updated_at": NOW,
}
#: A job of each kind that may be many in a large store.
MANY: dict[str, dict[str, Any]] = {
    "done": {"status": Status.DONE, "stage": Stage.READY},
    "cancelled": {"status": Status.CANCELLED, "stage": Stage.UPLOAD},
    "paused": {"status": Status.PAUSED, "stage": Stage.UPLOAD},
    "failed": {"status": Status.FAILED, "stage": Stage.UPLOAD},
    "waiting": {"status": Status.ACTIVE, "not_before": NOW + timedelta(hours=1)},
    "ready": {"status": Status.ACTIVE},
    "validating": {"status": Status.ACTIVE, "stage": Stage.VALIDATE},
    "elsewhere": {"status": Status.ACTIVE, "base_url": "https://elsewhere.example"},
}


def fill(engine: Engine, count: int, only: Collection[str] = ()) -> None:
    """So many jobs of each kind with two files each, and a few that a worker of ours holds."""
    with engine.begin() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(table.delete())
        rows: list[dict[str, Any]] = []
        for name in only or MANY:  # one kind after the other, as history makes them
            columns = {**_ROW, "not_before": None, **MANY[name]}
            rows += [{**columns, "model_id": f"{name}{number}"} for number in range(count)]
        held = {"lease_owner": "me", "lease_token": "t", "lease_expires_at": NOW}
        for number in range(4):
            connection.execute(
                jobs_table.insert().values(
                    **_ROW, **held, status=Status.ACTIVE, model_id=f"held{number}"
                )
            )
        connection.execute(jobs_table.insert(), rows)
        ids = connection.scalars(jobs_table.select()).all()
        connection.execute(
            files.insert(),
            [
                {"job_id": job_id, "path": path, "size_bytes": 7}
                for job_id in ids
                for path in ("a.bin", "b.bin")
            ],
        )
    if engine.dialect.name == "postgresql":
        with engine.begin() as connection:
            connection.execute(text("ANALYZE"))


Act = Callable[[Claims, Jobs], object]


def _take_a_name(claims: Claims, _: Jobs) -> None:
    if held := claims.claim("you", BASE_URL, POOL, 60):  # those of a small store may be taken
        assert held.take_name("acme") == []
        held.release()


ACTS: dict[str, Act] = {
    "claim": lambda claims, _: claims.claim("you", BASE_URL, POOL, 60),
    "claim, take the name": _take_a_name,
    "claim nothing": lambda claims, _: claims.claim("you", "https://nowhere.example", POOL, 60),
    "claim cancelled": lambda claims, _: claims.claim_cancelled("you", BASE_URL, 60),
    "leases of": lambda claims, _: claims.leases_of("me"),
    "renew": lambda claims, _: claims.renew("me", 60),
    "reap": lambda claims, _: claims.reap(lambda _: True),
    "heal": lambda claims, _: claims.heal(BASE_URL),
    "any open": lambda claims, _: claims.any_open(BASE_URL),
    "none open": lambda claims, _: claims.any_open("https://nowhere.example"),
    "next due": lambda claims, _: claims.next_due(BASE_URL),
    "uploading": lambda _, jobs: jobs.uploading(),
    "workers": lambda _, jobs: jobs.workers(),
    "one job": lambda _, jobs: jobs.job(7),
    "a model's job": lambda _, jobs: jobs.find("done1"),
    "those of a run": lambda _, jobs: jobs.these([1, 2, 3]),
}


@contextmanager
def _filled(url: str, count: int, only: Collection[str] = ()) -> Iterator[Engine]:
    engine = open_engine(url)
    fill(engine, count, only)
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def small(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    path = shutil.copy(template, tmp_path_factory.mktemp("small") / "uploader.db")
    with _filled(f"sqlite:///{path}", 10) as engine:
        yield engine


@pytest.fixture(scope="module")
def large(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    path = shutil.copy(template, tmp_path_factory.mktemp("large") / "uploader.db")
    with _filled(f"sqlite:///{path}", 1000) as engine:
        yield engine


@pytest.fixture(scope="module")
def large_postgresql(postgresql: Cluster, migrated: str) -> Iterator[Engine]:
    with (
        postgresql.database(f"TEMPLATE {migrated}") as name,
        _filled(postgresql.url(name), 1000) as engine,
    ):
        yield engine


def _instructions(engine: Engine, act: Act) -> int:
    """How many instructions SQLite's machine carries out for ``act``."""
    counts = [0]

    def count() -> int:
        counts[0] += 1
        return 0

    def watch(connection: sqlite3.Connection, *_: object) -> None:
        connection.set_progress_handler(count, 1)

    _carry_out(engine, act, watch)
    return counts[0]


def _carry_out(
    engine: Engine, act: Act, prepare: Callable[[sqlite3.Connection, object], None]
) -> None:
    engine.dispose()
    event.listen(engine, "connect", prepare)
    try:
        act(Claims(engine, lambda: NOW), Jobs(engine))
    finally:
        event.remove(engine, "connect", prepare)
        engine.dispose()


@pytest.mark.parametrize("name", ACTS)
def test_many_jobs_cost_sqlite_no_more_work_than_few(
    small: Engine, large: Engine, name: str
) -> None:
    few, many = (_instructions(engine, ACTS[name]) for engine in (small, large))
    assert 0 < many <= FLAT * few


def fill_with_files(engine: Engine, count: int) -> None:
    """The few jobs of `fill`, each with so many files and with a body that names them all."""
    fill(engine, 2)
    names = [f"{number:040}.txt" for number in range(count)]
    with engine.begin() as connection:
        connection.execute(files.delete())
        connection.execute(jobs_table.update().values(create_body={"model": {"files": names}}))
        connection.execute(
            files.insert(),
            [
                {"job_id": job_id, "path": path, "size_bytes": 7}
                for job_id in connection.scalars(jobs_table.select()).all()
                for path in names
            ],
        )
    if engine.dialect.name == "postgresql":
        with engine.begin() as connection:
            connection.execute(text("ANALYZE"))


@pytest.fixture(scope="module")
def by_files(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Engine]]:
    """Jobs of few files, and jobs of `TIMES` as many."""
    engines = []
    for count in (FEW_FILES, TIMES * FEW_FILES):
        path = shutil.copy(template, tmp_path_factory.mktemp("files") / f"{count}.db")
        engines.append(open_engine(f"sqlite:///{path}"))
        fill_with_files(engines[-1], count)
    yield engines
    for engine in engines:
        engine.dispose()


#: What a job's files may cost besides, once for each job: its body, in which they are named.
BY_FILES: dict[str, Act] = {
    **ACTS,
    "all jobs": lambda _, jobs: jobs.jobs(),
    "uploads": lambda _, jobs: jobs.uploads(100),
    "a page": lambda _, jobs: jobs.page(0, 100),
    "jobs elsewhere": lambda _, jobs: jobs.active_elsewhere(BASE_URL),
    "verb": lambda _, jobs: jobs.apply(1, Verb.PAUSE, NOW),
    "priority": lambda _, jobs: jobs.prioritize(1, 5, NOW),
}


@pytest.mark.parametrize("name", BY_FILES)
def test_many_files_cost_sqlite_work_in_proportion(by_files: list[Engine], name: str) -> None:
    few, many = (_instructions(engine, BY_FILES[name]) for engine in by_files)
    assert 0 < many <= FLAT * TIMES * few
    few, many = (_bytes_read(engine, BY_FILES[name]) for engine in by_files)
    assert 0 < many <= FLAT * TIMES * few


def _bytes_read(engine: Engine, act: Act) -> int:
    """How many bytes SQLite reads for ``act`` if it remembers no page of the file."""

    def forget(connection: sqlite3.Connection, *_: object) -> None:
        connection.execute("PRAGMA cache_size = 1")
        connection.execute("PRAGMA mmap_size = 0")

    before = _read_so_far()
    _carry_out(engine, act, forget)
    return _read_so_far() - before


def _read_so_far() -> int:
    counted = Path("/proc/self/io")
    if not counted.exists():
        pytest.skip("this system does not count what a process reads")
    return int(counted.read_text().split()[1])


@pytest.mark.parametrize("name", ACTS)
def test_many_jobs_cost_postgresql_a_few_rows(large_postgresql: Engine, name: str) -> None:
    assert _rows_touched(large_postgresql, ACTS[name]) <= FEW_ROWS


def _rows_touched(engine: Engine, act: Act) -> int:
    """How many rows PostgreSQL reads for the statements of ``act``, those it passes by included."""
    statements: list[tuple[str, Any]] = []

    def note(_: object, __: object, statement: str, parameters: Any, *___: object) -> None:
        if "jobs" in statement:
            statements.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", note)
    try:
        act(Claims(engine, lambda: NOW), Jobs(engine))
    finally:
        event.remove(engine, "before_cursor_execute", note)
    assert statements
    return sum(_rows_of(engine, *one) for one in statements)


def _rows_of(engine: Engine, statement: str, parameters: Any) -> int:
    with engine.connect() as connection:
        explained = connection.exec_driver_sql(
            f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters
        )
        plan: list[dict[str, Any]] = explained.scalar_one()
        connection.rollback()
    return sum(_rows_under(one["Plan"]) for one in plan)


def _rows_under(node: dict[str, Any]) -> int:
    passed_by = sum(number for key, number in node.items() if key.startswith("Rows Removed"))
    own = int((node["Actual Rows"] + passed_by) * node["Actual Loops"])
    return own + sum(_rows_under(child) for child in node.get("Plans", ()))


def test_the_newest_finished_jobs_are_found_without_reading_the_others(
    template: Path, tmp_path: Path
) -> None:
    def work(count: int) -> int:
        path = shutil.copy(template, tmp_path / f"{count}.db")
        with _filled(f"sqlite:///{path}", count, only=("done", "cancelled")) as engine:
            return _instructions(engine, lambda _, jobs: jobs.jobs(5))

    assert work(500) <= FLAT * work(10)


def test_a_session_that_a_file_gives_up_costs_the_same_however_many_were_left_before(
    template: Path, tmp_path: Path
) -> None:
    columns = {"base_url": BASE_URL, "account": "acme", "path": "a.bin", "session_uri": "x"}

    def give_up(claims: Claims, _: Jobs) -> None:
        held = claims.claim("you", BASE_URL, POOL, 60)
        assert held
        held.files.drop_session("a.bin", "moved", bytes_sent=0, lives=True)

    def work(count: int) -> int:
        path = shutil.copy(template, tmp_path / f"{count}.db")
        with _filled(f"sqlite:///{path}", 1, only=("ready",)) as engine:
            with engine.begin() as connection:
                rows = [{"job_id": 99 + n, "model_id": f"m{n}", **columns} for n in range(count)]
                connection.execute(leftovers.insert().values(session_at=NOW), rows)
            return _instructions(engine, give_up)

    assert work(1000) <= FLAT * work(10)


def test_postgresql_looks_for_all_that_is_to_be_cleaned_up_before_it_asks_for_the_first(
    large_postgresql: Engine,
) -> None:
    """With 20,000 cancelled jobs and 20,000 others with sessions, a claim took 24 s, and takes 0.1.

    Which plan it takes otherwise depends on its statistics: so the statement is looked at.
    """
    statement = str(next_to_clean_up(true()).compile(large_postgresql))
    first, _, rest = statement.partition("AS MATERIALIZED")
    assert first.startswith("WITH ")
    assert "LIMIT" not in rest.partition(")\n SELECT")[0]
    assert "LIMIT" in rest
