"""Which workers are alive: file locks decide, not a clock (docs/architecture.md §9).

A worker holds an exclusive flock on workers/<uuid>.lock beside the file of the job table, for all
who use that. If a lock can be taken, its worker is gone: its leases are void at once and its file
is removed. With PostgreSQL a worker may be on another machine, so the lock, in the state folder
then, decides nothing there: it only tells this machine which jobs a worker takes.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from uploader.core.errors import StoreError
from uploader.core.job import Scope, short
from uploader.core.store_reasons import StoreCode
from uploader.files import LockFile
from uploader.processes import is_alive
from uploader.runtime import SystemClock
from uploader.store.database.dialect import store_errors
from uploader.store.database.state_folder import folder_of_ours, refuse_link

#: Seconds: migrating a large store, or backing it up, may take a while.
LOCK_PATIENCE_S = 60.0
_LOOK_S = 0.1
#: A file beside `workers`; locked while a schema changes, a backup is made, or a worker starts.
MIGRATION_LOCK = "migrate.lock"
_UNKNOWN = Scope()
#: The owner of a worker that takes only some jobs begins with this.
_LIMITED = "only-"
#: The word for what a worker takes ends with this if it has the secret of the job table.
_KNOWING = "+"
#: What `_take_new` makes. A row may have another word, and it would become a path.
_OWNER = re.compile(rf"(?:{_LIMITED})?[0-9a-f]{{32}}")


class WorkerLock:
    """This worker's proof of life, held until `close`. ``owner`` goes into its leases."""

    def __init__(self, locks_dir: Path, scope: Scope = _UNKNOWN) -> None:
        """``scope``: what this worker takes; its lock file tells other processes.

        Raises StoreError, and UsageError for a state folder on a network file system.
        """
        self._folder = locks_dir / "workers"
        with store_errors():
            refuse_link(locks_dir)
            folder_of_ours(self._folder)
            # A migration has already checked for workers: none may start meanwhile.
            with exclusive(locks_dir / MIGRATION_LOCK):
                self.owner, self._file = _take_new(self._folder, _prefix(scope))
                try:
                    os.write(self._file.fileno(), _written(scope))
                except OSError:
                    self.close()  # nobody else ever would
                    raise

    def alive(self, owner: str) -> bool:
        """Does the worker ``owner`` still hold its lock? Always true for this one.

        Never for an owner that no worker could have: nothing is looked for under such a name.
        """
        if not _OWNER.fullmatch(owner):
            return False
        with store_errors():
            return owner == self.owner or _held(_lock_path(self._folder, owner))

    def close(self) -> None:
        """Release the lock: this worker counts as gone, and its leases may be taken over.

        Does nothing in a child of this process, which is not the worker.
        """
        if self._file.ours:
            # It is removed while still locked, so that nobody can take it for a stale one. If the
            # disk refuses that, whoever looks next removes it.
            with contextlib.suppress(OSError):
                _lock_path(self._folder, self.owner).unlink()
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def any_worker(locks_dir: Path) -> bool:
    """Is any worker, of any process, alive? Removes stale locks; raises StoreError."""
    return bool(living(locks_dir))


def living(locks_dir: Path) -> dict[str, Scope]:
    """The owners of the locks that are held, each with what it takes; removes stale locks.

    Raises StoreError.
    """
    with store_errors():
        folder = locks_dir / "workers"
        if folder.is_symlink() or locks_dir.is_symlink():  # no worker starts there
            return {}
        locks = folder.glob("*.lock")
        ours = [path for path in locks if _OWNER.fullmatch(path.stem)]
        return {path.stem: _read(path) for path in ours if _held(path)}


def word_of(scope: Scope) -> str:
    """What a worker tells other machines of what it takes, in a name that has room for no more."""
    return short(scope.base_url) + (_KNOWING if scope.secret else "")


def scope_of(owner: str, word: str = _KNOWING) -> Scope:
    """What a worker of another machine takes, as far as its name tells (PostgreSQL only).

    ``word``: as `word_of` made it, or an earlier version, which says nothing of a secret.
    """
    only = frozenset[int]() if owner.startswith(_LIMITED) else None
    return Scope(word.removesuffix(_KNOWING), only, word.endswith(_KNOWING))


def _prefix(scope: Scope) -> str:
    return "" if scope.only is None else _LIMITED


def _written(scope: Scope) -> bytes:
    only = None if scope.only is None else sorted(scope.only)
    written = {"base_url": scope.base_url, "only": only, "secret": scope.secret}
    return json.dumps(written).encode()


def _read(path: Path) -> Scope:
    """What a lock file says; one that was only just made, or is damaged, says nothing."""
    try:
        written = json.loads(path.read_bytes())
        only = None if written["only"] is None else frozenset(map(int, written["only"]))
        # An earlier version took every job.
        return Scope(str(written["base_url"]), only, written.get("secret") is not False)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return scope_of(path.stem)


def _lock_path(folder: Path, owner: str) -> Path:
    return folder / f"{owner}.lock"


def _take_new(folder: Path, prefix: str) -> tuple[str, LockFile]:
    while True:
        owner = prefix + uuid.uuid4().hex
        path = _lock_path(folder, owner)
        file = LockFile(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        fcntl.flock(file, fcntl.LOCK_EX)
        # Between open and flock another process may have taken it for stale and removed it. A name
        # is never used twice, so a file of this name is ours.
        if path.exists():
            return owner, file
        file.close()


def _held(path: Path) -> bool:
    try:
        file = LockFile(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        # A shared lock: two processes that check at once must not take each other for the worker.
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        path.unlink(missing_ok=True)
        return False
    finally:
        file.close()


@contextlib.contextmanager
def exclusive(path: Path, patience_s: float = LOCK_PATIENCE_S) -> Iterator[None]:
    """Hold an exclusive flock on ``path`` (created 0600), waiting ``patience_s`` for it.

    Raises StoreError, which names the process that holds it, and OSError.
    """
    file = LockFile(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW)
    try:
        # Others who can open a restored copy could lock it, too. Some file systems have no modes.
        with contextlib.suppress(PermissionError):
            os.fchmod(file.fileno(), 0o600)
        _take(file, path, patience_s)
        os.ftruncate(file.fileno(), 0)
        os.pwrite(file.fileno(), str(os.getpid()).encode(), 0)  # for processes that wait
        yield
    finally:
        file.close()


def _take(file: LockFile, path: Path, patience_s: float) -> None:
    clock, never = SystemClock(), threading.Event()
    ends_s = clock.boot_s() + patience_s
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if clock.boot_s() >= ends_s:
                raise _held_by(file.fileno(), path) from None
            clock.wait(never, _LOOK_S)
        else:
            return


def _held_by(fd: int, path: Path) -> StoreError:
    written = os.pread(fd, 20, 0).decode("ascii", "replace")
    lives = written.isdecimal() and is_alive(int(written))
    return StoreError(
        f"{f'process {written}' if lives else 'another process'} has locked {path} for too long",
        hint=f"see what it is doing (`ps -p {written}`)" if lives else f"fuser {path}",
        code=StoreCode.LOCKED,
    )
