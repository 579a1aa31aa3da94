"""A child keeps no connection to the job table of its parent, and has no locks of its own there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psycopg

from tests.acceptance.conftest import until
from tests.forking import Forking, forking

__all__ = ["forking"]
#: The sessions of this database, but for those of the tests themselves.
_OTHERS = (
    "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
    " AND backend_type = 'client backend' AND pid <> ALL(%s)"
)
_DATABASE = """
import contextlib
from sqlalchemy import text
from uploader.store.database.dialect import (
    ChangeWatch, connected_workers, open_engine, writing
)
engine = open_engine(place)
watch = ChangeWatch(engine, "mine")
with engine.connect() as idle, writing(engine).begin() as busy:
    busy.execute(text("SELECT 1"))
    idle.execute(text("SELECT 1"))
    %s
"""


def test_no_connection_to_postgresql_outlives_its_process_although_its_child_lives(
    postgresql_url: str, forking: Callable[[str, str], Forking]
) -> None:
    parent = forking(_DATABASE % "wait_for_fork()", postgresql_url)
    parent.fork()
    with psycopg.connect(postgresql_url, autocommit=True) as connection:
        ours = [connection.info.backend_pid]
        assert len(connection.execute(_OTHERS, [ours]).fetchall()) == 3
        parent.kill_parent()
        until(lambda: not connection.execute(_OTHERS, [ours]).fetchall())


def test_a_child_says_nothing_to_postgresql_in_the_name_of_its_parent(
    postgresql_url: str, forking: Callable[[str, str], Forking]
) -> None:
    body = """
    def leave():
        for one in (idle, busy):
            with contextlib.suppress(Exception):
                one.rollback()
        watch.close()
        with engine.connect() as own:
            print(own.scalar(text("SELECT 2")), flush=True)
    print("ready", flush=True)
    os.waitpid(fork(leave), 0)
    print(busy.scalar(text("SELECT 3")), idle.scalar(text("SELECT 4")), flush=True)
    print(watch.changed(), *connected_workers(engine), flush=True)
    """
    parent = forking(_DATABASE % body.strip(), postgresql_url)
    assert parent.line() == "2"
    assert parent.line() == "3 4"
    assert parent.line() == "False mine"


_FILE = """
from uploader.core.errors import UploaderError
from uploader.store.database.dialect import open_engine
def count():
    engine = open_engine(place)
    with engine.connect() as connection:
        print(connection.exec_driver_sql("SELECT count(*) FROM jobs").scalar(), flush=True)
    engine.dispose()
def tried():
    try:
        count()
    except UploaderError as error:
        print(error.message, flush=True)
print("ready", flush=True)
"""
_USED = """
with open_engine(place).connect() as connection:
    connection.exec_driver_sql("SELECT count(*) FROM jobs")
    os.waitpid(fork(tried), 0)
    count()
"""


def test_a_child_opens_no_sqlite_file_that_its_parent_uses(
    database: Path, forking: Callable[[str, str], Forking]
) -> None:
    """It would believe that it has the parent's locks, and read what others overwrite."""
    parent = forking(_FILE + _USED, f"sqlite:///{database}")
    assert "SQLite cannot lock it here" in parent.line()
    assert parent.line() == "0"


def test_a_child_opens_a_sqlite_file_that_its_parent_has_closed(
    database: Path, forking: Callable[[str, str], Forking]
) -> None:
    body = "count()\nos.waitpid(fork(tried), 0)"
    parent = forking(_FILE + body, f"sqlite:///{database}")
    assert [parent.line(), parent.line()] == ["0", "0"]
