from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from uploader.core.errors import StoreError, UsageError
from uploader.core.job import Scope, Stage
from uploader.store.claims import Claims
from uploader.store.database import migrate
from uploader.store.database.workers import WorkerLock, any_worker, exclusive, living

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)

_WORKER = """
import sys
from pathlib import Path
from uploader.store.database.workers import WorkerLock
with WorkerLock(Path(sys.argv[1])) as lock:
    print(lock.owner, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Another process that holds a worker's lock, and its owner's name."""
    with subprocess.Popen(
        [sys.executable, "-c", _WORKER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as process:
        assert process.stdout
        yield process, process.stdout.readline().strip()
        process.kill()


def test_a_lock_is_a_private_file_that_goes_with_its_worker(tmp_path: Path) -> None:
    with WorkerLock(tmp_path) as lock:
        path = tmp_path / "workers" / f"{lock.owner}.lock"
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700
        assert not os.get_inheritable(lock._file.fileno())
        assert any_worker(tmp_path)
        assert lock.alive(lock.owner)
    assert not path.exists()
    assert not any_worker(tmp_path)


@pytest.mark.parametrize("link", ["workers", "."])
def test_locks_behind_a_link_are_not_ours(tmp_path: Path, link: str) -> None:
    """A cloned or restored state folder may have one."""
    elsewhere, locks_dir = tmp_path / "elsewhere", tmp_path / "postgresql.locks"
    there = elsewhere if link == "workers" else elsewhere / "workers"
    there.mkdir(mode=0o700, parents=True)
    theirs = there / f"{'0' * 32}.lock"
    theirs.touch()
    if link == "workers":
        locks_dir.mkdir()
        (locks_dir / link).symlink_to(elsewhere)
    else:
        locks_dir.symlink_to(elsewhere)
    assert not any_worker(locks_dir)
    with pytest.raises(UsageError, match="is a link"), WorkerLock(locks_dir):
        pass
    assert [*there.iterdir()] == [theirs]


def test_no_migration_is_begun_behind_a_link(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "store.locks").symlink_to(tmp_path / "elsewhere")
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    with pytest.raises(UsageError, match="is a link"):
        migrate.ensure(engine, tmp_path / "store.locks")
    assert not [*(tmp_path / "elsewhere").iterdir()]


def test_a_lock_is_let_go_also_if_the_disk_lets_nothing_be_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that has turned read-only; whoever looks next removes the file."""
    lock = WorkerLock(tmp_path)
    with monkeypatch.context() as disk:
        disk.setattr(Path, "unlink", refuse)
        lock.close()
    assert (tmp_path / "workers" / f"{lock.owner}.lock").exists()
    assert not any_worker(tmp_path)


def test_a_worker_that_cannot_start_holds_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk; the program that asked for the worker may live on."""
    with monkeypatch.context() as disk:
        disk.setattr(os, "write", refuse)
        with pytest.raises(StoreError):
            WorkerLock(tmp_path)
    assert not any_worker(tmp_path)
    assert [*(tmp_path / "workers").iterdir()] == []


def refuse(*_: object, **__: object) -> None:
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def test_two_workers_of_one_process_see_each_other(tmp_path: Path) -> None:
    with WorkerLock(tmp_path) as one:
        with WorkerLock(tmp_path) as two:
            assert one.owner != two.owner
            assert one.alive(two.owner)
            assert two.alive(one.owner)
        assert not one.alive(two.owner)


def test_a_killed_process_is_dead_at_once_and_its_jobs_are_rescued(
    tmp_path: Path,
    claims: Claims,
    enqueue: Callable[..., int],
    worker: tuple[subprocess.Popen[str], str],
) -> None:
    process, owner = worker
    job_id = enqueue()
    claims.claim(owner, "https://api.fireworks.ai", tuple(Stage), 60)
    with WorkerLock(tmp_path) as lock:
        assert lock.alive(owner)
        assert claims.reap(lock.alive) == []
        process.kill()
        process.wait()
        assert (tmp_path / "workers" / f"{owner}.lock").exists()
        assert claims.reap(lock.alive) == [job_id]
    assert not (tmp_path / "workers" / f"{owner}.lock").exists()


def test_any_worker_removes_what_the_dead_left(tmp_path: Path) -> None:
    assert not any_worker(tmp_path)
    stale = tmp_path / "workers" / f"{0:032}.lock"
    stale.parent.mkdir()
    stale.touch()
    with WorkerLock(tmp_path):
        assert any_worker(tmp_path)
        assert not stale.exists()


def test_an_owner_without_a_file_is_dead(tmp_path: Path) -> None:
    with WorkerLock(tmp_path) as lock:
        assert not lock.alive("nobody")


def test_a_lock_removed_before_it_was_taken_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process finds the file between its creation and its flock."""
    import fcntl  # noqa: PLC0415

    real, removed = fcntl.flock, list[Path]()

    def flock(fd: int, operation: int) -> None:
        for path in () if removed else (tmp_path / "workers").iterdir():
            removed.append(path)
            path.unlink()
        real(fd, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    with WorkerLock(tmp_path) as lock:
        assert lock.owner != removed[0].stem
        assert lock.alive(lock.owner)
        assert any_worker(tmp_path)


def test_no_folder_for_locks(tmp_path: Path) -> None:
    (tmp_path / "workers").write_text("")
    with pytest.raises(StoreError):
        WorkerLock(tmp_path)


def test_no_worker_begins_to_live_while_the_store_is_migrated(tmp_path: Path) -> None:
    """Who migrates has asked for living workers before: one that came later would meet, and
    write to, a schema it does not know."""
    found: list[WorkerLock] = []
    with exclusive(tmp_path / "migrate.lock"):
        thread = threading.Thread(target=lambda: found.append(WorkerLock(tmp_path)))
        thread.start()
        thread.join(0.3)
        assert found == []
        assert not any_worker(tmp_path)
    thread.join(60)
    assert len(found) == 1
    found[0].close()


@pytest.mark.parametrize("said", [b"", b"[]", b'{"base_url": 5}', b'{"base_url": "b", "only": 5}'])
def test_what_a_lock_file_does_not_say_counts_as_all_jobs(tmp_path: Path, said: bytes) -> None:
    with WorkerLock(tmp_path) as lock:
        path = tmp_path / "workers" / f"{lock.owner}.lock"
        path.write_bytes(said)
        assert living(tmp_path) == {lock.owner: Scope()}
        path.write_bytes(b'{"base_url": "b", "only": null}')
        assert living(tmp_path) == {lock.owner: Scope("b")}, "as an earlier version wrote it"
