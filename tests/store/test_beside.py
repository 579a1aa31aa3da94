"""What lies beside a SQLite table that was put back, and is read before the table (SECURITY.md)."""

from __future__ import annotations

import sqlite3
import struct
from contextlib import closing
from pathlib import Path

import pytest

from uploader.core.errors import UsageError
from uploader.store.database import migrate
from uploader.store.database import sqlite as sqlite_room
from uploader.store.database.dialect import open_engine

MAGIC = bytes.fromhex("d9d505f920a163d7")
SECTOR = 512


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    file = tmp_path / "precious"
    file.write_text("the only copy")
    return file


def journal(database: Path, *, other: Path | None) -> bytes:
    """One without a page, as of a transaction that was cut; ``other``: its super-journal."""
    raw = database.read_bytes()
    page = struct.unpack(">H", raw[16:18])[0]
    head = MAGIC + struct.pack(">IIIII", 0, 1, len(raw) // page, SECTOR, page)
    if other is None:
        return head.ljust(SECTOR, b"\0")
    name = bytes(other)
    end = struct.pack(">II", len(name), sum(name)) + MAGIC
    return head.ljust(SECTOR, b"\0") + struct.pack(">I", (1 << 30) // page + 1) + name + end


def opened(database: Path) -> None:
    engine = open_engine(f"sqlite:///{database}")
    try:
        migrate.require_head(engine)
    finally:
        engine.dispose()


def beside(database: Path, end: str) -> Path:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")  # as that of a copy
    return database.with_name(f"{database.name}{end}")


def test_a_journal_that_names_another_file_is_refused(database: Path, precious: Path) -> None:
    file = beside(database, "-journal")
    file.write_bytes(journal(database, other=precious))
    with pytest.raises(UsageError, match="names another file") as refused:
        opened(database)
    assert "remove it" in refused.value.hint
    assert precious.exists()
    file.unlink()
    opened(database)


def test_that_is_what_sqlite_does_with_it(database: Path, precious: Path) -> None:
    """Or the test above would show nothing."""
    file = beside(database, "-journal")
    file.write_bytes(journal(database, other=precious))
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("SELECT count(*) FROM jobs").fetchall()
    assert not precious.exists()


@pytest.mark.parametrize("content", [b"", b"\0" * SECTOR, MAGIC[:4]])
def test_a_journal_of_a_transaction_that_was_cut_is_played_back(
    database: Path, content: bytes
) -> None:
    file = beside(database, "-journal")
    file.write_bytes(content or journal(database, other=None))
    opened(database)


@pytest.mark.parametrize("end", ["-wal", "-shm", "-journal"])
def test_one_that_its_last_user_removes_meanwhile_is_no_error_and_is_not_made(
    database: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    gone = beside(database, end)
    exists = Path.exists
    monkeypatch.setattr(Path, "exists", lambda path: path == gone or exists(path))
    sqlite_room.open_file(database, busy_timeout_s=1).dispose()
    assert not gone.is_file()


@pytest.mark.parametrize("end", ["-wal", "-shm", "-journal"])
@pytest.mark.parametrize("leads", ["to a file", "nowhere"])
def test_a_link_in_its_place_is_refused(
    database: Path, precious: Path, end: str, leads: str
) -> None:
    missing = precious.with_name("missing")
    file = beside(database, end)
    file.symlink_to(precious if leads == "to a file" else missing)
    with pytest.raises(UsageError, match="is a link") as refused:
        opened(database)
    assert "remove" in refused.value.hint
    assert precious.read_text() == "the only copy"
    assert not missing.exists()
    file.unlink()
    opened(database)
