"""The machine: open files, checksums, memory and processors that this process may have."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from pathlib import Path

from uploader import __version__, wiring
from uploader.core.doctor_documents import Check, Health
from uploader.core.text import size
from uploader.runtime import open_files, processors
from uploader.settings.schema import Settings

_CGROUP = Path("/sys/fs/cgroup")
_INOTIFY = Path("/proc/sys/fs/inotify")
_LITTLE_BYTES = 512 << 20


def checks(_settings: Settings) -> Iterator[Check]:
    """Those about the machine."""
    yield Check("version", Health.OK, f"uploader {__version__}, Python {platform.python_version()}")
    yield _open_files()
    yield _checksum()
    yield from _cgroup()
    yield from _inotify()


def _open_files() -> Check:
    most = open_files(wiring.OPEN_FILES)  # as a worker asks for them
    if most < wiring.OPEN_FILES:
        hint = f"`ulimit -n {wiring.OPEN_FILES}`, or LimitNOFILE= in a unit"
        return Check("open_files", Health.WARN, f"at most {most} at once", hint)
    return Check("open_files", Health.OK, f"at most {most} at once")


def _checksum() -> Check:
    if slow := wiring.slowness():
        words, _, cure = slow.partition(": ")
        return Check("crc32c", Health.WARN, words, cure)
    return Check("crc32c", Health.OK, "computed in C")


def _cgroup() -> Iterator[Check]:
    memory = _read(_CGROUP / "memory.max")
    if memory.isdecimal():
        little = int(memory) < _LITTLE_BYTES
        hint = "allow 512 MiB" if little else ""
        status = Health.WARN if little else Health.OK
        yield Check("memory", status, f"a limit of {size(int(memory))}", hint)
    else:
        yield Check("memory", Health.OK, "no limit")
    cores, usable = os.cpu_count() or 1, processors()
    little = usable < 1
    hint = "allow one processor" if little else ""
    message = f"{cores}" if usable == cores else f"{usable:.1f} of {cores}"
    yield Check("processors", Health.WARN if little else Health.OK, message, hint)


def _inotify() -> Iterator[Check]:
    watches = _read(_INOTIFY / "max_user_watches")
    if watches:
        yield Check("inotify", Health.OK, f"{watches} watches; uploader uses none")


def _read(file: Path) -> str:
    try:
        return file.read_text("ascii").strip()
    except (OSError, ValueError):
        return ""
