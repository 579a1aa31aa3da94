"""One writer at a time: whoever stands still is sent away, and numbers are seen in their order."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Engine, text

from tests.postgresql import Cluster
from tests.store.conftest import NOW
from tests.store.postgresql.conftest import store_at
from uploader.core.errors import StoreError
from uploader.core.job import Event, NewJob
from uploader.store.jobs import Jobs

DEADLINE_S = 60.0
HOLD_WRITER = "SELECT pg_advisory_lock(1970302063, 1)"


def test_who_waits_for_the_writer_for_too_long_is_reported_and_reading_goes_on(
    postgresql_url: str, new: Callable[..., NewJob]
) -> None:
    with (
        psycopg.connect(postgresql_url, autocommit=True) as other,
        store_at(postgresql_url, busy_timeout_s=0.05) as jobs,
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
        with store_at(postgresql_url, busy_timeout_s=0.2) as others:
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
                    cwd=Path(__file__).parents[3],
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
        with store_at(postgresql.url(name)) as jobs:
            ids = [job.id for job in jobs.jobs()]
    assert [p.returncode for p in processes] == [0, 0, 0]
    assert sorted(lines) == sorted(f"{n} {new}" for n in ids for new in (True, False, False))
