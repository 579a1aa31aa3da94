"""A process that uploads may fork: a data loader's workers live on after it was killed."""

from __future__ import annotations

import ast
import fcntl
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.forking import BEGIN, ROOT, Forking, forking
from tests.sources.test_snapshot import goes_on
from uploader.forks import OurDescriptor
from uploader.sources.snapshot import Snapshots
from uploader.store.database.workers import any_worker, exclusive

__all__ = ["forking"]
_WORKER = "with WorkerLock(Path(place)): wait_for_fork()"
_MIGRATION = "with exclusive(Path(place, 'migrate.lock')): wait_for_fork()"
_SNAPSHOT = "with Snapshots(Path(place)).taking(Manifest(place, ())): wait_for_fork()"


def test_a_worker_that_was_killed_is_gone_although_its_child_lives(
    tmp_path: Path, forking: Callable[[str, str], Forking]
) -> None:
    parent = forking(_WORKER, str(tmp_path))
    parent.fork()
    assert any_worker(tmp_path), "the child closed its own descriptor, not the parent's lock"
    parent.kill_parent()
    assert not any_worker(tmp_path)


def test_the_lock_of_a_migration_goes_with_its_process_although_its_child_lives(
    tmp_path: Path, forking: Callable[[str, str], Forking]
) -> None:
    parent = forking(_MIGRATION, str(tmp_path))
    parent.fork()
    parent.kill_parent()
    with exclusive(tmp_path / "migrate.lock", patience_s=0.0):
        pass


def test_a_snapshot_is_swept_once_its_taker_was_killed_although_the_child_lives(
    tmp_path: Path, forking: Callable[[str, str], Forking]
) -> None:
    parent, snapshots = forking(_SNAPSHOT, str(tmp_path)), Snapshots(tmp_path)
    parent.fork()
    (begun,) = tmp_path.iterdir()
    assert [*snapshots.sweep(list, goes_on)] == [begun]
    assert begun.exists()
    parent.kill_parent()
    assert snapshots.sweep(list, goes_on) == {}
    assert not begun.exists()
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the lock of all, for older versions
    finally:
        os.close(folder)


def test_a_child_that_leaves_its_copy_of_a_worker_ends_no_worker(tmp_path: Path) -> None:
    body = """
with WorkerLock(Path(place)) as lock:
    child = fork(lock.close)
    os.waitpid(child, 0)
    print("left", flush=True)
    time.sleep(600)
"""
    with subprocess.Popen(
        [sys.executable, "-c", BEGIN + body, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "left\n"
            assert any_worker(tmp_path)
        finally:
            process.kill()


def test_what_cannot_be_let_go_keeps_nothing_else_open(
    tmp_path: Path, forking: Callable[[str, str], Forking]
) -> None:
    body = (
        """
class Stubborn:
    def let_go(self):
        raise TypeError
stubborn = [Stubborn() for _ in range(50)]
[keep_from_children(one) for one in stubborn]
"""
        + _WORKER
    )
    parent = forking(body, str(tmp_path))
    parent.fork()
    parent.kill_parent()
    assert not any_worker(tmp_path)


def test_a_number_that_a_child_let_go_of_is_not_given_to_a_file_of_its_own() -> None:
    """Else what the child inherited would write to it, or close it."""
    here, there = socket.socketpair()
    with here, there:
        one = OurDescriptor(here.fileno())
        one.let_go()
        with Path(__file__).open() as file:
            assert file.fileno() != here.fileno()
        assert not os.get_inheritable(here.fileno())
        os.write(here.fileno(), b"goodbye")
        assert there.recv(9) == b""


def test_another_file_under_a_number_that_was_closed_is_left_alone(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.touch()
    second.write_text("mine")
    descriptor = os.open(first, os.O_RDONLY)
    one = OurDescriptor(descriptor)
    with second.open("rb") as file:
        os.dup2(file.fileno(), descriptor)
        one.let_go()
    with os.fdopen(descriptor, "rb") as file:
        assert file.read() == b"mine"


def test_nothing_is_locked_that_a_child_would_keep() -> None:
    found = set()
    for path in (ROOT / "uploader").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "fcntl.flock":
                found.add((path.name, ast.unparse(node.args[0])))
    sandbox = {("state.py", "self._lock")}  # a process of its own
    assert found == {("workers.py", "file"), ("snapshot.py", "file")} | sandbox
