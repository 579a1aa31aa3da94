"""Linux is asked who has a file open for writing, and nobody notices that it was asked."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from uploader import files, mounts

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has leases")
DEADLINE_S = 60.0
#: Asks, while somebody opens the file for writing just after the lease was given.
ASKED_IN_BETWEEN = """
import fcntl, os, sys, threading, time
from pathlib import Path
from uploader import files, mounts

path, real = Path(sys.argv[1]), fcntl.fcntl
opened = threading.Event()

def open_for_writing():
    os.close(os.open(path, os.O_WRONLY))
    opened.set()

def asking(descriptor, verb, *argument):
    answer = real(descriptor, verb, *argument)
    if (verb, *argument) == (fcntl.F_SETLEASE, fcntl.F_RDLCK):
        threading.Thread(target=open_for_writing, daemon=True).start()
        ends = time.monotonic() + 20
        while real(descriptor, fcntl.F_GETLEASE) != fcntl.F_UNLCK:  # it is being taken away
            assert time.monotonic() < ends
            time.sleep(0.001)
        assert not opened.is_set()
    return answer

fcntl.fcntl = asking
with files.opened(path) as file:
    began = time.monotonic()
    files.has_writer(file.fileno())
    assert opened.wait(20)
    print("opened after", time.monotonic() - began)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "w.bin"
    path.write_bytes(b"A" * 8192)
    with path.open("r+b"):
        if not asked(path):
            pytest.skip("this kernel or this file system has no leases")
    return path


def asked(path: Path) -> bool:
    with files.opened(path) as file:
        return files.has_writer(file.fileno())


@contextmanager
def mapped(path: Path) -> Iterator[None]:
    """Mapped for writing and closed: Python's own mappings would keep the file open."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    protection = mmap.PROT_READ | mmap.PROT_WRITE
    with path.open("r+b") as file:
        place = libc.mmap(None, 8192, protection, mmap.MAP_SHARED, file.fileno(), ctypes.c_long(0))
    try:
        yield
    finally:
        assert libc.munmap(ctypes.c_void_p(place), 8192) == 0


def test_a_file_that_nobody_writes_is_not_refused(path: Path) -> None:
    assert not asked(path)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ):
        assert not asked(path)


def test_a_file_that_somebody_has_open_for_writing_is_refused(path: Path) -> None:
    for mode in ("r+b", "ab"):
        with path.open(mode):
            assert asked(path)
        assert not asked(path)


def test_a_file_that_is_mapped_for_writing_is_refused_although_it_is_closed(path: Path) -> None:
    if mounts.file_system(path) == "overlay":
        pytest.skip("overlayfs does not know who has mapped the file below")
    with mapped(path):
        assert asked(path)
    assert not asked(path)


def test_the_lease_is_given_back_at_once(path: Path) -> None:
    with files.opened(path) as file:
        assert not files.has_writer(file.fileno())
        assert fcntl.fcntl(file.fileno(), fcntl.F_GETLEASE) == fcntl.F_UNLCK
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))  # raises if there is still a lease


def test_who_opens_it_in_between_goes_on_at_once_and_ends_nobody(path: Path) -> None:
    command = [sys.executable, "-c", ASKED_IN_BETWEEN, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.removeprefix("opened after ")) < 10, "a lease is kept for 45 s"


@pytest.mark.parametrize("code", [errno.EACCES, errno.EINVAL, errno.ENOSYS, errno.EPERM])
def test_a_system_that_does_not_say_is_not_believed(
    path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: Any) -> int:
        raise OSError(code, os.strerror(code))

    with path.open("r+b"), files.opened(path) as file:
        monkeypatch.setattr(fcntl, "fcntl", refuse)
        assert not files.has_writer(file.fileno())


def test_other_systems_are_not_asked(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with path.open("r+b"), files.opened(path) as file:
        assert not files.has_writer(file.fileno())
