"""The store's disk fills, turns read-only, breaks or goes away: a clear error or a clean return."""

from __future__ import annotations

import json
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance import hammer
from tests.acceptance.conftest import DEADLINE_S, MIB, World, until

pytestmark = [pytest.mark.acceptance, pytest.mark.long]
LINUX = sys.platform == "linux"
LOOKS = ("status", "show 1", "events")
CHANGES = ("pause 1", "retry 1", "db upgrade", "run --until-idle")

#: Root reads and writes whatever a mode forbids, unless it gives that power up.
WITHOUT_POWERS = """
import ctypes, os, sys
for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    assert ctypes.CDLL(None).prctl(24, capability, 0, 0, 0) == 0  # PR_CAPBSET_DROP
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


@pytest.fixture
def busy(world: World) -> Path:
    """A job that takes some seconds."""
    model = world.model("model", weights_bin=8 * MIB)
    world.uploader("enqueue", model)
    world.environment["UPLOADER_TRANSFER__BANDWIDTH_LIMIT"] = "4MiB/s"
    return model


def _answers(world: World, *lines: str, powerless: bool = False) -> list[dict[str, Any]]:
    """Each command line's exit code and what it said on stderr."""
    command = [hammer.__file__, *lines]
    if powerless and os.geteuid() == 0:
        command = ["-c", WITHOUT_POWERS, *command]
    done = subprocess.run(
        [sys.executable, *command],
        env=world.environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=True,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(lines)
    return answers


def _assert_clear(answers: list[dict[str, Any]], *codes: int) -> None:
    """One of ``codes`` each; what is refused is said in two lines."""
    for answer in answers:
        assert answer["code"] in codes, answer
        assert "Traceback" not in answer["complained"], answer
        if answer["code"]:
            assert "error: the state store" in answer["complained"], answer
            assert "\nhint: " in answer["complained"], answer


def _goes_on_for(process: subprocess.Popen[str], seconds: float) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(seconds)


# -- a full disk -----------------------------------------------------------------------------


@pytest.mark.skipif(not LINUX, reason="only Linux changes another process's limits")
def test_a_disk_that_fills_while_committing_and_logging_and_is_freed(
    world: World, busy: Path
) -> None:
    """No file may grow: neither the store's log nor the worker's own. Needs no privilege."""
    with world.worker("--until-idle") as process:
        until(lambda: world.received() > MIB)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        _goes_on_for(process, 4.0)
        freed = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, freed)
        assert process.wait(DEADLINE_S) == 0, world.log()
    world.assert_identical(busy)
    world.assert_kept_every_promise()


#: A file system of its own, in a namespace of its own, full before the worker starts or after.
IN_A_SMALL_DISK = """
set -e
mkdir -p "$UPLOADER_STATE_DIR"
mount -t tmpfs -o size=2m,mode=700 tmpfs "$UPLOADER_STATE_DIR"
"$0" -m uploader enqueue "$1"
cat /dev/zero > "$UPLOADER_STATE_DIR/ballast" 2>/dev/null || true
set +e
"$0" -m uploader run --until-idle
echo "full: $?"
"$0" -m uploader status
echo "look: $?"
rm "$UPLOADER_STATE_DIR/ballast"
exec "$0" -m uploader run --until-idle
"""


def _own_mounts() -> list[str]:
    """The words that give a command its own mounts; none if the system refuses."""
    command = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "-Urm"]
    probe = [*command, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    if shutil.which("unshare") is None or subprocess.run(probe, check=False).returncode:
        return []
    return command


def test_a_disk_that_is_full_when_the_worker_starts(world: World) -> None:
    mounts = _own_mounts()
    if not mounts:
        pytest.skip("no mounts of one's own here")
    model = world.model("model", weights_bin=MIB)
    done = subprocess.run(
        [*mounts, "sh", "-c", IN_A_SMALL_DISK, sys.executable, str(model)],
        env=world.environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "full: 11" in done.stdout, done.stdout + done.stderr
    assert "error: the state store" in done.stderr
    assert "hint: " in done.stderr
    assert "full" in done.stderr
    world.assert_identical(model)
    world.assert_kept_every_promise()


@pytest.mark.skipif(not LINUX, reason="Linux has /dev/full")
def test_a_log_that_cannot_be_written_stops_nothing(world: World, busy: Path) -> None:
    command = [sys.executable, "-m", "uploader", "run", "--until-idle"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command, env=world.environment, stderr=full, timeout=DEADLINE_S, check=False
        )
    assert done.returncode == 0
    world.assert_identical(busy)
    world.assert_kept_every_promise()


# -- a store that cannot be written, or read -------------------------------------------------


@contextmanager
def _read_only(folder: Path) -> Iterator[None]:
    paths = [folder, *folder.rglob("*")]
    modes = {path: path.stat().st_mode for path in paths}
    for path in paths:
        path.chmod(0o500 if path.is_dir() else 0o400)
    try:
        yield
    finally:
        for path in paths:
            path.chmod(modes[path])


@pytest.mark.skipif(not LINUX and os.geteuid() == 0, reason="root may write everything")
def test_a_read_only_state_folder(world: World) -> None:
    model = world.model("model", weights_bin=5)
    world.uploader("enqueue", model)
    with _read_only(world.state):
        lines = (f"enqueue {world.model('other', weights_bin=5)}", *CHANGES)
        _assert_clear(_answers(world, *lines, powerless=True), 11)
        _assert_clear(_answers(world, *LOOKS, powerless=True), 0, 11)
    world.finish()
    world.assert_identical(model)


@pytest.mark.parametrize("damage", ["letter", "middle"])
def test_a_corrupt_store(world: World, damage: str) -> None:
    world.uploader("enqueue", world.model("model", weights_bin=5))
    database = world.state / "uploader.db"
    raw = database.read_bytes()
    ruins = {
        "letter": b"Dear reader, " * 1000,
        "middle": raw[:4096] + os.urandom(len(raw) - 4096),
    }
    database.write_bytes(ruins[damage])
    _assert_clear(_answers(world, *LOOKS, *CHANGES), 11)
    assert database.read_bytes()[:4096] == ruins[damage][:4096], "it was left for a human to see"
    database.write_bytes(raw)
    world.finish()


def test_a_newer_store_is_refused_and_left_as_it_is(world: World) -> None:
    world.uploader("enqueue", world.model("model", weights_bin=5))
    database = world.state / "uploader.db"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    before = database.read_bytes()
    answers = _answers(world, *LOOKS, *CHANGES)
    _assert_clear(answers, 11)
    assert all("newer" in answer["complained"] for answer in answers)
    assert database.read_bytes() == before


# -- a store that goes away ------------------------------------------------------------------


def test_a_store_that_goes_away_under_the_worker_and_comes_back(world: World, busy: Path) -> None:
    """An unmounted and remounted folder, in miniature."""
    away = world.folder / "away"
    with world.worker("--until-idle") as process:
        until(lambda: world.received() > MIB)
        (world.state / "uploader.db").rename(away)
        until(lambda: "is gone" in world.log())
        _goes_on_for(process, 1.0)
        away.rename(world.state / "uploader.db")
        assert process.wait(DEADLINE_S) == 0, world.log()
    assert "Traceback" not in world.log()
    world.assert_identical(busy)
    world.assert_kept_every_promise()


def test_a_log_left_by_a_crash_is_taken_in(world: World, busy: Path) -> None:
    with world.worker() as process:
        until(lambda: world.received() > 2 * MIB)
        world.kill(process)
    log = world.state / "uploader.db-wal"
    assert log.stat().st_size > 0
    (world.state / "uploader.db-shm").unlink()  # as after a power loss
    assert world.job()["stage"] == "upload"
    world.finish()
    world.assert_identical(busy)
    world.assert_kept_every_promise()
