"""Snapshots: the files of a local folder, kept for one job even if the folder is deleted.

Each is a folder of hard links next to the job table. A link keeps inode, size and modification
time, so that the file is the one that was enqueued (docs/invariants.md §6), and it costs no space
until the other name is gone. It does not protect against a program that writes into the file: the
link shows that, too, and the job fails as it would without. Small files are copied, because
those are the ones that are usually written in place; what is beyond `MOST_COPIED_BYTES` of them
is linked like the rest.

A snapshot is in use as long as a job that may still send names it. Whoever ends such a use sweeps.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import stat
import uuid
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from pathlib import Path

from uploader.core.errors import SourceChanged, StoreError, UsageError
from uploader.core.job import Manifest, ManifestFile
from uploader.files import LockFile, NotAFile
from uploader.model.fingerprint import fingerprint_of, is_linked
from uploader.sources.local import opened

#: Smaller files are copied, as long as they are not too many: a config.json is, weights are not.
COPIED_BELOW_BYTES = 1 << 20
MOST_COPIED_BYTES = 64 << 20
_WITHOUT = "leave out `snapshot`, and keep the folder until the job is done"
_HINTS = {
    errno.EXDEV: f"set `state_dir` to a folder of that file system, or {_WITHOUT}",
    errno.EPERM: f"run uploader as the user whose files they are, or {_WITHOUT}",
}


class Snapshots:
    """The snapshots of one job table, each a folder of its own below ``home``."""

    def __init__(self, home: Path) -> None:
        self._home = home

    @contextlib.contextmanager
    def taking(self, manifest: Manifest) -> Iterator[tuple[str, Manifest]]:
        """The path of a new snapshot of those files, and the files as they are in it.

        No sweep removes it before the context ends.
        Raises UsageError if they cannot be linked, SourceChanged if they are not those files.
        """
        self._home.mkdir(mode=0o700, exist_ok=True)
        with self._locked(fcntl.LOCK_SH):
            folder = self._home.resolve() / uuid.uuid4().hex
            folder.mkdir(mode=0o700)
            root, files, room = Path(manifest.root), list[ManifestFile](), MOST_COPIED_BYTES
            for file in manifest.files:
                copies = file.size_bytes < min(COPIED_BELOW_BYTES, room)
                room -= file.size_bytes if copies else 0
                files.append(self._keep(root, file, folder, copies=copies))
            _flush(folder)
            yield str(folder), replace(manifest, files=tuple(files))

    def sweep(self, in_use: Callable[[], Collection[str]]) -> None:
        """Remove every snapshot whose path ``in_use`` does not return.

        Raises nothing: what fails, or cannot be done while a snapshot is being taken, is left for
        the next sweep.
        """
        if not self._home.exists():
            return
        with contextlib.suppress(OSError, StoreError), self._locked(fcntl.LOCK_EX | fcntl.LOCK_NB):
            kept = {Path(path).name for path in in_use()}
            for entry in os.scandir(self._home):
                if entry.is_dir(follow_symlinks=False) and entry.name not in kept:
                    shutil.rmtree(entry.path, ignore_errors=True)

    @contextlib.contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        file = LockFile(self._home, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(file, how)
            yield
        finally:
            file.close()

    def _keep(self, root: Path, file: ManifestFile, folder: Path, *, copies: bool) -> ManifestFile:
        target = folder / file.path
        try:
            with _opened(root, file) as descriptor:
                if copies:
                    same = _copied(descriptor, target, file)
                else:
                    # A link of a Hugging Face cache leads to a blob, and that has to be kept.
                    os.link(os.path.realpath(root / file.path), target)
                    facts = os.lstat(target)
                    same = _is(facts, file) and os.path.samestat(facts, os.fstat(descriptor))
        except (FileNotFoundError, NotAFile, SourceChanged):
            same = False
        except OSError as error:
            raise self._refused(root, error) from None
        if not same:
            message = f"{file.path} changed while its folder was being enqueued"
            raise SourceChanged(message, hint="enqueue it again once nothing writes to it")
        here = fingerprint_of(os.lstat(target), linked=is_linked(file.fingerprint))
        return replace(file, fingerprint=here)

    def _refused(self, root: Path, error: OSError) -> UsageError:
        why = error.strerror
        if error.errno == errno.EXDEV:
            why = "that is another file system"
        message = f"the files of {root} cannot be linked into {self._home}: {why}"
        return UsageError(message, hint=_HINTS.get(error.errno or 0, _WITHOUT))


@contextlib.contextmanager
def _opened(root: Path, file: ManifestFile) -> Iterator[int]:
    """The file, opened as it will be for sending: what became a link meanwhile is not followed."""
    descriptor = opened(root, file)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _copied(descriptor: int, target: Path, file: ManifestFile) -> bool:
    """Copy a small file with its modification time; False if it is not that file, or changes."""
    with os.fdopen(descriptor, "rb", closefd=False) as reader:
        content = reader.read(COPIED_BELOW_BYTES)
        facts = os.fstat(descriptor)
    if not _is(facts, file):
        return False
    with target.open("xb") as writer:
        writer.write(content)
        writer.flush()
        os.utime(writer.fileno(), ns=(facts.st_atime_ns, facts.st_mtime_ns))
        os.fsync(writer.fileno())
    return len(content) == file.size_bytes


def _is(facts: os.stat_result, file: ManifestFile) -> bool:
    """Are these the facts of the very file that was listed?"""
    found = {fingerprint_of(facts), fingerprint_of(facts, linked=True)}
    regular = stat.S_ISREG(facts.st_mode)
    return regular and facts.st_size == file.size_bytes and file.fingerprint in found


def _flush(folder: Path) -> None:
    """Make the names survive a power cut: the folder's own, too."""
    for path in (folder, folder.parent):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
