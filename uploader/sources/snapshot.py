"""Snapshots: the files of a local folder, kept for one job even if the folder is deleted.

Each is a folder of hard links next to the job table. A link keeps inode, size and modification
time, so that the file is the one that was enqueued (docs/invariants.md §6), and it costs no space
until the other name is gone. It does not protect against a program that writes into the file: such
a write shows through the link, and the job fails as it would without a snapshot. Small files are
copied, because they are the ones that are usually written in place, but at most `MOST_COPIED_BYTES`
of them; the rest is linked.

A snapshot is in use as long as a job that may still send names it. Whoever stops using one sweeps.
A table that was put back from a copy does not know the jobs that came after the copy: their
snapshots are kept until somebody removes them by hand.
Each has its own lock, held while the snapshot is taken: if one folder's disk does not answer, the
other snapshots can still be swept.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import re
import shutil
import stat
import threading
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from uploader.core.errors import SourceChanged, UploaderError, UsageError
from uploader.core.job import Manifest, ManifestFile
from uploader.core.text import some
from uploader.files import LockFile, NotAFile, check_look, has_writer, real
from uploader.model.fingerprint import fingerprint_of, same_inode
from uploader.runtime import Clock, SystemClock
from uploader.sources.local import opened
from uploader.store.database.state_folder import folder_of_ours, refuse_link

_log = logging.getLogger(__name__)

#: Smaller files are copied, as long as they are not too many: a config.json is, weights are not.
COPIED_BELOW_BYTES = 1 << 20
MOST_COPIED_BYTES = 64 << 20
#: Seconds: a sweep is over soon.
LOCK_PATIENCE_S = 60.0
_LOOK_S = 0.1
#: Seconds for which an unneeded snapshot may stay before the log says so.
LONG_S = 3600.0
#: A snapshot with this prefix has its own lock. Older versions have one lock for all of them.
_OWN = "snapshot-"
#: In a folder of this name there may be what we made; any other one is somebody else's.
_NAME = re.compile(rf"(?:{_OWN})?[0-9a-f]{{32}}")
#: A file in `home`: where the table stood at the last sweep, and which unknown snapshots are kept.
_SEEN = "table"
_MOST_SEEN_BYTES = 1 << 20
_WITHOUT = "leave out `snapshot`, and keep the folder until the job is done"
_HINTS = {
    errno.EXDEV: f"set `state_dir` to a folder of that file system, or {_WITHOUT}",
    errno.EPERM: f"run uploader as the user whose files they are, or {_WITHOUT}",
    errno.EAGAIN: "`fuser {home}` shows who",
}
_WORDS = {
    errno.EXDEV: "that is another file system",
    errno.EAGAIN: "another process has locked it for too long",
}


class Snapshots:
    """The snapshots of one job table, each a folder of its own below ``home``."""

    def __init__(self, home: Path) -> None:
        self.home = home

    @contextlib.contextmanager
    def taking(self, manifest: Manifest) -> Iterator[tuple[str, Manifest]]:
        """The path of a new snapshot of those files, and the files as they are in it.

        No sweep removes it before the context ends.
        Raises UsageError if a file cannot be linked, nothing can be written in `home`, or that is a
        link; SourceChanged if a file is not the manifest's.
        """
        with contextlib.ExitStack() as locks:
            try:
                folder, files = self._taken(manifest, locks)
            except OSError as error:
                raise self._refused(Path(manifest.root), error) from None
            yield str(folder), replace(manifest, files=files)

    def _taken(
        self, manifest: Manifest, locks: contextlib.ExitStack
    ) -> tuple[Path, tuple[ManifestFile, ...]]:
        folder_of_ours(self.home)
        # Older versions check only this lock before sweeping.
        locks.enter_context(contextlib.closing(_waited_for(self.home)))
        folder, lock = self._begun()
        locks.enter_context(contextlib.closing(lock))
        root, files, room = Path(manifest.root), list[ManifestFile](), MOST_COPIED_BYTES
        for file in manifest.files:
            copies = file.size_bytes < min(COPIED_BELOW_BYTES, room)
            room -= file.size_bytes if copies else 0
            files.append(self._keep(root, file, folder, copies=copies))
        _flush(folder)
        return folder, tuple(files)

    def _begun(self) -> tuple[Path, LockFile]:
        while True:
            folder = self.home.resolve() / f"{_OWN}{uuid.uuid4().hex}"
            folder.mkdir(mode=0o700)
            with contextlib.suppress(FileNotFoundError):
                lock = _locked(folder, fcntl.LOCK_EX)
                # Before it was locked, a sweep may have taken it for left over. A name is never
                # used twice, so a folder of this name is ours.
                if folder.exists():
                    return folder, lock
                lock.close()

    def sweep(
        self,
        in_use: Callable[[], Collection[str]],
        follows: Callable[[str], tuple[bool, str]],
    ) -> dict[Path, str]:
        """Remove every snapshot whose path ``in_use`` does not return.

        ``follows`` is that of `store/lineage.py`: if the table was put back, snapshots that are
        unknown to it are kept.
        Returns what could not be removed, and why: it is left for the next sweep. `home` is among
        them if the sweep itself failed, for example for lack of a job table. Raises nothing.
        """
        left: dict[Path, str] = {}
        try:
            before, names = self._seen()
            follows_it, now = follows(before)
            unused = self._unused(in_use)
            kept = self._kept(names, unused, follows=follows_it)
            if (now, kept) != (before, names) and self.home.exists():
                with contextlib.suppress(OSError):  # if there is no space, the sweep makes some
                    self._note(now, kept)
            for folder in (folder for folder in unused if folder.name not in kept):
                if why := self._remove(folder, in_use):
                    left[folder] = why
        except (OSError, UploaderError) as error:
            left[self.home] = str(error)
        return left

    def _unused(self, in_use: Callable[[], Collection[str]]) -> list[Path]:
        if not self.home.exists():
            return []
        refuse_link(self.home)
        used = _names(in_use())
        with os.scandir(self.home) as entries:
            folders = [entry for entry in entries if entry.is_dir(follow_symlinks=False)]
        ours = [folder for folder in folders if _NAME.fullmatch(folder.name)]
        return [Path(folder.path) for folder in ours if folder.name not in used]

    def _kept(
        self, names: frozenset[str], unused: Sequence[Path], *, follows: bool
    ) -> frozenset[str]:
        """The names of those that are ``unused`` and stay."""
        unknown = frozenset(folder.name for folder in unused)
        if follows or not unknown:
            return unknown & names
        said = "the job table was put back; snapshots that it does not know are kept: %s"
        _log.warning(said, some([str(folder) for folder in unused]))
        return unknown

    def _seen(self) -> tuple[str, frozenset[str]]:
        seen = self.home / _SEEN
        try:
            if not seen.is_file():  # a pipe would be waited for
                return "", frozenset()
            with seen.open("rb") as reader:  # also for a look that nobody waits for any more
                before, *names = reader.read(_MOST_SEEN_BYTES).decode().splitlines()
        except (OSError, ValueError):
            return "", frozenset()
        return before, frozenset(names)

    def _note(self, now: str, names: frozenset[str]) -> None:
        new = self.home / f"{_SEEN}-{uuid.uuid4().hex}"
        try:
            with new.open("x", encoding="utf-8") as writer:
                writer.write("\n".join([now, *sorted(names)]))
                writer.flush()
                os.fsync(writer.fileno())
            new.replace(self.home / _SEEN)
        finally:
            new.unlink(missing_ok=True)

    def _remove(self, folder: Path, in_use: Callable[[], Collection[str]]) -> str:
        """Remove a snapshot, unless it is in use by now; returns why it stays, if it does."""
        place = folder if folder.name.startswith(_OWN) else self.home
        try:
            with contextlib.closing(_locked(place, fcntl.LOCK_EX | fcntl.LOCK_NB)):
                # Asked again: until it was locked, it may have been taken, and a job made of it.
                if folder.name not in _names(in_use()):
                    shutil.rmtree(folder, ignore_errors=True)
                    return "it cannot be removed" if folder.exists() else ""
        except BlockingIOError:
            return f"{place} is locked; `fuser {place}` shows by whom"
        except FileNotFoundError:
            return ""  # somebody else has removed it
        except OSError as error:
            return str(error)
        return ""

    def _keep(self, root: Path, file: ManifestFile, folder: Path, *, copies: bool) -> ManifestFile:
        target = folder / file.path
        try:
            with _opened(root, file) as descriptor:
                if copies:
                    same = _copied(descriptor, target, file)
                else:
                    # A link of a Hugging Face cache leads to a blob, and that has to be kept.
                    os.link(real(root / file.path), target)
                    facts = os.lstat(target)
                    same = _is(facts, file) and os.path.samestat(facts, os.fstat(descriptor))
        except (FileNotFoundError, NotAFile, SourceChanged):
            same = False
        if not same:
            message = f"{file.path} changed while its folder was being enqueued"
            raise SourceChanged(message, hint="enqueue it again once nothing writes to it")
        return replace(file, fingerprint=fingerprint_of(os.lstat(target), lasting=True))

    def _refused(self, root: Path, error: OSError) -> UsageError:
        why = _WORDS.get(error.errno or 0, error.strerror)
        message = f"the files of {root} cannot be linked into {self.home}: {why}"
        hint = _HINTS.get(error.errno or 0, _WITHOUT).format(home=self.home)
        return UsageError(message, hint=hint)


class Sweeper:
    """Sweeps the snapshots of a job table again and again, as a worker does."""

    def __init__(
        self,
        snapshots: Snapshots,
        in_use: Callable[[], Collection[str]],
        follows: Callable[[str], tuple[bool, str]],
        clock: Clock,
    ) -> None:
        """``in_use`` and ``follows`` are those of `Snapshots.sweep`."""
        self._follows = follows
        self._snapshots = snapshots
        self._in_use = in_use
        self._clock = clock
        self._since: dict[Path, float] = {}

    def sweep(self) -> None:
        """As `Snapshots.sweep`; what stays for an hour is logged, once an hour."""
        left, now_s = self._snapshots.sweep(self._in_use, self._follows), self._clock.boot_s()
        since = {path: self._since.get(path, now_s) for path in left}
        long = [path for path in left if now_s - since[path] >= LONG_S]
        self._since = since | dict.fromkeys(long, now_s)
        home = self._snapshots.home
        if home in long:
            _log.warning("no sweep of the snapshots has succeeded for an hour: %s", left[home])
        if stays := [f"{path} ({left[path]})" for path in long if path != home]:
            _log.warning("snapshots that no job needs have stayed for an hour: %s", some(stays))


def _waited_for(folder: Path) -> LockFile:
    """A shared lock, once a sweep has let it go. Raises OSError: BlockingIOError in the end."""
    clock, never = SystemClock(), threading.Event()
    ends_s = clock.boot_s() + LOCK_PATIENCE_S
    while True:
        try:
            return _locked(folder, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            if clock.boot_s() >= ends_s:
                raise
            check_look()
            clock.wait(never, _LOOK_S)


def _locked(folder: Path, how: int) -> LockFile:
    """Raises OSError: BlockingIOError if it is locked, and ``how`` says not to wait."""
    file = LockFile(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(file, how)
    except BaseException:
        file.close()
        raise
    return file


def _names(paths: Collection[str]) -> set[str]:
    return {Path(path).name for path in paths}


@contextlib.contextmanager
def _opened(root: Path, file: ManifestFile) -> Iterator[int]:
    """The file, opened as it will be for sending: what became a link meanwhile is not followed."""
    descriptor = opened(root, file)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _copied(descriptor: int, target: Path, file: ManifestFile) -> bool:
    """Copy a small file with its modification time; False if it is not that file, or changes.

    If somebody has it open for writing, its time says nothing: then it is read twice.
    """
    written = has_writer(descriptor)
    content = _content(descriptor)
    if written and _content(descriptor) != content:
        return False
    facts = os.fstat(descriptor)
    if not _is(facts, file):
        return False
    with target.open("xb") as writer:
        writer.write(content)
        writer.flush()
        os.utime(writer.fileno(), ns=(facts.st_atime_ns, facts.st_mtime_ns))
        os.fsync(writer.fileno())
    return len(content) == file.size_bytes


def _content(descriptor: int) -> bytes:
    os.lseek(descriptor, 0, os.SEEK_SET)
    with os.fdopen(descriptor, "rb", closefd=False) as reader:
        return reader.read(COPIED_BELOW_BYTES)


def _is(facts: os.stat_result, file: ManifestFile) -> bool:
    """Are these the facts of the very file that was listed?"""
    # A new link to it, such as the one that was just made, moves its change time.
    same = same_inode(file.fingerprint, fingerprint_of(facts))
    return stat.S_ISREG(facts.st_mode) and facts.st_size == file.size_bytes and same


def _flush(folder: Path) -> None:
    """Make the names survive a power cut: the folder's own, too."""
    for path in (folder, folder.parent):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
