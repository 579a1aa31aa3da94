"""Backups while workers run, and a newer program that migrates what an older one left."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.acceptance.conftest import MIB, World, until
from tests.store.test_migrate import NEXT, NEXT_VERSION
from tests.store.wal import rows_of
from uploader.store.database.migrate import HEAD

pytestmark = [pytest.mark.acceptance, pytest.mark.long]
ROOT = Path(__file__).parents[2]


class Newer:
    """The same program, one migration further."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.root = world.folder / "newer"
        ignored = shutil.ignore_patterns("__pycache__")
        for package in ("uploader", "migrations"):
            shutil.copytree(ROOT / package, self.root / package, ignore=ignored)
        (self.root / "migrations/versions/next.py").write_text(NEXT_VERSION)
        source = self.root / "uploader/store/database/migrate.py"
        text = source.read_text()
        head = "HEAD = VERSIONS[-1]\n"
        assert head in text
        source.write_text(text.replace(head, f'VERSIONS += ("{NEXT}",)\n{head}'))

    def uploader(self, *words: object, expect: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "uploader", *map(str, words)],
            cwd=self.root,
            env=self.world.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == expect, done.stdout + done.stderr
        return done


def _version(database: Path) -> str:
    with closing(sqlite3.connect(database)) as connection:
        (version,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        return str(version)


def _restore(world: World, backup: Path) -> None:
    """As the README says: stop the worker, put the copy in place, without the old log."""
    for name in ("uploader.db-wal", "uploader.db-shm"):
        (world.state / name).unlink(missing_ok=True)
    shutil.copy(backup, world.state / "uploader.db")


def test_a_newer_program_backs_up_migrates_and_goes_on(world: World) -> None:
    model = world.model("model", weights_bin=24 * MIB)
    newer = Newer(world)
    world.uploader("enqueue", model)
    world.hold("weights", MIB)
    with world.worker() as process:
        until(lambda: world.received() >= MIB)
        refused = newer.uploader("enqueue", model, expect=11)
        assert "restart the service" in refused.stderr
        world.kill(process)
    assert newer.uploader("status", expect=11).returncode == 11  # looking migrates nothing
    newer.uploader("run", "--until-idle")
    world.assert_identical(model)
    world.assert_kept_every_promise()
    assert newer.uploader("db", "current").stdout == f"{NEXT}\n"
    assert "newer" in world.uploader("status", expect=11).stderr

    backup = world.state / f"uploader.db.backup-{HEAD}"
    assert backup.stat().st_mode & 0o077 == 0
    assert _version(backup) == HEAD
    _restore(world, backup)
    assert world.job()["stage"] == "upload"
    world.finish()  # the service has gone on: it is asked, and its word wins
    assert world.job()["stage"] == "ready"


def test_a_backup_while_a_worker_runs_opens_and_goes_on(world: World) -> None:
    model = world.model("model", weights_bin=24 * MIB)
    world.uploader("enqueue", model)
    copy = world.folder / "copy.db"
    world.hold("weights", MIB)
    with world.worker() as process:
        until(lambda: world.received() >= MIB)
        assert world.uploader("db", "backup", copy).stdout == f"{copy}\n"
        rotating = Path(world.uploader("db", "backup").stdout.strip())
        first = rotating.stat().st_ino
        assert world.uploader("db", "backup").stdout == f"{rotating}\n"
        assert rotating.stat().st_ino != first
        world.kill(process)
    assert rotating == world.state / "uploader.db.backup"
    for backup in (copy, rotating):
        assert backup.stat().st_mode & 0o077 == 0
        assert [row[2:4] for row in rows_of(backup)["jobs"]] == [("sandbox", "model")]
    _restore(world, copy)
    world.finish()
    world.assert_identical(model)
    world.assert_kept_every_promise()


def test_a_backup_replaces_nothing(world: World) -> None:
    missing = world.uploader("db", "backup", expect=4)
    assert "no state store" in missing.stderr
    assert not world.state.exists()
    world.uploader("db", "upgrade")
    mine = world.folder / "thesis.tex"
    mine.write_text("years of work")
    (world.folder / "link").symlink_to(world.folder / "nowhere")
    for taken in (mine, world.state / "uploader.db", world.folder, world.folder / "link"):
        refused = world.uploader("db", "backup", taken, expect=2)
        assert "already exists" in refused.stderr
        assert "hint: " in refused.stderr
    assert mine.read_text() == "years of work"
    assert "no folder" in world.uploader("db", "backup", mine.parent / "no/b.db", expect=4).stderr
