"""A SQLite file that was put back, with tables that no migration makes (SECURITY.md)."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Engine

from uploader.core.errors import StoreError
from uploader.store.database import migrate, schema, sqlite
from uploader.store.database.dialect import open_engine

HUGE = (1 << 63) - 1
#: From here on uploader itself would reach one that is refused.
NEAR = (1 << 52) + 1
TRIGGER = "TRIGGER t AFTER INSERT ON files BEGIN DELETE FROM files; END"


def refused(engine: Engine) -> str:
    with pytest.raises(StoreError) as caught:
        migrate.require_head(engine)
    assert caught.value.hint
    return caught.value.message


def rewrite(database: Path, table: str, old: str, new: str) -> None:
    """As whoever may write the file does it."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("PRAGMA writable_schema = ON")
        query = "UPDATE sqlite_master SET sql = replace(sql, ?, ?) WHERE name = ?"
        assert connection.execute(query, (old, new, table)).rowcount == 1


def test_the_tables_of_a_new_store_are_known_without_making_another(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "_made", None)
    migrate.require_head(open_engine(f"sqlite:///{database}"))


def test_tables_that_another_sqlalchemy_spells_are_compared_with_those_that_it_makes(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "SHA256", "of another version")
    migrate.require_head(open_engine(f"sqlite:///{database}"))


@pytest.mark.parametrize(
    ("table", "old", "new"),
    [
        ("jobs", "created_remotely BOOLEAN DEFAULT 0", "created_remotely BOOLEAN DEFAULT 1"),
        ("files", "stored BOOLEAN DEFAULT 0", "stored BOOLEAN DEFAULT 1"),
        ("events", "message TEXT NOT NULL", "message TEXT CHECK (length(hex(zeroblob(9))))"),
        ("jobs", "seal TEXT", "seal TEXT, x AS (hex(zeroblob(9)))"),
        ("jobs_by_model", "(model_id)", "(hex(zeroblob(9)))"),
        ("events_by_job", "seq)", "seq) WHERE hex(zeroblob(9)) > ''"),
        ("hooks", "PRIMARY KEY (name)", "PRIMARY KEY (name) ON CONFLICT IGNORE"),
        ("hooks", "PRIMARY KEY (name)", f"PRIMARY KEY (name) /* {',' * 5_000_000} */"),
        ("jobs", "'upload'", "'up load'"),
        ("jobs", "attempts INTEGER DEFAULT 0 NOT NULL", "attempts INTEGERDEFAULT0NOTNULL"),
        ("events", "kind VARCHAR NOT NULL", 'kind VARCHAR "NOT" "NULL"'),
        ("events", "path TEXT", f'"path TEXT{" " * 9000}" TEXT, path TEXT DEFAULT 1'),
        ("jobs_one_open_per_model", "'active'", "' active'"),
        ("jobs_to_send", "base_url, priority", "priority, base_url"),
        ("files", "BOOLEAN DEFAULT 0 NOT NULL", "BOOLEAN\u00a0DEFAULT\u00a00\u00a0NOT\u00a0NULL"),
    ],
)
def test_a_table_that_is_not_as_it_was_made_is_refused(
    database: Path, table: str, old: str, new: str
) -> None:
    rewrite(database, table, old, new)
    assert "tables that uploader has not made" in refused(open_engine(f"sqlite:///{database}"))


def test_so_is_an_index_that_it_never_makes(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE INDEX mine ON Files (hex(path))")
    assert "tables that uploader has not made" in refused(open_engine(f"sqlite:///{database}"))


def test_so_are_those_that_an_earlier_sqlalchemy_has_made(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("PRAGMA writable_schema = ON")
        query = "UPDATE sqlite_master SET sql = replace(sql, 'DEFAULT 0', 'DEFAULT (0)')"
        connection.execute(query)
    migrate.require_head(open_engine(f"sqlite:///{database}"))


@pytest.mark.parametrize("column", ["updated_at", "id"])
def test_so_is_a_table_that_refers_to_ours(database: Path, column: str) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute(f"CREATE TABLE other (a TEXT REFERENCES JOBS ({column}))")
    assert "tables that uploader has not made" in refused(open_engine(f"sqlite:///{database}"))


def test_so_is_a_file_in_another_encoding(tmp_path: Path, database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        rows = "\n".join(line for line in connection.iterdump() if "sqlite_sequence" not in line)
    other = tmp_path / "private" / "uploader.db"
    other.parent.mkdir(mode=0o700)
    with closing(sqlite3.connect(other)) as connection:
        connection.executescript(f"PRAGMA encoding = 'UTF-16le'; {rows}")
    other.chmod(0o600)
    assert "UTF-16" in refused(open_engine(f"sqlite:///{other}"))


def test_a_copy_of_its_words_is_as_good(tmp_path: Path, database: Path) -> None:
    """What `.dump` prints, read again."""
    with closing(sqlite3.connect(database)) as connection:
        rows = "\n".join(connection.iterdump())
    other = tmp_path / "private" / "uploader.db"
    other.parent.mkdir(mode=0o700)
    with closing(sqlite3.connect(other)) as connection:
        connection.executescript(rows)
    other.chmod(0o600)
    migrate.require_head(open_engine(f"sqlite:///{other}"))


def test_nor_does_a_quote_in_a_comment_hide_its_brackets(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute('CREATE TABLE other /*"*/ (a /*"*/)')
    assert "tables that uploader has not made" in refused(open_engine(f"sqlite:///{database}"))


def test_a_thousand_indexes_are_refused_at_once(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        for number in range(1000):
            connection.execute(f"CREATE INDEX x{number} ON jobs ({','.join(['id'] * 600)})")
    assert "tables that uploader has not made" in refused(open_engine(f"sqlite:///{database}"))


def test_tables_of_litestream_and_the_statistics_of_sqlite_may_be_there(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.executescript(
            "CREATE TABLE IF NOT EXISTS _litestream_seq (id INTEGER PRIMARY KEY, seq INTEGER);"
            "CREATE TABLE IF NOT EXISTS _litestream_lock (id INTEGER); ANALYZE"
        )
    migrate.require_head(open_engine(f"sqlite:///{database}"))


#: SQLite reads what makes it, and does not mind what kind a row says it is.
HIDDEN = ["UPPER(type)", "CAST(type AS BLOB)", "type || char(0)", "NULL", "'table'"]


@pytest.mark.parametrize("version", [migrate.HEAD, "0018"])
@pytest.mark.parametrize("kind", HIDDEN)
@pytest.mark.parametrize("what", ["VIEW t AS SELECT 1", TRIGGER, "VIRTUAL TABLE t USING fts5(a)"])
def test_what_acts_on_our_writes_cannot_be_called_something_else(
    database: Path, what: str, kind: str, version: str
) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(f"CREATE {what}")
        connection.execute(f"UPDATE alembic_version SET version_num = '{version}'")
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(f"UPDATE sqlite_master SET type = {kind} WHERE name = 't'")
    said = refused(open_engine(f"sqlite:///{database}"))
    assert "'t'" in said or "damaged" in said, "some kinds are too much for some versions of SQLite"


@pytest.mark.parametrize("kind", [*HIDDEN, "type", "'index'"])
@pytest.mark.parametrize("what", ["INDEX t ON files (hex(path))", "TABLE t (a REFERENCES jobs)"])
def test_nor_can_a_table_or_an_index(database: Path, what: str, kind: str) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(f"CREATE {what}")
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(f"UPDATE sqlite_master SET type = {kind} WHERE name = 't'")
    refused(open_engine(f"sqlite:///{database}"))


def test_an_older_store_is_refused_once_it_is_migrated(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("ALTER TABLE jobs DROP COLUMN files_run")
        connection.execute("UPDATE alembic_version SET version_num = '0018'")
    rewrite(database, "files", "stored BOOLEAN DEFAULT 0", "stored BOOLEAN DEFAULT 1")
    engine = open_engine(f"sqlite:///{database}")
    with pytest.raises(StoreError, match="has not made"):
        migrate.ensure(engine, database.parent)
    refused(engine)


@pytest.mark.parametrize(
    "statement",
    [
        f"INSERT INTO events (seq, job_id, at, kind, message) VALUES ({HUGE}, 1, '', '', '')",
        f"INSERT INTO sqlite_sequence (name, seq) VALUES ('jobs', {HUGE})",
        f"INSERT INTO sqlite_sequence (name, seq) VALUES ('jobs', {NEAR})",
        f"INSERT INTO sqlite_sequence (name, seq) VALUES ('events', '{HUGE}')",
        f"INSERT INTO moves (id, owner, at, files, message) VALUES ({HUGE}, '', '', 1, '')",
    ],
)
def test_a_row_after_which_there_can_be_no_other_is_told_for_what_it_is(
    database: Path, statement: str
) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(statement)
    assert "a number that uploader never gives" in refused(open_engine(f"sqlite:///{database}"))


def test_a_view_is_named(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE VIEW v AS SELECT 1")
    engine = open_engine(f"sqlite:///{database}")
    assert "'v'" in refused(engine)
    with engine.connect() as connection:
        assert sqlite.strangers(connection) == ["v"]
