"""Several workers on one store, users' commands alongside them, workers killed all the while.

`UPLOADER_TEST_STRESS_S` makes it longer. Triggers in the store write down what no process may
do, whichever it is: take a lease that is held, or write what a worker writes without one.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import sqlite3
import subprocess
import sys
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance import audited, hammer
from tests.acceptance.conftest import DEADLINE_S, MIB, World
from tests.store.wal import rows_of

pytestmark = [pytest.mark.acceptance, pytest.mark.long]

STRESS_S = float(os.environ.get("UPLOADER_TEST_STRESS_S", "5"))
KEPT, DROPPED, HAMMERS = 6, 3, 2
#: An illegal move, a conflict, a job that was removed: said to the user and nothing more.
TOLD = {0, 2, 4, 5}

AUDIT = """
CREATE TABLE audit (what TEXT, job_id INTEGER, was TEXT, became TEXT);
CREATE TRIGGER audit_leases AFTER UPDATE OF lease_token ON jobs
WHEN OLD.lease_token IS NOT NEW.lease_token BEGIN
    INSERT INTO audit VALUES ('lease', NEW.id, OLD.lease_token, NEW.lease_token);
END;
CREATE TRIGGER audit_stages AFTER UPDATE OF stage ON jobs
WHEN OLD.stage <> NEW.stage AND OLD.run_number = NEW.run_number AND NEW.lease_token IS NULL BEGIN
    INSERT INTO audit VALUES ('stage without a lease', NEW.id, OLD.stage, NEW.stage);
END;
CREATE TRIGGER audit_files AFTER UPDATE ON files
WHEN (OLD."offset", OLD.mark_bytes, OLD.stored, OLD.sessions, OLD.bytes_sent)
    <> (NEW."offset", NEW.mark_bytes, NEW.stored, NEW.sessions, NEW.bytes_sent)
    AND (SELECT lease_token FROM jobs WHERE id = NEW.job_id) IS NULL BEGIN
    INSERT INTO audit VALUES ('file without a lease', NEW.job_id, OLD."offset", NEW."offset");
END;
"""


class Stress:
    """Folders, workers and hammers of one run."""

    def __init__(self, world: World, workers: int) -> None:
        self.world = world
        self.kept = [world.model(f"keep-{n}", a_bin=2 * MIB, b_bin=MIB) for n in range(KEPT)]
        self.dropped = [world.model(f"drop-{n}", a_bin=MIB + 1) for n in range(DROPPED)]
        self.folders = [*self.kept, *self.dropped]
        world.uploader("db", "upgrade")
        world.program = [sys.executable, audited.__file__]
        with closing(sqlite3.connect(self.database)) as connection:
            connection.executescript(AUDIT)
        total = sum(path.stat().st_size for each in self.folders for path in each.iterdir())
        rate = int(total / workers / STRESS_S)
        world.environment["UPLOADER_TRANSFER__BANDWIDTH_LIMIT"] = f"{rate}B/s"

    @property
    def database(self) -> Path:
        return self.world.state / "uploader.db"

    def hammer(self, stack: ExitStack, seed: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, hammer.__file__, "hammer", str(seed), str(STRESS_S)]
        output = stack.enter_context((self.world.folder / f"hammer-{seed}").open("wb"))
        process = subprocess.Popen(
            [*command, *map(str, self.folders)], env=self.world.environment, stdout=output
        )
        stack.callback(process.kill)
        return process

    def run(self, workers: int) -> None:
        """Until the hammers end, a worker is killed and replaced now and then."""
        dice = random.Random(workers)
        with ExitStack() as stack:
            running = [stack.enter_context(self.world.worker()) for _ in range(workers)]
            for hammering in [self.hammer(stack, seed) for seed in range(HAMMERS)]:
                while not _ended(hammering, dice.uniform(0.5, 1.5)):
                    victim = dice.randrange(workers)
                    running[victim].kill()
                    running[victim].wait()
                    running[victim] = stack.enter_context(self.world.worker())
                assert hammering.returncode == 0
            assert [worker.poll() for worker in running] == [None] * workers, self.world.log()

    def settle(self) -> None:
        """What users hold is let go, and two workers bring everything to its end."""
        for job in self.jobs():
            if job["status"] == "paused":
                self.world.uploader("resume", job["id"])
        with contextlib.ExitStack() as stack:
            free = {"UPLOADER_TRANSFER__BANDWIDTH_LIMIT": "1GB/s"}
            last = [stack.enter_context(self.world.worker("--until-idle", **free)) for _ in "ab"]
            assert {worker.wait(DEADLINE_S) for worker in last} <= {0, 7, 9}, self.world.log()

    def jobs(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]]
        found = json.loads(self.world.uploader("status", "--json").stdout)["jobs"]
        return found

    def answers(self) -> list[dict[str, Any]]:
        paths = self.world.folder.glob("hammer-*")
        return [json.loads(line) for path in paths for line in path.read_text().splitlines()]

    def audit(self, query: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.database)) as connection:
            return connection.execute(query).fetchall()


def _ended(process: subprocess.Popen[bytes], patience_s: float) -> bool:
    try:
        process.wait(patience_s)
    except subprocess.TimeoutExpired:
        return False
    return True


@pytest.mark.timeout(120 + 4 * STRESS_S)
@pytest.mark.parametrize("workers", [2, 4])
def test_workers_and_users_on_one_store(world: World, workers: int) -> None:
    stress = Stress(world, workers)
    stress.run(workers)
    stress.settle()
    _assert_users_were_answered(stress)
    _assert_leases_were_kept(stress)
    _assert_all_ended_right(stress)


def _assert_users_were_answered(stress: Stress) -> None:
    answers = stress.answers()
    assert len(answers) > 5 * STRESS_S
    assert [answer for answer in answers if answer["code"] not in TOLD] == []
    backups = [answer for answer in answers if answer["words"] == ["db", "backup"]]
    assert backups
    assert {answer["code"] for answer in backups} == {0}
    rows_of(stress.database.with_name("uploader.db.backup"))  # it opens, and is whole
    for text in (*(answer["complained"] for answer in answers), stress.world.log()):
        for word in ("locked", "Traceback", "state store", "bug"):
            assert word not in text, text


def _assert_leases_were_kept(stress: Stress) -> None:
    assert stress.audit("SELECT * FROM audit WHERE what <> 'lease'") == []
    doubles = "SELECT * FROM audit WHERE what = 'lease' AND was IS NOT NULL AND became IS NOT NULL"
    assert stress.audit(doubles) == []
    given = stress.audit("SELECT became FROM audit WHERE what = 'lease' AND became IS NOT NULL")
    assert len(given) == len(set(given)) > KEPT
    assert stress.audit("SELECT * FROM jobs WHERE lease_token IS NOT NULL") == []


def _assert_all_ended_right(stress: Stress) -> None:
    world, jobs = stress.world, stress.jobs()
    for folder in stress.kept:
        found = [job for job in jobs if job["model"].endswith(f"/{folder.name}")]
        assert [(job["stage"], job["status"]) for job in found] == [("ready", "done")], found
        world.assert_identical(folder)
    for job in jobs:
        assert job["status"] in ("done", "cancelled", "failed"), job
        assert job["status"] != "failed" or job["reason"]["code"] in _HONEST, job
    report = world.box.report()
    assert report["early_validations"] == report["leaked_keys"] == 0
    assert report["bytes_below_confirmed"] == 0


#: What becomes of a job whose model an earlier, cancelled job left there or took away.
_HONEST = {"already_exists", "exists_differently", "model_gone"}
