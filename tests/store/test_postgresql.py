"""What is specific to PostgreSQL: connecting, its one writer, what its errors mean."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Engine, make_url, text
from sqlalchemy.exc import DBAPIError, ProgrammingError

from tests.acceptance.conftest import until
from tests.postgresql import PASSWORD, Cluster
from tests.store.conftest import BASE_URL
from uploader.core.distribution import install
from uploader.core.errors import StoreError, UploaderError, UsageError
from uploader.core.events import EventKind
from uploader.core.job import Event, NewJob, Stage
from uploader.store.claims import Claims
from uploader.store.database import migrate, postgresql
from uploader.store.database.dialect import (
    ChangeWatch,
    connected_workers,
    open_engine,
    store_errors,
)
from uploader.store.held import Held
from uploader.store.jobs import Jobs
from uploader.store.tables import UtcDateTime, metadata

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
DEADLINE_S = 60.0
HOLD_WRITER = "SELECT pg_advisory_lock(1970302063, 1)"


@pytest.fixture
def backend() -> str:
    return "postgresql"


@contextlib.contextmanager
def _store(url: str, **options: float) -> Iterator[Jobs]:
    engine = open_engine(url, **options)
    try:
        yield Jobs(engine)
    finally:
        engine.dispose()


def _refused(url: str) -> UploaderError:
    """The error of reading the store once; it may contain no secret."""
    with _store(url) as jobs, pytest.raises(UploaderError) as raised:
        jobs.jobs()
    assert raised.value.hint
    said = raised.value.message + raised.value.hint
    assert PASSWORD not in said
    assert "://" not in said
    return raised.value


# -- entering --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", postgresql.NAMES)
def test_each_way_to_write_its_name_is_understood(postgresql_url: str, name: str) -> None:
    with _store(postgresql_url.replace("postgresql", name, 1)) as jobs:
        assert jobs.jobs() == []


def test_without_its_driver_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(UsageError) as raised:
        open_engine("postgresql://u:hunter2@h/db")
    assert raised.value.hint == install("postgresql")
    assert "hunter2" not in raised.value.message


def test_what_the_url_says_wins_over_our_defaults(postgresql_url: str) -> None:
    engine = open_engine(f"{postgresql_url}?application_name=mine&connect_timeout=3")
    with engine.begin() as connection:
        assert connection.scalar(text("SHOW application_name")) == "mine"
    engine.dispose()


def test_settings_of_every_connection(engine: Engine) -> None:
    wanted = {
        "lock_timeout": "30s",
        "idle_in_transaction_session_timeout": "10s",
        "synchronous_commit": "on",
        "tcp_keepalives_idle": "10",
        "transaction_isolation": "repeatable read",
    }
    with engine.connect() as one, engine.connect() as two:
        for connection in (one, two):
            found = {name: connection.scalar(text(f"SHOW {name}")) for name in wanted}
            assert found == wanted


def test_commits_are_durable_whatever_the_databases_default(
    postgresql: Cluster, postgresql_url: str
) -> None:
    name = make_url(postgresql_url).database
    postgresql.run(f"ALTER DATABASE {name} SET synchronous_commit = off")
    engine = open_engine(postgresql_url)
    with engine.begin() as connection:
        assert connection.scalar(text("SHOW synchronous_commit")) == "on"
    engine.dispose()


def test_a_database_that_is_not_utf8_is_refused(postgresql: Cluster) -> None:
    with postgresql.database("TEMPLATE template0 ENCODING 'SQL_ASCII'") as name:
        error = _refused(postgresql.url(name))
        assert isinstance(error, UsageError)
        assert "UTF8" in error.hint


# -- errors ----------------------------------------------------------------------------------


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
    with _store(postgresql_url) as jobs:
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


# -- one writer ------------------------------------------------------------------------------


def test_who_waits_for_the_writer_for_too_long_is_reported_and_reading_goes_on(
    postgresql_url: str, new: Callable[..., NewJob]
) -> None:
    with (
        psycopg.connect(postgresql_url, autocommit=True) as other,
        _store(postgresql_url, busy_timeout_s=0.05) as jobs,
    ):
        other.execute(HOLD_WRITER)
        with pytest.raises(StoreError) as raised:
            jobs.enqueue(new(), NOW)
        assert raised.value.code == "locked"
        assert jobs.jobs() == []
        other.execute("SELECT pg_advisory_unlock_all()")
        assert jobs.enqueue(new(), NOW)[1]


def _stand_still(jobs: Jobs, other: psycopg.Connection) -> None:
    """As a process that is stopped in the middle of a transaction, until the server tires."""
    alive, pause = "SELECT 1 FROM pg_stat_activity WHERE pid = %s", threading.Event()
    with jobs._journal.writing(NOW) as transaction:
        connection = transaction.connection
        pid = connection.scalar(text("SELECT pg_backend_pid()"))
        connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 20"))
        for _ in range(1000):
            if not other.execute(alive, [pid]).fetchone():
                break
            pause.wait(0.02)
        connection.scalar(text("SELECT 1"))


def test_a_writer_that_stands_still_is_sent_away_by_the_server(
    postgresql_url: str, jobs: Jobs, new: Callable[..., NewJob]
) -> None:
    with (
        psycopg.connect(postgresql_url, autocommit=True) as other,
        pytest.raises(StoreError) as raised,
    ):
        _stand_still(jobs, other)
    assert raised.value.code in ("locked", "unreachable")
    assert jobs.enqueue(new(), NOW)[1]


def test_a_writer_over_a_slow_network_keeps_no_other_one_waiting_for_ever(
    postgresql_url: str, jobs: Jobs, new: Callable[..., NewJob]
) -> None:
    """Something of it arrives now and then, so that the server does not tire of it."""
    over, rounds = threading.Event(), threading.Event()

    def drip() -> None:
        with suppress(StoreError), jobs._journal.writing(NOW) as transaction:
            while not over.is_set():
                transaction.connection.scalar(text("SELECT 1"))
                rounds.set()
                over.wait(0.01)

    slow = threading.Thread(target=drip)
    slow.start()
    try:
        assert rounds.wait(60)
        with _store(postgresql_url, busy_timeout_s=0.2) as others:
            for _ in range(100):
                with suppress(StoreError):
                    assert others.enqueue(new(), NOW)[1]
                    break
            assert len(others.jobs()) == 1
        slow.join(60)
        assert not slow.is_alive()
    finally:
        over.set()
        slow.join(60)


def test_events_are_seen_in_the_order_of_their_numbers(
    engine: Engine, jobs: Jobs, new: Callable[..., NewJob]
) -> None:
    """A reader that goes on from the last number it saw misses nothing."""
    done = threading.Event()

    def write(name: str) -> None:
        mine = Jobs(engine)
        for number in range(40):
            mine.enqueue(new(f"{name}{number}"), NOW)

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    seen: list[Event] = []

    def read() -> None:
        while True:
            last_look = done.is_set()
            seen.extend(jobs.events(since=seen[-1].seq if seen else 0))
            if last_look:
                return

    reader = threading.Thread(target=read)
    for thread in (*threads, reader):
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
    done.set()
    reader.join(DEADLINE_S)
    assert len(seen) == 160
    assert seen == jobs.events()


_ENQUEUE = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from uploader.core.job import Kind, Manifest, ManifestFile, NewJob
from uploader.store.database import migrate
from uploader.store.database.dialect import open_engine
from uploader.store.jobs import Jobs
from uploader.store.tables import UtcDateTime, metadata
engine = open_engine(sys.stdin.readline().strip())
migrate.ensure(engine, Path(sys.argv[1]))
manifest = Manifest("/models/m", (ManifestFile("a.bin", 1, "made:1"),))
sys.stdin.readline()
for number in range(10):
    new = NewJob("https://x", "acme", f"m{number}", Kind.BASE, manifest, {"kind": "x"})
    print(*Jobs(engine).enqueue(new, datetime(2026, 11, 22, tzinfo=UTC)))
"""


def test_processes_that_enqueue_the_same_at_once_into_an_empty_database_make_it_once(
    postgresql: Cluster, tmp_path: Path
) -> None:
    """Each has a state folder of its own, as on machines of their own."""
    with postgresql.database() as name, contextlib.ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", _ENQUEUE, str(tmp_path / str(number))],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    cwd=Path(__file__).parents[2],
                )
            )
            for number in range(3)
        ]
        for process in processes:
            assert process.stdin
            process.stdin.write(postgresql.url(name) + "\n\n")
            process.stdin.close()
            process.stdin = None
        lines = [line for p in processes for line in p.communicate(timeout=60)[0].splitlines()]
        with _store(postgresql.url(name)) as jobs:
            ids = [job.id for job in jobs.jobs()]
    assert [p.returncode for p in processes] == [0, 0, 0]
    assert sorted(lines) == sorted(f"{n} {new}" for n in ids for new in (True, False, False))


# -- watching --------------------------------------------------------------------------------


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
        assert connected_workers(engine) == {"one", "two"}
        with psycopg.connect(postgresql_url, autocommit=True) as other:
            other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'uploader worker one' AND datname = current_database()"
            )
        until(watch.changed)  # the server ends a connection in its own time
        assert not watch.changed()
        until(lambda: connected_workers(engine) == {"one", "two"})
    until(lambda: not connected_workers(engine))


# -- text ------------------------------------------------------------------------------------


def test_what_a_server_says_breaks_no_write(jobs: Jobs, claimed: Callable[..., Held]) -> None:
    held = claimed()
    held.add_event(EventKind.LEFT_OPEN, "a\0b \ud800 é")
    assert jobs.events()[-1].message == "a b ? é"


@pytest.mark.parametrize("at", ["infinity", "-infinity", "12000-01-01", "0044-03-15 BC"])
def test_a_time_that_python_has_not_stops_nobody(
    engine: Engine, jobs: Jobs, claims: Claims, enqueue: Callable[..., int], at: str
) -> None:
    ids = {enqueue("a"), enqueue("b")}
    for table in metadata.sorted_tables:
        times = [column for column in table.columns if isinstance(column.type, UtcDateTime)]
        with engine.begin() as connection:
            for column in times:
                this = f"UPDATE {table.name} SET {column.name} = '{at}'"
                connection.exec_driver_sql(this)
    claims.next_due(BASE_URL)
    assert {job.id for job in jobs.jobs()} == ids
    assert {event.job_id for event in jobs.events()} == ids
    assert jobs.oldest_waiting()
    assert {held.job.id for _ in ids if (held := claims.claim("w", BASE_URL, [*Stage], 60))} == ids


@pytest.mark.parametrize("taken", ["events", "jobs"])
def test_numbers_that_somebody_has_taken_are_refused_once_and_then_skipped(
    engine: Engine, enqueue: Callable[..., int], taken: str
) -> None:
    enqueue("a")
    ahead = "generate_series(2, 3000) n"
    event = "job_id, at, kind, message) SELECT n, 1, now(), 'edited', 'x'"
    names = [column.name for column in metadata.tables["jobs"].columns if column.name != "id"]
    job = f"{', '.join(names)}) SELECT n, {', '.join(names)}".replace(
        "SELECT n, base_url", "SELECT n, 'https://' || n"
    )
    with engine.begin() as connection:
        if taken == "events":
            connection.exec_driver_sql(f"INSERT INTO events (seq, {event} FROM {ahead}")
        else:
            connection.exec_driver_sql(f"INSERT INTO jobs (id, {job} FROM jobs, {ahead}")
    with pytest.raises(StoreError, match=f"{taken}_pkey") as caught:
        enqueue("b")
    assert caught.value.code == "row_refused"
    for name in ("b", "c"):
        enqueue(name)


def test_a_backup_is_its_own_tools_business(engine: Engine, tmp_path: Path) -> None:
    for path in (None, tmp_path / "copy"):
        with pytest.raises(UsageError) as raised:
            migrate.save(engine, tmp_path, path)
        assert "pg_dump" in raised.value.hint
    assert list(tmp_path.iterdir()) == []
