"""Power loss: whatever part of the log reached the disk, the store opens at a clean moment."""

from __future__ import annotations

import itertools
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from tests.engine.conftest import empty_store
from tests.properties.replay import Snapshot, assert_whole
from tests.simulation.lab import FILES, SimLab, template
from tests.sqlite import sqlite_url
from tests.store.wal import Log, Rows, lose_power, rows_of
from uploader.store.database.dialect import open_engine
from uploader.store.jobs import Jobs

#: Of what follows the last whole transaction so much was written: less than a frame.
TORN_BYTES = 1000
#: Crash points after which the log is cut, and the machine starts again.
SAMPLES = int(os.environ.get("UPLOADER_TEST_POWER_LOSSES", "8"))


class PluggedLab(SimLab):
    """Nothing is ever moved from the log into the database: the log holds the whole life."""

    def __init__(self, folder: Path, source: Path, seed: int, **world: Any) -> None:
        self.source = source
        super().__init__(folder, seed, **world)
        event.listen(self.engine, "connect", _keep_the_log)
        self.engine.dispose()
        for name in FILES:
            self.enqueue(self.source / name)

    @property
    def database(self) -> Path:
        return self.state / "uploader.db"

    def log(self) -> Log:
        return Log(self.database.with_name("uploader.db-wal").read_bytes())

    def unplug(self, cut: int) -> None:
        """Everything of the log beyond ``cut`` never reached the disk."""
        raw = self.log().raw[:cut]
        base = self.source / "uploader.db"
        self.engine.dispose()
        self.database.unlink()
        lose_power(base, raw, self.state)


def _keep_the_log(connection: Any, _: object) -> None:
    connection.execute("PRAGMA wal_autocheckpoint = 0")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two model folders, and the database that a laboratory starts with."""
    folder = template(tmp_path_factory.mktemp("source"))
    (folder / "uploader.db").write_bytes(empty_store())
    return folder


def _snapshot(database: Path) -> Snapshot:
    engine = open_engine(sqlite_url(database))
    jobs = Jobs(engine)
    found = {job.id: jobs.job(job.id) for job in jobs.jobs()}
    files = {(file.job_id, file.path): file for id_ in found for file in jobs.files(id_)}
    snapshot = Snapshot(found, files, jobs.events())
    engine.dispose()
    return snapshot


def test_a_log_cut_anywhere_is_the_store_at_an_earlier_moment(tmp_path: Path, source: Path) -> None:
    """After every frame and in the middle of every frame of a whole life of two jobs."""
    lab = PluggedLab(tmp_path, source, 1)
    assert lab.run_once()
    log = lab.log()
    lab.close()
    assert len(log.commits) > 30
    after = tmp_path / "after"
    after.mkdir()
    at_commit: dict[int, Rows] = {}
    for cut in sorted({0, *log.ends, *log.torn()}):
        rows = rows_of(lose_power(source / "uploader.db", log.raw[:cut], after))
        whole = log.committed(cut)
        if whole not in at_commit:
            at_commit[whole] = rows
            assert_whole(_snapshot(after / "uploader.db"))
        assert rows == at_commit[whole], f"half a transaction at byte {cut}"
    assert list(at_commit) == [0, *log.commits]
    moments = list(at_commit.values())
    for earlier, later in itertools.pairwise(moments):
        assert later["events"][: len(earlier["events"])] == earlier["events"]
    assert moments[-1]["jobs"] != moments[0]["jobs"]


@pytest.mark.parametrize("part", [0, pytest.param(1, marks=pytest.mark.long)])
def test_after_a_power_loss_every_job_goes_on_to_ready(
    tmp_path: Path, source: Path, part: int
) -> None:
    """The transaction under way is lost whole or in part; on a disk that lies, three before it."""
    for number in range(part, SAMPLES, 2):
        for lost in (0, 1, 3):
            folder = tmp_path / f"{number}-{lost}"
            folder.mkdir()
            lab = PluggedLab(folder, source, number, landing_polls=1)
            _lose_power_and_go_on(lab, crash_at=4 + 9 * number % 75, lost=lost)
            lab.close()
            shutil.rmtree(folder)


def _lose_power_and_go_on(lab: PluggedLab, crash_at: int, lost: int) -> None:
    assert not lab.run_once(crash_at), "the crash came too late"
    log = lab.log()
    # The two that enqueued the jobs stay: they were answered to the user long before.
    kept = log.commits[max(2, len(log.commits) - lost) - 1]
    lab.unplug(min(kept + TORN_BYTES, len(log.raw)))
    lab.run_through()
    report = lab.world.report()
    assert report["early_validations"] == report["leaked_keys"] == 0
    assert report["creates"] == len(FILES)
    for job in lab.jobs.jobs():
        lab.assert_ready(job.id)
