"""`snapshot="hardlink"`: a folder that is deleted while it is being uploaded."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import uploader
from tests.acceptance.conftest import DEADLINE_S, World, until, world
from uploader.cli import app

__all__ = ["world"]
MIB = 1 << 20


@pytest.fixture
def kept(home: Path) -> Callable[[], list[str]]:
    """The snapshots that there are."""
    folder = home / "state" / "uploader.db.snapshots"
    return lambda: sorted(map(str, folder.glob("snapshot-*")))


def test_without_a_wish_none_is_taken(model: Path, kept: Callable[[], list[str]]) -> None:
    assert uploader.enqueue(model).snapshot is None
    assert kept() == []


def test_a_job_has_one_snapshot_however_often_it_is_enqueued(
    model: Path, kept: Callable[[], list[str]]
) -> None:
    job = uploader.enqueue(model, snapshot="hardlink")
    assert job.snapshot
    assert kept() == [job.snapshot]
    assert uploader.enqueue(model, snapshot="hardlink") == job
    assert uploader.enqueue(model) == job  # it is protected, whether or not that is asked for again
    assert kept() == [job.snapshot]
    assert job.path == str(model.resolve())


def test_an_open_job_without_a_snapshot_does_not_pass_for_one_with_it(
    model: Path, kept: Callable[[], list[str]]
) -> None:
    uploader.enqueue(model)
    with pytest.raises(uploader.UsageError, match="no snapshot of its files") as raised:
        uploader.enqueue(model, snapshot="hardlink")
    assert raised.value.code == "conflict"
    assert kept() == []


@pytest.mark.parametrize("ending", [uploader.cancel, uploader.remove])
def test_what_ends_a_job_ends_its_snapshot(
    model: Path, kept: Callable[[], list[str]], sql: Callable[[str], None],
    ending: Callable[[int], object],
) -> None:  # fmt: skip
    job = uploader.enqueue(model, snapshot="hardlink")
    uploader.pause(job.id)
    sql("UPDATE jobs SET status = 'failed'")
    assert kept() == [job.snapshot]
    ending(job.id)
    assert kept() == []
    assert (model / "config.json").exists()


def test_a_table_that_was_put_back_removes_no_snapshot_that_it_does_not_know(
    model: Path, home: Path, kept: Callable[[], list[str]]
) -> None:
    table, copy = home / "state" / "uploader.db", home / "copy.db"
    other = shutil.copytree(model, home / "other")
    third = shutil.copytree(model, home / "third")
    first = uploader.enqueue(model, snapshot="hardlink")
    assert app.run(["db", "backup", str(copy)]) == 0
    second = uploader.enqueue(other, snapshot="hardlink")
    for end in ("", "-wal", "-shm"):
        table.with_name(table.name + end).unlink(missing_ok=True)
    shutil.copy(copy, table)
    for _ in range(2):
        uploader.enqueue(third, snapshot="hardlink")
        assert {first.snapshot, second.snapshot} < {*kept()}


def test_a_new_run_takes_a_new_snapshot(model: Path, kept: Callable[[], list[str]]) -> None:
    job = uploader.enqueue(model, snapshot="hardlink")
    (model / "config.json").write_text((model / "config.json").read_text() + " ")
    begun = uploader.retry(job.id, rescan=True)
    assert begun.snapshot != job.snapshot
    assert kept() == [begun.snapshot]


def test_a_folder_that_is_refused_leaves_none(model: Path, kept: Callable[[], list[str]]) -> None:
    (model / "config.json").write_text("{")
    with pytest.raises(uploader.PreflightRefused):
        uploader.enqueue(model, snapshot="hardlink")
    assert kept() == []


@pytest.mark.parametrize("snapshot", ["reflink", "", True])
def test_another_kind_of_snapshot_is_refused(model: Path, home: Path, snapshot: str) -> None:
    with pytest.raises(uploader.UsageError, match="`snapshot`"):
        uploader.enqueue(model, snapshot=snapshot)
    assert not (home / "state").exists()


def test_a_job_table_of_several_machines_has_none(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPLOADER_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(uploader.UsageError, match="PostgreSQL"):
        uploader.enqueue(model, snapshot="hardlink")


def test_the_command_line_spells_it_and_shows_it(
    model: Path, kept: Callable[[], list[str]], capfd: pytest.CaptureFixture[str]
) -> None:
    assert app.run(["enqueue", str(model), "--snapshot", "copy"]) == 2
    assert "--snapshot cannot be 'copy'" in capfd.readouterr().err
    assert app.run(["enqueue", str(model), "--snapshot", "hardlink"]) == 0
    capfd.readouterr()
    assert app.run(["show", "1", "--json"]) == 0
    assert [json.loads(capfd.readouterr().out)["snapshot"]] == kept()
    assert app.run(["cancel", "1"]) == 0
    assert kept() == []


@pytest.fixture
def slow(world: World) -> World:
    """8 MiB/s: a model of 24 MiB is on its way for three seconds."""
    world.environment |= {
        "UPLOADER_TRANSFER__BANDWIDTH_LIMIT": "8MiB/s",
        "UPLOADER_TRANSFER__CHUNK_SIZE": "1MiB",
    }
    return world


@pytest.mark.acceptance
@pytest.mark.long
def test_a_folder_that_is_deleted_midway_ends_in_ready(slow: World) -> None:
    root = slow.model("weights", a_bin=12 * MIB, b_bin=12 * MIB)
    kept_elsewhere = shutil.copytree(root, slow.folder / "elsewhere" / "weights")
    job = slow.uploader("enqueue", root, "--allow", "no_weights", "--snapshot", "hardlink")
    assert job.stdout == "1\n"
    with slow.worker("--until-idle") as process:
        until(lambda: slow.received() > 4 * MIB)
        shutil.rmtree(root)
        assert process.wait(DEADLINE_S) == 0, slow.log()
    assert slow.job()["status"] == "done"
    slow.assert_identical(kept_elsewhere)
    slow.assert_kept_every_promise()
    assert list((slow.state / "uploader.db.snapshots").glob("snapshot-*")) == []


@pytest.mark.acceptance
@pytest.mark.long
def test_nor_does_a_kill_after_that_lose_a_byte(slow: World) -> None:
    root = slow.model("weights", a_bin=12 * MIB, b_bin=12 * MIB)
    kept_elsewhere = shutil.copytree(root, slow.folder / "elsewhere" / "weights")
    slow.uploader("enqueue", root, "--allow", "no_weights", "--snapshot", "hardlink")
    with slow.worker() as process:
        until(lambda: slow.received() > 4 * MIB)
        shutil.rmtree(root)
        slow.kill(process)
    slow.finish()
    slow.assert_identical(kept_elsewhere)
    slow.assert_kept_every_promise()


@pytest.mark.acceptance
@pytest.mark.long
def test_a_worker_removes_the_snapshot_of_a_job_that_is_cancelled_in_its_hands(slow: World) -> None:
    root = slow.model("weights", a_bin=12 * MIB, b_bin=12 * MIB)
    slow.uploader("enqueue", root, "--allow", "no_weights", "--snapshot", "hardlink")
    with slow.worker():
        until(lambda: slow.received() > 2 * MIB)
        slow.uploader("cancel", 1)
        until(lambda: not list((slow.state / "uploader.db.snapshots").glob("snapshot-*")))
    assert slow.job()["status"] == "cancelled"
    assert (root / "a.bin").exists()
