"""What the server's errors mean; none of them shows a secret, a parameter or a row."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Engine, make_url, text
from sqlalchemy.exc import DBAPIError, ProgrammingError

from tests.acceptance.conftest import until
from tests.postgresql import PASSWORD, Cluster
from tests.store.conftest import NOW
from tests.store.postgresql.conftest import store_at
from uploader.core.errors import StoreError, UploaderError, UsageError
from uploader.core.job import NewJob
from uploader.store.database import migrate
from uploader.store.database.dialect import ChangeWatch, open_engine, store_errors
from uploader.store.jobs import Jobs


def _refused(url: str) -> UploaderError:
    """The error of reading the store once; it may contain no secret."""
    with store_at(url) as jobs, pytest.raises(UploaderError) as raised:
        jobs.jobs()
    assert raised.value.hint
    said = raised.value.message + raised.value.hint
    assert PASSWORD not in said
    assert "://" not in said
    return raised.value


def test_a_database_that_is_not_utf8_is_refused(postgresql: Cluster) -> None:
    with postgresql.database("TEMPLATE template0 ENCODING 'SQL_ASCII'") as name:
        error = _refused(postgresql.url(name))
        assert isinstance(error, UsageError)
        assert "UTF8" in error.hint


def test_a_wrong_password_a_missing_database_and_no_server_are_distinguished(
    postgresql: Cluster,
) -> None:
    codes = {
        "password": _refused(postgresql.url("postgres", password="canary")).code,
        "user": _refused(postgresql.url("postgres", user="nobody")).code,
        "database": _refused(postgresql.url("nowhere")).code,
        "setting": _refused(postgresql.url("postgres") + "?passwrod=canary").code,
        "port": _refused("postgresql://u:canary@127.0.0.1:1/db").code,
        "host": _refused("postgresql://u:canary@nowhere.invalid/db").code,
    }
    assert codes == dict.fromkeys(("password", "user", "database", "setting"), "login_refused") | {
        "port": "unreachable",
        "host": "unreachable",
    }


@pytest.mark.parametrize(
    ("state", "code"),
    [
        ("08006", "unreachable"),
        ("22003", "row_refused"),
        ("22021", "row_refused"),
        ("23505", "row_refused"),
        ("23514", "row_refused"),
        ("54000", "row_refused"),
        ("P0001", "row_refused"),
        ("25006", "read_only"),
        ("25P03", "locked"),
        ("28P01", "login_refused"),
        ("3D000", "login_refused"),
        ("40001", "locked"),
        ("40P01", "locked"),
        ("42501", "read_only"),
        ("53100", "disk_full"),
        ("53200", "crowded"),
        ("53300", "crowded"),
        ("55P03", "locked"),
        ("57014", "locked"),
        ("57P01", "unreachable"),
        ("58030", "io"),
        ("XX001", "io"),
    ],
)
def test_every_state_of_the_server_has_its_words(state: str, code: str) -> None:
    with pytest.raises(StoreError) as raised, store_errors():
        raise DBAPIError("SELECT", {}, psycopg.errors.lookup(state)("canary"))
    assert (raised.value.code, raised.value.exit_code) == (code, 11)
    assert "canary" not in raised.value.message


@pytest.mark.parametrize("state", ["42P01", "42601", "42703", "26000"])
def test_a_wrong_statement_is_a_bug(state: str) -> None:
    with pytest.raises(DBAPIError), store_errors():
        raise DBAPIError("SELECT", {}, psycopg.errors.lookup(state)("nowhere"))


def test_a_bug_prints_no_parameter(engine: Engine) -> None:
    with pytest.raises(ProgrammingError) as raised, store_errors(), engine.begin() as connection:
        connection.execute(text("SELECT :secret FROM nowhere"), {"secret": "hunter2"})
    assert "hunter2" not in str(raised.value)


def test_a_row_that_is_refused_is_not_quoted(
    engine: Engine, jobs: Jobs, new: Callable[..., NewJob]
) -> None:
    jobs.enqueue(new(), NOW)
    wrong = text("UPDATE files SET session_uri = :uri, mode = 'x'")
    with pytest.raises(StoreError) as raised, store_errors(), engine.begin() as connection:
        connection.execute(wrong, {"uri": "https://hunter2"})
    assert "files_mode_known" in str(raised.value)
    assert "hunter2" not in "".join(traceback.format_exception(raised.value))


def test_a_user_without_login_and_one_with_too_many_connections(postgresql: Cluster) -> None:
    postgresql.run("CREATE ROLE asleep NOLOGIN PASSWORD 'canary'")
    assert (
        _refused(postgresql.url("postgres", user="asleep", password="canary")).code
        == "login_refused"
    )
    postgresql.run("CREATE ROLE busy LOGIN CONNECTION LIMIT 0 PASSWORD 'canary'")
    assert _refused(postgresql.url("postgres", user="busy", password="canary")).code == "crowded"


def test_a_read_only_database_can_be_looked_at(
    postgresql: Cluster, postgresql_url: str, new: Callable[..., NewJob]
) -> None:
    name = make_url(postgresql_url).database
    postgresql.run(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    with store_at(postgresql_url) as jobs:
        assert jobs.jobs() == []
        with pytest.raises(StoreError) as raised:
            jobs.enqueue(new(), NOW)
        assert raised.value.code == "read_only"


def test_a_server_that_stops_is_an_error_and_one_that_is_back_is_used_again(
    own_postgresql: Cluster, tmp_path: Path, new: Callable[..., NewJob]
) -> None:
    engine = open_engine(own_postgresql.url("postgres"))
    migrate.ensure(engine, tmp_path)
    jobs = Jobs(engine)
    with closing(ChangeWatch(engine)) as watch:
        jobs.enqueue(new(), NOW)
        until(watch.changed)  # the server tells in its own time
        own_postgresql.stop()
        for _ in "ab":
            watching = partial(until, watch.changed)
            for use in (jobs.jobs, lambda: jobs.enqueue(new("n"), NOW), watching):
                with pytest.raises(StoreError) as raised:
                    use()
                assert raised.value.code == "unreachable"
        own_postgresql.start()
        assert watch.changed(), "who was away may have missed something"
        assert not watch.changed()
        assert [job.model_id for job in jobs.jobs()] == ["m"]
        assert jobs.enqueue(new("n"), NOW)[1]
    engine.dispose()
