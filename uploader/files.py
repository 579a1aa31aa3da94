"""Files that somebody names, by a setting, an option or in a model folder: none is waited for.

A name may lead to a pipe or a device, and opening one, or reading it, may wait for ever. So
everything but a file is refused, and what was found to be one is read by its descriptor: by then
its name may lead to something else. A pipe is taken where a shell gives one in place of a file,
`<(pass show fireworks)` or /dev/stdin, which spares a key the disk: for those it is waited for, as
long as a key command may take. A worker reads such a file again and again, and a pipe only once.

A folder that others may fill has as many names as they like, and none is listed whole.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import signal
import stat
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import BinaryIO

from uploader import mounts
from uploader.core.errors import UsageError
from uploader.forks import FORKING, keep_from_children
from uploader.runtime import StopToken, SystemClock

#: For a path: a context that lasts as long as what is there is touched.
Touch = Callable[[str], AbstractContextManager[None]]

#: For how many seconds in all somebody may write into a pipe.
PATIENCE_S = 30.0
_CLOCK = SystemClock()
#: For a name and the file that it leads to: raises if that is not to be opened.
Judge = Callable[[Path, int], None]
#: What is given to `judged`.
_JUDGES: ContextVar[tuple[Judge, ...]] = ContextVar("judges", default=())
#: What is given to `looking`.
_LOOK: ContextVar[tuple[StopToken, Touch] | None] = ContextVar("looking", default=None)
#: The files of `locked` as they were, and how often each is.
_LOCKED: Counter[tuple[tuple[int, int], Path]] = Counter()
_COUNTING = Lock()
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
#: One need not be allowed to list a folder on the way.
_WAY = os.O_DIRECTORY | os.O_CLOEXEC | (os.O_PATH if hasattr(os, "O_PATH") else os.O_RDONLY)
#: Whether what was found by its name can be looked at, and then opened, without it.
_HAS_PLACES = hasattr(os, "O_PATH") and Path("/proc/self/fd").is_dir()


def absolute(path: str | Path) -> Path:
    """By its whole name. Raises UsageError if it is relative to a folder that is gone."""
    try:
        return Path(path).absolute()
    except OSError:
        hint = "change to a folder that exists, or write whole paths"
        raise UsageError("the current folder does not exist any more", hint=hint) from None


class NotAFile(OSError):
    """It is a folder, a pipe, a socket or a device."""


def read(path: Path, most: int, *, pipe: bool = False) -> tuple[bytes, os.stat_result]:
    """At most ``most`` bytes of the file at ``path``, and the facts of what was read.

    With ``pipe`` it may be one, and is read to its end. Raises OSError: NotAFile for anything else,
    TimeoutError for a pipe into which nobody writes to an end.
    """
    with touching(path):
        descriptor = _open(path, _FLAGS, pipe=pipe)
        try:
            facts = os.fstat(descriptor)
            if not stat.S_ISFIFO(facts.st_mode):
                return _blocks(descriptor, most), facts
            return read_to_end(descriptor, most, _CLOCK.boot_s() + PATIENCE_S), facts
        finally:
            os.close(descriptor)


class LockFile:
    """A file or a folder that is open to be locked by `flock`; a child does not keep it open.

    Of an open file the lock is held until every process has closed it. `fcntl`'s own locks belong
    to a process, but are lost as soon as any of its threads closes the same file.
    """

    def __init__(self, path: Path, flags: int, mode: int = 0o600) -> None:
        """Raises OSError."""
        with FORKING:
            self._descriptor = os.open(path, flags | os.O_CLOEXEC, mode)
            keep_from_children(self)

    @property
    def ours(self) -> bool:
        """Whether it is open, and not in a child of the process that opened it."""
        return self._descriptor >= 0

    def fileno(self) -> int:
        """Its descriptor."""
        return self._descriptor

    def close(self) -> None:
        """Release the lock. In a child nothing is left to be released."""
        with FORKING:
            self.let_go()

    def let_go(self) -> None:
        """As `Unshared.let_go`."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The file at ``path``, open for reading. Raises OSError: NotAFile for anything else."""
    with touching(path), os.fdopen(descriptor_of(path), "rb") as file:
        yield file


def descriptor_of(name: Path | str, flags: int = 0, *, below: int | None = None) -> int:
    """A descriptor for reading of the file ``name``, in the folder ``below`` if that is given.

    ``flags`` are more of `os.open`. Raises OSError: NotAFile for anything but a file.
    """
    return _open(name, _FLAGS | flags, below)


def identity(path: Path) -> tuple[int, int]:
    """Device and inode of the file at ``path``; (0, 0) if there is none."""
    with suppress(OSError):
        return (facts := path.stat()).st_dev, facts.st_ino
    return (0, 0)


def locked(files: Iterable[tuple[tuple[int, int], Path]]) -> None:
    """Nothing here opens those until `unlocked`: closing one would release a library's locks."""
    with _COUNTING:
        _LOCKED.update(files)


def unlocked(files: Iterable[tuple[tuple[int, int], Path]]) -> None:
    """Once for each `locked`."""
    with _COUNTING:
        _LOCKED.subtract(files)
        for one in [one for one, times in _LOCKED.items() if times <= 0]:
            del _LOCKED[one]


def _open(name: Path | str, flags: int, below: int | None = None, *, pipe: bool = False) -> int:
    """Open what was looked at: opening a device may already do something.

    Raises OSError for anything but a file or, with ``pipe``, a pipe.
    """
    check_look()
    itself = flags & os.O_NOFOLLOW
    if not _HAS_PLACES:
        return _open_by_name(name, flags, below, pipe=pipe)
    found = os.open(name, os.O_PATH | os.O_CLOEXEC | itself, dir_fd=below)
    try:
        _check(name, found, os.fstat(found), pipe=pipe)
        return os.open(f"/proc/self/fd/{found}", flags ^ itself)
    except OSError as problem:
        problem.filename = os.fspath(name)
        raise
    finally:
        os.close(found)


def _open_by_name(name: Path | str, flags: int, below: int | None, *, pipe: bool) -> int:
    """On macOS its name may lead to something else between the look and the opening."""
    facts = os.stat(name, dir_fd=below, follow_symlinks=not flags & os.O_NOFOLLOW)
    _check(name, None, facts, pipe=pipe)
    descriptor = os.open(name, flags, dir_fd=below)
    facts = os.fstat(descriptor)
    _refuse_locked(facts)  # it was put there just now, and stays open for ever
    try:
        _check(name, descriptor, facts, pipe=pipe)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check(name: Path | str, descriptor: int | None, facts: os.stat_result, *, pipe: bool) -> None:
    """Refuse what is not to be read, by its ``facts`` and, if it has a descriptor, its judges."""
    _refuse_locked(facts)
    if stat.S_ISLNK(facts.st_mode):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    if not (pipe and stat.S_ISFIFO(facts.st_mode)):
        _refuse_others(facts)
        if descriptor is not None:
            for judge in _JUDGES.get():
                judge(Path(name), descriptor)


def _refuse_locked(facts: os.stat_result) -> None:
    this = facts.st_dev, facts.st_ino  # of a file that was deleted it is soon another one's
    if any(one == this and identity(path) == this for one, path in tuple(_LOCKED)):
        raise NotAFile(errno.EBUSY, "it is the job table of this process")


@contextmanager
def judged(judge: Judge) -> Iterator[None]:
    """As long as this lasts, this thread opens no file for which ``judge`` raises.

    What it is given is what would be read, and was only looked at (on macOS: opened).
    """
    token = _JUDGES.set((*_JUDGES.get(), judge))
    try:
        yield
    finally:
        _JUDGES.reset(token)


def only_below(roots: Iterable[Path], refusal: Exception) -> AbstractContextManager[None]:
    """As long as this lasts, opening a file elsewhere raises ``refusal`` in this thread.

    For who looks at a folder on behalf of others: a name in it may be a link for a moment only.
    What counts is where the file is that was opened.
    """
    known = tuple(roots)

    def judge(_: Path, descriptor: int) -> None:
        if home(known, place(descriptor)) is None:
            raise refusal

    return judged(judge)


def home(roots: Iterable[Path], real: str) -> str | None:
    """The real path of the root that the real path ``real`` is, or is below; None without one.

    Those that look like it are asked first: the disk of another may not answer.
    """
    likely = sorted(roots, key=lambda root: not _is_in(str(root), real))
    resolved = (_resolved(root) for root in likely)
    return next((root for root in resolved if _is_in(root, real)), None)


def _resolved(root: Path) -> str:
    with touching(root):
        return os.path.realpath(root)


def _is_in(root: str, path: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")


@contextmanager
def looking(stop: StopToken, touch: Touch) -> Iterator[None]:
    """As long as this lasts, this thread opens no file once ``stop`` is set: it raises Stopped.

    ``touch`` is called for every path before anything waits for its disk, and may refuse that.
    """
    token = _LOOK.set((stop, touch))
    try:
        yield
    finally:
        _LOOK.reset(token)


def check_look() -> None:
    """For who reads one file for long: raises Stopped if nobody waits for this look any more."""
    if (look := _LOOK.get()) is not None:
        look[0].check()


def touching(path: Path | str) -> AbstractContextManager[None]:
    """To be entered before anything waits for the disk of ``path``, or of what it leads to."""
    look = _LOOK.get()
    return nullcontext() if look is None else look[1](os.fspath(path))


@contextmanager
def listed(folder: Path | str, most: int) -> Iterator[Iterator[os.DirEntry[str]]]:
    """At most ``most`` entries of ``folder``, each read once it is asked for. Raises OSError.

    Ask for one more than may be there to see that there are too many. An entry is for the moment:
    it holds the whole path, so that many of them take much more memory than their names.
    """
    with touching(folder), os.scandir(folder) as entries:
        yield islice(entries, most)


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Is it a folder, or a link to one? A link that leads around, or to a private place, is not."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def has_writer(descriptor: int) -> bool:
    """Does anybody have this file open, or mapped, for writing? Linux refuses a read lease then.

    False also if the system does not say: it is another one, the file is another user's, or its
    file system has no leases, or is one of a network, which refuses them for reasons of its own.
    The lease is given back at once: until then, whoever opens the file for writing waits, and this
    process gets a signal that is ignored by default, in the place of SIGIO, which would end it.
    """
    if sys.platform != "linux":
        return False
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as refusal:  # of the last call: the lease was taken away meanwhile
        return refusal.errno == errno.EAGAIN and mounts.is_local_file(descriptor)
    return False


def require_file(path: Path) -> None:
    """For what is read by others, by its name. Raises OSError: NotAFile for anything but a file."""
    _refuse_others(os.stat(path))  # noqa: PTH116 - with `read`, it is about descriptors


def read_to_end(descriptor: int, most: int, ends_s: float) -> bytes:
    """What comes through a pipe until it is closed, but at most ``most`` bytes.

    Raises TimeoutError at ``ends_s`` seconds since boot.
    """
    came = b""
    ready = select.poll()
    ready.register(descriptor, select.POLLIN)
    while len(came) < most:
        left_s = ends_s - _CLOCK.boot_s()
        if left_s <= 0 or not ready.poll(left_s * 1000):
            raise TimeoutError(errno.ETIMEDOUT, "nobody has written it to its end in time")
        block = os.read(descriptor, most - len(came))
        if not block:
            break
        came += block
    return came


def _blocks(descriptor: int, most: int) -> bytes:
    came = b""
    while len(came) < most and (block := os.read(descriptor, most - len(came))):
        came += block
    return came


def _refuse_others(facts: os.stat_result) -> None:
    if stat.S_ISDIR(facts.st_mode):
        raise NotAFile(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(facts.st_mode):
        raise NotAFile(errno.EINVAL, "it is a pipe, a socket or a device, and not a file")


def real(path: Path | str) -> str:
    """Where the system finds ``path``, by forty links at most. Raises OSError if nothing is there.

    `os.path.realpath` follows any number: others make links that take it minutes.
    """
    if not hasattr(os, "O_PATH"):  # macOS
        return os.path.realpath(path, strict=True)
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        return place(descriptor)
    finally:
        os.close(descriptor)


def place(descriptor: int) -> str:
    """Where the open file is, whatever its name leads to by now.

    Raises OSError if another file is there: by /proc/PID/root a link leads to the mounts of another
    process, and the system tells the place that a file has among those.
    """
    if sys.platform == "darwin":
        raw = fcntl.fcntl(descriptor, fcntl.F_GETPATH, bytes(1024))
        return os.fsdecode(raw.partition(b"\0")[0])
    told = Path(f"/proc/self/fd/{descriptor}").readlink()
    with without_links(told.parent) as folder:
        there = os.stat(told.name or ".", dir_fd=folder, follow_symlinks=False)
    if not os.path.samestat(there, os.fstat(descriptor)):
        raise OSError(errno.ESTALE, "it is not where the system says")
    return str(told)


@contextmanager
def without_links(folder: Path) -> Iterator[int]:
    """A descriptor of ``folder``, a real path. Raises OSError if one of its names is a link now."""
    at = os.open(folder.anchor, _WAY)
    try:
        for part in folder.parts[1:]:
            inner = os.open(part, _WAY | os.O_NOFOLLOW, dir_fd=at)
            os.close(at)
            at = inner
        yield at
    finally:
        os.close(at)
