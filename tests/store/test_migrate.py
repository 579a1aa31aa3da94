from __future__ import annotations

import errno
import logging
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, text

from tests.acceptance.conftest import until
from tests.postgresql import Cluster
from uploader.core.errors import NotFound, StoreError, UsageError
from uploader.store.database import migrate, postgresql
from uploader.store.database import workers as locks
from uploader.store.database.dialect import ChangeWatch, open_engine
from uploader.store.database.postgresql import connected_workers
from uploader.store.database.workers import WorkerLock
from uploader.store.indexes import metadata
from uploader.store.jobs import Jobs


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Engine]:
    engine = open_engine(f"sqlite:///{tmp_path}/empty.db")
    yield engine
    engine.dispose()


on_postgresql = pytest.mark.parametrize("backend", ["postgresql"], indirect=True)

#: The version of this program, and one that comes after it.
BEFORE, NEXT = migrate.HEAD, "next"
NEXT_VERSION = f"""
from alembic import op
import sqlalchemy as sa
revision = "{NEXT}"
down_revision = "{migrate.HEAD}"

def upgrade():
    rebuilt = "always" if op.get_bind().dialect.name == "sqlite" else "never"
    with op.batch_alter_table("jobs", recreate=rebuilt) as batch:
        batch.add_column(sa.Column("extra", sa.String))
"""


@pytest.fixture
def next_version(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This program, once it has a store, learns one more version, which rebuilds the jobs table."""
    del engine
    scripts = tmp_path / "100% migrations"
    shutil.copytree(migrate.migrations_dir(), scripts, ignore=shutil.ignore_patterns("__pycache__"))
    (scripts / "versions" / "next.py").write_text(NEXT_VERSION)
    monkeypatch.setattr(migrate, "migrations_dir", lambda: scripts)
    monkeypatch.setattr(migrate, "VERSIONS", (*migrate.VERSIONS, NEXT))
    monkeypatch.setattr(migrate, "HEAD", NEXT)


def _schema(path: Path) -> dict[str, list[str]]:
    """The words of each table and index; what stands between its commas, in any order."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
        return {name: _parts(sql) for name, sql in rows}


def _parts(sql: str) -> list[str]:
    head, _, body = re.sub(r"\s+", " ", sql.replace('"', "")).partition("(")
    # A comma within brackets parts nothing.
    parts = re.split(r",\s*(?![^()]*\))", body.rpartition(")")[0])
    return [head.strip(), *sorted(part.strip() for part in parts)]


def test_the_versions_are_those_of_the_scripts() -> None:
    config = Config()
    config.set_main_option("script_location", str(migrate.migrations_dir()))
    scripts = ScriptDirectory.from_config(config).walk_revisions()
    assert tuple(script.revision for script in scripts)[::-1] == migrate.VERSIONS


def test_an_empty_store_is_created(empty: Engine, tmp_path: Path) -> None:
    assert migrate.current_version(empty) is None
    with pytest.raises(StoreError):
        migrate.require_head(empty)
    migrate.ensure(empty, tmp_path)
    assert migrate.current_version(empty) == migrate.HEAD
    migrate.require_head(empty)
    assert Jobs(empty).jobs() == []
    assert not list(tmp_path.glob("*.backup-*"))


def test_the_migrated_schema_is_the_one_of_the_tables(engine: Engine, tmp_path: Path) -> None:
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    # Alembic does not compare CHECK constraints and AUTOINCREMENT: compare the very words.
    drawn = open_engine(f"sqlite:///{tmp_path}/drawn.db")
    metadata.create_all(drawn)
    drawn.dispose()
    migrated = _schema(Path(str(engine.url.database)))
    del migrated["alembic_version"]
    assert migrated == _schema(tmp_path / "drawn.db")


_CONSTRAINTS = text(
    "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
    " WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text <> :stamp"
    " UNION SELECT tablename, indexname, indexdef FROM pg_indexes"
    " WHERE schemaname = 'public' AND tablename <> :stamp"
    " UNION SELECT table_name, column_name, concat_ws(' ', data_type, collation_name,"
    " is_nullable, column_default) FROM information_schema.columns"
    " WHERE table_schema = 'public' AND table_name <> :stamp"
)


def _postgresql_schema(engine: Engine) -> set[tuple[str, ...]]:
    with engine.begin() as connection:
        return {
            tuple(row) for row in connection.execute(_CONSTRAINTS, {"stamp": "alembic_version"})
        }


@on_postgresql
def test_the_migrated_schema_of_postgresql_is_the_one_of_the_tables(
    engine: Engine, postgresql: Cluster
) -> None:
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    with postgresql.database() as name:
        drawn = open_engine(postgresql.url(name))
        metadata.create_all(drawn)
        assert _postgresql_schema(engine) == _postgresql_schema(drawn)
        drawn.dispose()


def test_at_head_nothing_happens(engine: Engine, tmp_path: Path) -> None:
    with WorkerLock(tmp_path), locks.exclusive(tmp_path / locks.MIGRATION_LOCK):
        migrate.ensure(engine, tmp_path)  # waits for nobody


def test_a_newer_store_is_refused(engine: Engine, tmp_path: Path) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for use in (migrate.require_head, lambda engine: migrate.ensure(engine, tmp_path)):
        with pytest.raises(StoreError) as raised:
            use(engine)
        assert (raised.value.code, raised.value.exit_code) == ("newer", 11)
        assert raised.value.hint


def test_tables_of_another_program_are_refused(empty: Engine, tmp_path: Path) -> None:
    with empty.begin() as connection:
        connection.execute(text("CREATE TABLE songs (id INTEGER)"))
    with pytest.raises(StoreError) as raised:
        migrate.ensure(empty, tmp_path)
    assert raised.value.code == "foreign"


@pytest.mark.usefixtures("next_version")
def test_an_older_store_is_backed_up_and_migrated(
    engine: Engine, database: Path, enqueue: Callable[..., int], tmp_path: Path
) -> None:
    job_id = enqueue()
    with pytest.raises(StoreError) as raised:
        migrate.require_head(engine)
    assert raised.value.code == "older"
    migrate.ensure(engine, tmp_path)
    assert migrate.current_version(engine) == NEXT
    assert Jobs(engine).job(job_id).files_total == 2
    assert "extra VARCHAR" in _schema(database)["jobs"]

    backup = database.with_name(f"uploader.db.backup-{BEFORE}")
    old = open_engine(f"sqlite:///{backup}")
    assert migrate.current_version(old) == BEFORE
    assert [job.id for job in Jobs(old).jobs()] == [job_id]
    old.dispose()
    assert not list(tmp_path.glob("*.part"))
    with engine.connect() as connection:
        assert connection.scalar(text("PRAGMA foreign_keys")) == 1


@pytest.mark.usefixtures("next_version")
def test_an_older_store_is_left_alone_while_a_worker_lives(engine: Engine, tmp_path: Path) -> None:
    with WorkerLock(tmp_path), pytest.raises(StoreError) as raised:
        migrate.ensure(engine, tmp_path)
    assert "restart" in raised.value.hint
    assert migrate.current_version(engine) == BEFORE
    assert not list(tmp_path.glob("*.backup-*"))


@pytest.mark.usefixtures("next_version")
def test_a_migration_that_breaks_leaves_the_old_version(
    engine: Engine, tmp_path: Path, enqueue: Callable[..., int]
) -> None:
    enqueue()
    script = migrate.migrations_dir() / "versions" / "next.py"
    script.write_text(NEXT_VERSION + "    raise RuntimeError('half-way')\n")
    with pytest.raises(RuntimeError, match="half-way"):
        migrate.ensure(engine, tmp_path)
    assert migrate.current_version(engine) == BEFORE
    assert len(Jobs(engine).jobs()) == 1


@on_postgresql
@pytest.mark.usefixtures("next_version")
def test_postgresql_is_migrated_and_says_that_there_is_not_a_backup(
    engine: Engine, enqueue: Callable[..., int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    job_id = enqueue()
    migrate.ensure(engine, tmp_path)
    assert migrate.current_version(engine) == NEXT
    assert Jobs(engine).job(job_id).files_total == 2
    assert "pg_dump" in caplog.text
    assert [path.name for path in tmp_path.glob("*.backup*")] == []


@on_postgresql
@pytest.mark.usefixtures("next_version")
def test_postgresql_is_left_alone_while_a_worker_lives_on_whatever_machine(
    engine: Engine, tmp_path: Path
) -> None:
    with closing(ChangeWatch(engine)), pytest.raises(StoreError) as raised:
        migrate.ensure(engine, tmp_path)
    assert raised.value.code == "older"
    assert migrate.current_version(engine) == BEFORE
    until(lambda: not connected_workers(engine))  # the server ends a connection in its own time
    migrate.ensure(engine, tmp_path)
    assert migrate.current_version(engine) == NEXT


@on_postgresql
@pytest.mark.usefixtures("next_version")
def test_who_migrates_waits_for_another_machine_that_does(
    engine: Engine, postgresql_url: str, tmp_path: Path
) -> None:
    hasty = open_engine(postgresql_url, busy_timeout_s=0.05)
    with postgresql.migrating(engine):
        with pytest.raises(StoreError) as raised:
            migrate.ensure(hasty, tmp_path)
        assert raised.value.code == "locked"
    migrate.ensure(hasty, tmp_path)
    hasty.dispose()
    assert migrate.current_version(engine) == NEXT


@on_postgresql
def test_no_worker_begins_while_another_machine_migrates(
    engine: Engine, postgresql_url: str
) -> None:
    hasty = open_engine(postgresql_url, busy_timeout_s=0.05)
    with postgresql.migrating(engine) as connection:
        assert postgresql.keep_workers_out(connection)
        with pytest.raises(StoreError) as raised:
            ChangeWatch(hasty)
        assert raised.value.code == "locked"
    with closing(ChangeWatch(hasty)) as watch:
        assert not watch.changed()
    hasty.dispose()


@on_postgresql
def test_a_worker_that_was_cut_off_during_a_migration_goes_no_further(engine: Engine) -> None:
    with closing(ChangeWatch(engine)) as watch:
        with engine.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        for _ in "ab":
            with pytest.raises(StoreError) as raised:  # at the latest when the server is asked
                until(watch.changed)
            assert (raised.value.code, raised.value.exit_code) == ("newer", 11)


def test_a_backup_replaces_an_earlier_one_and_is_a_single_file(
    engine: Engine, tmp_path: Path, enqueue: Callable[..., int]
) -> None:
    enqueue()
    target = tmp_path / "copies" / "copy.db"
    target.parent.mkdir()
    target.write_text("an earlier one")
    migrate.backup(engine, target)
    assert [path.name for path in target.parent.iterdir()] == ["copy.db"]
    with closing(sqlite3.connect(target)) as copy:
        assert copy.execute("SELECT count(*) FROM jobs").fetchone() == (1,)


def test_a_backup_that_cannot_be_written(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        migrate.backup(engine, tmp_path / "nowhere" / "copy.db")


def test_migrating_is_quiet(
    empty: Engine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        migrate.ensure(empty, tmp_path)
    assert caplog.records == []


_STATUS = """
import sys
from uploader.store.database import dialect, migrate
from uploader.store.jobs import Jobs
engine = dialect.open_engine("sqlite:///" + sys.argv[1])
migrate.require_head(engine)
Jobs(engine).jobs()
engine.dispose()
assert not [name for name in sys.modules if name.startswith(("alembic", "psycopg"))]
"""


def test_status_never_imports_alembic_nor_a_driver_it_does_not_need(database: Path) -> None:
    subprocess.run(
        [sys.executable, "-c", _STATUS, str(database)], check=True, cwd=Path(__file__).parents[2]
    )


def test_a_saved_copy_replaces_only_the_last_of_its_own(engine: Engine, tmp_path: Path) -> None:
    beside = tmp_path / "uploader.db.backup"
    assert [migrate.save(engine, tmp_path, None) for _ in "ab"] == [beside, beside]
    named = tmp_path / "mine.db"
    assert migrate.save(engine, tmp_path, named) == named
    for taken in (named, tmp_path):
        with pytest.raises(UsageError, match="already exists"):
            migrate.save(engine, tmp_path, taken)
    with pytest.raises(NotFound):
        migrate.save(engine, tmp_path, tmp_path / "nowhere" / "copy.db")


def test_a_copy_that_fails_leaves_nothing(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(StoreError) as raised:
        migrate.save(engine, tmp_path, None)
    assert raised.value.code == "disk_full"
    assert not list(tmp_path.glob("*.backup*"))
