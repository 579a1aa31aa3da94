"""Damaged files: whatever was overwritten, a StoreError or an answer, never anything else."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from tests.engine.fast import FastLab
from tests.sqlite import sqlite_url
from uploader.core.errors import LeaseLost, NotFound, StoreError, UsageError, VerbRefused
from uploader.core.job import PrefixCrc, Stage
from uploader.core.lifecycle import Verb
from uploader.store.claims import Claims
from uploader.store.database import migrate, sqlite
from uploader.store.database.dialect import open_engine, store_errors
from uploader.store.held import Held
from uploader.store.held_files import FileProgress
from uploader.store.jobs import Jobs

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
BASE_URL = "https://api.fireworks.ai"
SEEDS = int(os.environ.get("UPLOADER_TEST_DAMAGES", "60"))
PAGE = 4096
_WRONG_STATEMENT = (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT)


@pytest.fixture
def used(engine: Engine, database: Path, claimed: Callable[..., Held], tmp_path: Path) -> Path:
    """A store with jobs, files and a history, as one file."""
    for number in range(5):
        claimed(f"m{number}", sizes={f"{n}.safetensors": 100 for n in range(20)})
    engine.dispose()
    return Path(shutil.copy(database, tmp_path / "used.db"))


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[FastLab]:
    laboratory = FastLab(tmp_path)
    yield laboratory
    laboratory.close()


@pytest.fixture
def damaged(tmp_path: Path) -> Iterator[Callable[[bytes], Engine]]:
    engines: list[Engine] = []

    def write(raw: bytes) -> Engine:
        path = tmp_path / f"damaged-{len(engines)}.db"
        path.write_bytes(raw)
        engines.append(open_engine(sqlite_url(path)))
        return engines[-1]

    yield write
    for engine in engines:
        engine.dispose()


def _everything(engine: Engine) -> tuple[Callable[[], object], ...]:
    """What commands and workers ask of a store."""
    jobs, claims = Jobs(engine), Claims(engine, lambda: NOW)

    def work() -> None:
        held = claims.claim("w", BASE_URL, tuple(Stage), 60)
        if held is not None:
            row = FileProgress("1.safetensors", 0, PrefixCrc(), PrefixCrc(), 1)
            held.files.report_progress([row], None)

    return (
        jobs.jobs,
        lambda: jobs.find("m1"),
        lambda: [jobs.files(number) for number in range(1, 6)],
        jobs.events,
        lambda: jobs.apply(2, Verb.PAUSE, NOW),
        lambda: claims.reap(lambda _: False),
        work,
        lambda: claims.leases_of("worker"),
        lambda: claims.heal("https://h"),
    )


def _refused(engine: Engine) -> int:
    """How many requests ended in StoreError; no other error may come."""
    try:
        migrate.require_head(engine)  # as every command and worker does first
    except StoreError:
        return 1
    return sum(map(_is_refused, _everything(engine)))


def _is_refused(request: Callable[[], object]) -> bool:
    try:
        with suppress(NotFound, UsageError, VerbRefused, LeaseLost):
            request()
    except StoreError:
        return True
    except DBAPIError as error:
        # One letter of the schema is another: to SQLite our statement is wrong, and so to us.
        if getattr(error.orig, "sqlite_errorcode", 0) & 0xFF not in _WRONG_STATEMENT:
            raise
    return False


def test_a_store_that_is_gone_for_good_ends_the_worker(lab: FastLab) -> None:
    """Its supervisor starts it again: that is for a human to see, and no loop of its own."""
    lab.bytes_per_s = 1000.0
    lab.enqueue(lab.model())
    with lab.worker() as worker:
        ended = threading.Event()
        said: list[StoreError] = []

        def run() -> None:
            try:
                worker.run()
            except StoreError as error:
                said.append(error)
            ended.set()

        threading.Thread(target=run, daemon=True).start()
        lab.until(lambda: "session_opened" in lab.kinds())
        (lab.state / "uploader.db").unlink()
        assert ended.wait(120)
    assert [error.code for error in said] == ["gone"]


def test_any_overwritten_bytes(used: Path, damaged: Callable[[bytes], Engine]) -> None:
    whole, refused = used.read_bytes(), 0
    for seed in range(SEEDS):
        dice, raw = random.Random(seed), bytearray(whole)
        for _ in range(dice.choice((1, 3, 30))):
            at, length = dice.randrange(len(raw)), dice.choice((1, 8, 200))
            raw[at : at + length] = dice.randbytes(len(raw[at : at + length]))
        refused += bool(_refused(damaged(bytes(raw))))
    assert refused > SEEDS // 10, "the damage was never seen: nothing was tested"


@pytest.mark.parametrize("kept", [1, 100, PAGE - 1, PAGE, 3 * PAGE, 3 * PAGE + 7])
def test_a_file_that_was_cut(used: Path, damaged: Callable[[bytes], Engine], kept: int) -> None:
    assert _refused(damaged(used.read_bytes()[:kept])) > 0


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("jobs", "stage", "'nowhere'"),
        ("jobs", "status", "x'ff00fe'"),
        ("jobs", "create_body", "'{half'"),
        ("jobs", "updated_at", "'yesterday'"),
        ("jobs", "kind", "'novel'"),
        ("jobs", "path", "CAST(x'ff00fe' AS TEXT)"),
        ("files", "mode", "'pigeon'"),
        ("files", "path", "'../../etc/shadow' || rowid"),
        ("files", "path", "'/etc/shadow' || rowid"),
        ("files", "path", "'sub/model.safetensors' || rowid"),
        ("files", "sha256", "'ABC'"),
    ],
)
def test_a_row_that_makes_no_sense(
    used: Path, damaged: Callable[[bytes], Engine], table: str, column: str, value: str
) -> None:
    with closing(sqlite3.connect(used, isolation_level=None)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute(f"UPDATE {table} SET {column} = {value}")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert _refused(damaged(used.read_bytes())) > 0


@pytest.mark.parametrize("whole", [True, False])
def test_an_index_that_has_lost_a_row_is_damage(database: Path, *, whole: bool) -> None:
    """By an index it is asked whether another job has the same model."""
    with closing(sqlite3.connect(database)) as connection:
        connection.executescript(
            "CREATE TABLE saved AS SELECT * FROM sqlite_master WHERE name = 'jobs_by_model';"
            "PRAGMA writable_schema = ON; DELETE FROM sqlite_master WHERE name = 'jobs_by_model';"
        )
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "INSERT INTO jobs (base_url, account, model_id, path, kind, create_body, options,"
            " preflight, warnings, stage, status, created_at, updated_at)"
            " VALUES ('', '', 'm', '', '', '{}', '{}', '[]', '[]', 'create', 'active', '', '')"
        )
        connection.execute("INSERT INTO sqlite_master SELECT * FROM saved")
    engine = open_engine(f"sqlite:///{database}")
    with pytest.raises(StoreError, match="damaged"), store_errors():
        sqlite.check(engine, whole=whole)
    engine.dispose()
