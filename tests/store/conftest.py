"""A migrated store per test, its two faces, and what it told."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, text, update

from tests.postgresql import Cluster
from uploader.core.job import Event, FileState, Kind, Manifest, ManifestFile, NewJob, Stage
from uploader.core.redact import SessionUri
from uploader.store.claims import Claims
from uploader.store.database import migrate
from uploader.store.database.dialect import open_engine, writing
from uploader.store.held import Held
from uploader.store.held_files import NewSession, StoredFile
from uploader.store.jobs import Jobs
from uploader.store.tables import jobs as jobs_table
from uploader.store.tables import metadata

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
BASE_URL = "https://api.fireworks.ai"


class Hands:
    """A wall clock whose hands a test sets."""

    def __init__(self) -> None:
        self.at = NOW

    def __call__(self) -> datetime:
        return self.at


def open_session(held: Held, path: str, uri: SessionUri, object_path: str | None) -> FileState:
    return held.files.open_sessions([NewSession(path, uri, object_path)])[0]


def mark_stored(
    held: Held,
    path: str,
    crc32c: int,
    *,
    bytes_sent: int,
    verified: bool,
    generation: int | None = None,
    sha256: str | None = None,
) -> FileState:
    stored = StoredFile(path, crc32c, bytes_sent, verified, generation, sha256)
    return held.files.mark_all_stored([stored])[0]


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "uploader.db"
    engine = open_engine(f"sqlite:///{path}")
    migrate.ensure(engine, path.parent)
    engine.dispose()
    return path


@pytest.fixture
def database(tmp_path: Path, template: Path) -> Path:
    return Path(shutil.copy(template, tmp_path / "uploader.db"))


#: Their tests say what a store does, whichever it is; the others are about one of the two.
_ABOUT_ANY_STORE = {
    "test_aside",
    "test_believed",
    "test_claims",
    "test_enqueue",
    "test_fencing",
    "test_file_urls",
    "test_file_verbs",
    "test_history",
    "test_jobs",
    "test_leftovers",
    "test_listed",
    "test_progress",
    "test_rescues",
    "test_strange_rows",
    "test_told_seldom",
    "test_transitions",
    "test_without_secret",
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    about = metafunc.module.__name__.rpartition(".")[2]
    if about in _ABOUT_ANY_STORE and "engine" in metafunc.fixturenames:
        emptied = pytest.param("emptied", id="postgresql")
        metafunc.parametrize("backend", ["sqlite", emptied], indirect=True)


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> str:
    kind: str = getattr(request, "param", "sqlite")
    return kind


@pytest.fixture
def engine(backend: str, request: pytest.FixtureRequest) -> Engine:
    engine: Engine = request.getfixturevalue(f"{backend}_engine")
    return engine


@pytest.fixture
def postgresql_engine(postgresql_url: str) -> Iterator[Engine]:
    engine = open_engine(postgresql_url)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def _one_database(postgresql: Cluster, migrated: str) -> Iterator[Engine]:
    with postgresql.database(f"TEMPLATE {migrated}") as name:
        engine = open_engine(postgresql.url(name))
        yield engine
        engine.dispose()


@pytest.fixture
def emptied_engine(_one_database: Engine) -> Engine:
    """One database for many tests: a fresh one for each would take longer than they do."""
    with writing(_one_database).begin() as connection:
        connection.execute(text(f"TRUNCATE {', '.join(metadata.tables)} RESTART IDENTITY"))
    return _one_database


@pytest.fixture
def sqlite_engine(database: Path) -> Iterator[Engine]:
    engine = open_engine(f"sqlite:///{database}")

    @event.listens_for(engine, "connect")
    def hurry(connection: sqlite3.Connection, _: object) -> None:
        """No test pulls the plug; a sync per commit would only cost time."""
        connection.execute("PRAGMA synchronous = OFF")

    yield engine
    engine.dispose()


@pytest.fixture
def told() -> list[Event]:
    return []


@pytest.fixture
def jobs(engine: Engine, told: list[Event]) -> Jobs:
    return Jobs(engine, told.append)


@pytest.fixture
def clock() -> Hands:
    return Hands()


@pytest.fixture
def claims(engine: Engine, clock: Hands, told: list[Event]) -> Claims:
    return Claims(engine, clock, told.append)


def _new(
    model_id: str = "m",
    *,
    root: str = "/models/m",
    account: str = "acme",
    base_url: str = BASE_URL,
    sizes: dict[str, int] | None = None,
    fingerprint: str = "made:1",
    **fields: Any,
) -> NewJob:
    sizes = {"a.safetensors": 100, "config.json": 10} if sizes is None else sizes
    files = tuple(ManifestFile(path, size, fingerprint) for path, size in sizes.items())
    return NewJob(
        base_url=base_url,
        account=account,
        model_id=model_id,
        kind=Kind.BASE,
        manifest=Manifest(root, files),
        create_body={"kind": "HF_BASE_MODEL"},
        **fields,
    )


@pytest.fixture
def new() -> Callable[..., NewJob]:
    return _new


@pytest.fixture
def enqueue(jobs: Jobs) -> Callable[..., int]:
    return lambda *args, **fields: jobs.enqueue(_new(*args, **fields), NOW)[0]


@pytest.fixture
def claimed(claims: Claims, enqueue: Callable[..., int]) -> Callable[..., Held]:
    """A fresh job in the hands of a worker."""

    def claim(*args: Any, **fields: Any) -> Held:
        job_id = enqueue(*args, **fields)
        held = claims.claim("worker", BASE_URL, tuple(Stage), 60)
        assert held is not None
        assert held.job.id == job_id
        return held

    return claim


@pytest.fixture
def put(engine: Engine) -> Callable[..., None]:
    """Force columns of a job, whatever the verbs would allow."""

    def force(job_id: int, **columns: Any) -> None:
        with engine.begin() as connection:
            connection.execute(
                update(jobs_table).where(jobs_table.c.id == job_id).values(**columns)
            )

    return force


@pytest.fixture
def dump(engine: Engine) -> Callable[[], dict[str, list[tuple[Any, ...]]]]:
    """Every row of every table."""

    def everything() -> dict[str, list[tuple[Any, ...]]]:
        with engine.begin() as connection:
            return {
                table.name: [tuple(row) for row in connection.execute(table.select())]
                for table in metadata.sorted_tables
            }

    return everything
