from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError

from tests.sqlite import sqlite_url
from uploader.core.errors import StoreError, UsageError
from uploader.store.database import migrate
from uploader.store.database.dialect import ChangeWatch, open_engine, store_errors
from uploader.store.database.state_folder import private_folder
from uploader.store.jobs import Jobs

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@pytest.fixture
def no_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def _mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.mark.usefixtures("no_umask")
def test_everything_is_private_whatever_the_umask(tmp_path: Path) -> None:
    state = tmp_path / "a" / "state"
    database = state / "uploader.db"
    engine = open_engine(f"sqlite:///{database}")
    migrate.ensure(engine, state)
    with engine.begin() as connection:
        connection.execute(text("SELECT * FROM jobs"))
        present = {path.name: _mode(path) for path in state.iterdir()}
    migrate.backup(engine, state / "copy.db")
    engine.dispose()
    assert present == dict.fromkeys(
        ("uploader.db", "uploader.db-wal", "uploader.db-shm", "migrate.lock"), 0o600
    )
    assert _mode(state / "copy.db") == 0o600
    assert (_mode(state), _mode(state.parent)) == (0o700, 0o700)


def test_pragmas_of_every_connection(database: Path) -> None:
    engine = open_engine(f"sqlite:///{database}")
    with engine.connect() as one, engine.connect() as two:
        for connection in (one, two):
            pragmas = {
                name: connection.scalar(text(f"PRAGMA {name}"))
                for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            }
            assert pragmas == {
                "journal_mode": "wal",
                "synchronous": 2,
                "foreign_keys": 1,
                "busy_timeout": 30_000,
            }
    engine.dispose()


@pytest.mark.parametrize(
    "url",
    [
        "mysql://u:hunter2@h/db",
        "postgresql+asyncpg://u:hunter2@h/db",
        "postgresql://u:hunter2@h:port/db",
        "sqlite://",
        "sqlite:///:memory:",
        "hunter2 is no url",
        "postgresql://u@h/db?port=hunter2",
        "postgresql://u@h/db?plugin=hunter2",
        "postgresql://u@h/db?host=a,hunter2&port=1,2,3",
    ],
)
def test_other_databases_are_refused_without_repeating_the_url(url: str) -> None:
    with pytest.raises(UsageError) as raised:
        open_engine(url)
    assert raised.value.hint
    assert "hunter2" not in raised.value.message


@pytest.mark.parametrize("name", ["plain.db", "a b%20#.db", "q?mode=ro&x.db", "ü%.db"])
def test_a_url_names_the_file_whatever_characters_its_path_has(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    engine = open_engine(sqlite_url(path))
    migrate.ensure(engine, tmp_path)
    engine.dispose()
    assert path.stat().st_size > 0


def test_a_relative_path_starts_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    open_engine("sqlite:///x.db").dispose()
    assert (tmp_path / "x.db").exists()


def test_a_file_that_is_not_a_database(tmp_path: Path) -> None:
    path = tmp_path / "uploader.db"
    path.write_text("this is a letter, not a database\n" * 100)
    engine = open_engine(f"sqlite:///{path}")
    with pytest.raises(StoreError) as raised:
        migrate.ensure(engine, tmp_path)
    assert (raised.value.code, raised.value.exit_code) == ("corrupt", 11)
    assert raised.value.hint
    engine.dispose()


def test_a_folder_in_place_of_the_database(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as raised:
        open_engine(f"sqlite:///{tmp_path}")
    assert raised.value.code == "gone"


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with pytest.raises(StoreError):
        open_engine(f"sqlite:///{tmp_path}/state/uploader.db")


def test_another_connection_holds_the_lock(database: Path, new: Callable[..., object]) -> None:
    engine = open_engine(f"sqlite:///{database}", busy_timeout_s=0.01)
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError) as raised:
            Jobs(engine).enqueue(new(), NOW)  # type: ignore[arg-type]
        assert raised.value.code == "locked"
        assert Jobs(engine).jobs() == [], "reading goes on"
        other.execute("ROLLBACK")
    engine.dispose()


def test_a_deleted_store_is_noticed_and_not_replaced(
    engine: Engine, database: Path, enqueue: Callable[..., int]
) -> None:
    enqueue()
    database.unlink()
    with pytest.raises(StoreError) as raised:
        enqueue("n")
    assert raised.value.code == "gone"
    engine.dispose()
    with pytest.raises(StoreError):
        Jobs(engine).jobs()
    assert not database.exists()


def test_a_full_or_read_only_store(engine: Engine, enqueue: Callable[..., int]) -> None:
    with engine.connect() as connection:
        pages = connection.scalar(text("PRAGMA page_count"))
        connection.execute(text(f"PRAGMA max_page_count = {pages}"))
        connection.rollback()
    with pytest.raises(StoreError) as raised:
        enqueue(sizes={f"{n:0200}": 1 for n in range(500)})
    assert raised.value.code == "disk_full"
    with engine.connect() as connection:
        connection.execute(text("PRAGMA query_only = ON"))
        connection.rollback()
    with pytest.raises(StoreError) as raised:
        enqueue()
    assert raised.value.code == "read_only"


def test_a_wrong_statement_is_a_bug_and_prints_no_parameter(engine: Engine) -> None:
    with pytest.raises(OperationalError) as raised, store_errors(), engine.begin() as connection:
        connection.execute(text("SELECT :secret FROM nowhere"), {"secret": "hunter2"})
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (PermissionError(13, "x"), "read_only"),
        (OSError(28, "x"), "disk_full"),
        (FileNotFoundError(2, "x"), "gone"),
        (OSError(5, "x"), "io"),
    ],
)
def test_errors_of_the_disk(error: OSError, code: str) -> None:
    with pytest.raises(StoreError) as raised, store_errors():
        raise error
    assert raised.value.code == code


def test_change_watch_sees_others_and_stays_calm_otherwise(
    engine: Engine, enqueue: Callable[..., int]
) -> None:
    with closing(ChangeWatch(engine)) as watch:
        assert not watch.changed()
        enqueue()
        assert watch.changed()
        assert not watch.changed()


def test_an_existing_folder_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    private_folder(tmp_path / "state")
    assert (_mode(tmp_path), _mode(tmp_path / "state")) == (0o755, 0o700)
