"""Nothing but SQLite opens the job table of a process: closing it would release SQLite's locks.

Then the next command that ends would take itself for the last one that uses the table, and remove
its log: what this process writes from then on would be lost.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError

from tests.sqlite import sqlite_url
from uploader import files
from uploader.core.errors import SourceChanged
from uploader.core.job import ManifestFile
from uploader.files import NotAFile
from uploader.model.fingerprint import fingerprint_of
from uploader.model.folder import scan
from uploader.model.links import Private
from uploader.sources.local import opened
from uploader.store.database import sqlite
from uploader.store.database.dialect import open_engine

READ = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); print(c.execute('SELECT x FROM t')"
READ += ".fetchall()); c.close()"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tmp_path / "state" / "uploader.db"


@pytest.fixture
def engine(table: Path) -> Iterator[Engine]:
    table.parent.mkdir(mode=0o700)
    engine = open_engine(sqlite_url(table))
    write(engine, "CREATE TABLE t (x)")
    yield engine
    engine.dispose()


def write(engine: Engine, statement: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement))


def another_command(table: Path) -> str:
    command = [sys.executable, "-c", READ, str(table)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def of_a_folder(path: Path) -> None:
    linked = fingerprint_of(path.stat(), str(path))
    opened(path.parent, ManifestFile(path.name, path.stat().st_size, linked))


def test_the_table_is_kept_before_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, asked = tmp_path / "t.db", list[str]()
    path.touch(mode=0o600)

    def prepare(_: object) -> None:
        with pytest.raises(NotAFile):
            files.read(path, 10)
        asked.append("read")
        raise sqlite3.OperationalError

    monkeypatch.setattr(sqlite, "_prepare", prepare)
    engine = sqlite.open_file(path, 1.0)
    with pytest.raises(OperationalError):
        engine.connect()
    assert asked == ["read"]
    assert files.read(path, 10)[0] == b"", "and no longer"


WAYS: dict[str, Callable[[Path], object]] = {
    "read": lambda path: files.read(path, 10),
    "opened": lambda path: files.opened(path).__enter__(),
    "of a folder": of_a_folder,
}


@pytest.mark.parametrize("at", ["named", "link", "hard link"])
@pytest.mark.parametrize("which", ["uploader.db", "uploader.db-shm"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("raced", [False, True])
def test_no_way_to_open_it_takes_the_locks_away(  # noqa: PLR0917 - one for each choice
    engine: Engine,
    table: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    at: str,
    which: str,
    way: str,
    *,
    raced: bool,
) -> None:
    target = path = table.with_name(which)
    assert target.exists()
    folder = tmp_path / "model"
    folder.mkdir()
    if at == "link":
        path = folder / "config.json"
        path.symlink_to(target)
    elif at == "hard link":
        path = folder / "config.json"
        os.link(target, path)
    if raced:  # it was another file when it was looked at
        check = files._check
        monkeypatch.setattr(files, "_HAS_PLACES", False)
        monkeypatch.setattr(
            files, "_check", lambda at, *how, **more: at and check(at, *how, **more)
        )
    with pytest.raises((NotAFile, SourceChanged)):
        WAYS[way](path)
    assert another_command(table) == "[]"
    write(engine, "INSERT INTO t VALUES (1)")
    assert another_command(table) == "[(1,)]"


def test_nor_is_what_lies_beside_a_table_that_is_a_link(tmp_path: Path) -> None:
    table, real = tmp_path / "state" / "uploader.db", tmp_path / "data" / "table.db"
    for path in (table, real):
        path.parent.mkdir(mode=0o700)
    real.touch(mode=0o600)
    table.symlink_to(real)
    engine = open_engine(sqlite_url(table))
    try:
        write(engine, "CREATE TABLE t (x)")
        for path in (real, real.with_name("table.db-shm")):
            with pytest.raises(NotAFile):
                files.read(path, 1)
    finally:
        engine.dispose()


def test_a_folder_with_a_link_to_it_is_refused(engine: Engine, table: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").symlink_to(table)
    for private in (Private((table,)), Private()):
        (finding,) = scan(folder, private=private).findings
        assert finding.severity == "error"
    assert another_command(table) == "[]"
    write(engine, "INSERT INTO t VALUES (1)")
    assert another_command(table) == "[(1,)]"


def test_the_number_of_a_table_that_is_gone_is_any_files(
    engine: Engine, table: Path, tmp_path: Path
) -> None:
    """Its connections are there yet, and the next file may get its number."""
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
        table.rename(tmp_path / "model.bin")  # as good as that
        assert files.read(tmp_path / "model.bin", 6)[0] == b"SQLite"


def test_once_nobody_uses_it_its_numbers_are_those_of_any_file(engine: Engine, table: Path) -> None:
    with pytest.raises(NotAFile):
        files.read(table, 10)
    engine.dispose()
    found: Any = files.read(table, 6)[0]
    assert found == b"SQLite"
