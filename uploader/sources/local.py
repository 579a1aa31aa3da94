"""The local folder: files are opened relative to the folder itself, even if it is renamed."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

from uploader import files, mounts
from uploader.core.errors import (
    JobRefused,
    SourceAway,
    SourceChanged,
    SourceDamaged,
    SourceMissing,
    SourceUnreadable,
    SourceUnsettled,
)
from uploader.core.job import FileState, ManifestFile
from uploader.core.once import once
from uploader.core.reasons import Code
from uploader.forks import keep_from_children
from uploader.model.fingerprint import (
    fingerprint_of,
    found_again,
    has_change_time,
    is_linked,
    may_hide_a_write,
    same,
    same_inode,
    surely_same,
    untouched,
    written,
)
from uploader.model.folder import Folder, scan
from uploader.model.links import NOTHING, Private, home_of, open_below
from uploader.model.safetensors import has_sound_header
from uploader.runtime import StopToken, SystemClock

#: Seconds in which a disk that answers has done so.
_PROMPT_S = 1.0


class LocalFolder:
    """A folder of this machine, as `sources.base.Source`."""

    def __init__(self, root: Path, private: Private = NOTHING) -> None:
        """What is ``private`` is neither listed nor opened, whatever it is called."""
        self._root = root
        self._private = private

    def list(self, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> Folder:
        """As `Source.list`."""
        return scan(self._root, include, exclude, self._private)

    def require(self) -> None:
        """As `Source.require`."""
        try:
            with files.listed(self._root, 0):
                pass
            self._refuse_link()
        except OSError as error:
            words = error.strerror or type(error).__name__
            gone = isinstance(error, (FileNotFoundError, NotADirectoryError))
        else:
            return
        if gone and not _may_be_unmounted(self._root):
            raise SourceAway(f"the folder {self._root} is gone", code=Code.SOURCE_GONE)
        raise SourceAway(f"cannot read the folder {self._root}: {words}")

    def _refuse_link(self) -> None:
        """Raises SourceChanged, OSError. It was a real path: it may lead anywhere now."""
        if files.real(self._root) != str(self._root):
            raise SourceChanged(f"the folder {self._root} is a link now, or below one")

    def open(self, file: FileState, stop: StopToken) -> LocalFile:
        """As `Source.open`."""
        path = self._root / file.path
        try:
            descriptor = opened(self._root, file)
        except OSError as error:
            self.require()
            raise unreadable(path, error) from None
        try:
            self._refuse_secret(file, descriptor)
            found = LocalFile(path, descriptor, stop, file.fingerprint)
            # Asked after its time was: who opens it later has to move that before writing.
            if found.may_hide_a_write() or files.has_writer(descriptor):
                found.fingerprint = written(found.fingerprint)
        except BaseException as error:
            os.close(descriptor)
            if isinstance(error, OSError):
                raise unreadable(path, error) from None
            raise
        return found

    def _refuse_secret(self, file: FileState, descriptor: int) -> None:
        if why := self._private.why_kept(descriptor):
            raise JobRefused(f"{file.path} {why}", code=Code.SECRET_IN_MODEL)


def opened(root: Path, file: FileState | ManifestFile) -> int:
    """A descriptor of the name in the folder itself; a link only if `list` would have followed it.

    Raises SourceChanged for a link that was not listed, or that now leads to another file; OSError.
    """
    path = root / file.path
    try:
        return open_below(root, path)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
    target = Path(files.real(path))
    if home := home_of(root, target):
        return open_below(home, target)
    if not is_linked(file.fingerprint):
        raise changed(file.path)  # it was not such a link when the folder was listed
    descriptor = files.descriptor_of(target)
    try:
        agreed = _is_agreed(path, file, descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    if not agreed:
        os.close(descriptor)
        raise changed(file.path)  # it now leads to another file
    return descriptor


def _is_agreed(path: Path, file: FileState | ManifestFile, descriptor: int) -> bool:
    """Is the file out of the folder the one that was agreed to, as far as its looks tell?

    What it looks like can be imitated, on another file system everything, but not where it is.
    Other permissions or links move its change time: then what was sent of it is read again, and if
    nothing was, weights are told by their header, as when it was listed.
    """
    found = fingerprint_of(os.fstat(descriptor), files.place(descriptor))
    if not same_inode(file.fingerprint, found):
        return False
    if surely_same(file.fingerprint, found) or _is_begun(file):
        return True
    return _are_weights(path) and _is_sound(descriptor)


def _is_begun(file: FileState | ManifestFile) -> bool:
    """Is anything known of its bytes?"""
    if isinstance(file, ManifestFile):
        return False
    return file.stored or file.checkpoint.offset > 0 or file.mark.offset > 0


def _are_weights(path: Path) -> bool:
    """Only safetensors have a header that tells."""
    return path.suffix == ".safetensors"


def _is_sound(descriptor: int) -> bool:
    with os.fdopen(descriptor, "rb", closefd=False) as file:
        return has_sound_header(file)


class LocalFile:
    """An open file of a local folder, as `sources.base.OpenFile`."""

    def __init__(self, path: Path, descriptor: int, stop: StopToken, known: str = "") -> None:
        """``known`` is the fingerprint that it had before."""
        facts = os.fstat(descriptor)
        self.name = path.name
        self._facts = facts
        self.size_bytes = facts.st_size
        place = files.place(descriptor) if is_linked(known) else ""
        self.fingerprint = found_again(known, facts, place)
        self.written_to = False
        self._path = path
        self._descriptor = descriptor
        self._stop = stop
        keep_from_children(self)

    def may_hide_a_write(self) -> bool:
        """Was it written so short a time ago that its times would not show another write?"""
        return may_hide_a_write(self._facts, SystemClock().now())

    def same(self, known: str) -> bool:
        """As `OpenFile.same`: by its time, and on a disk of this machine by what nobody can set."""
        if not same(known, self.fingerprint):
            return False
        if surely_same(known, self.fingerprint):
            return True
        if is_linked(known):  # it may be another file of any disk
            return False
        try:
            return not mounts.is_local_file(self._descriptor)
        except OSError as error:  # there may be too many open files to ask
            raise unreadable(self._path, error) from None

    def check(self) -> None:
        """As `OpenFile.check`: by what the file system says of the open file."""
        try:
            facts = os.fstat(self._descriptor)
        except OSError as error:  # the handle of a network filesystem went stale
            raise unreadable(self._path, error) from None
        if facts.st_ctime_ns != self._facts.st_ctime_ns and not self.written_to:
            self.written_to = not self._shows_changes  # its time may be put back
        if not untouched(self._facts, facts):
            self.written_to = True  # after a power cut its old time may stand beside new bytes
            raise SourceUnsettled(f"{self.name} was written to while it was being sent")

    @once
    def _shows_changes(self) -> bool:
        """Does another change time count for `same`?"""
        if not has_change_time(self.fingerprint):
            return False
        try:
            return is_linked(self.fingerprint) or mounts.is_local_file(self._descriptor)
        except OSError:
            return False

    def block(self, start: int, count: int) -> bytes:
        """As `OpenFile.block`."""
        block = self._read(start, count)
        if len(block) == count:  # nearly always: the rest is for FUSE, 9p and the like
            return block
        parts = [block]
        while block and (count := count - len(block)):
            self._stop.check()
            start += len(block)
            block = self._read(start, count)
            parts.append(block)
        if count:
            raise SourceUnsettled(f"{self.name} is shorter than it was")
        return b"".join(parts)

    def _read(self, start: int, count: int) -> bytes:
        try:
            return os.pread(self._descriptor, count, start)
        except OSError as error:
            LocalFolder(self._path.parent).require()  # else it is the disk as a whole
            words = error.strerror or type(error).__name__
            message = f"cannot read {self._path} after its first {start:,} bytes: {words}"
            raise SourceDamaged(message) from None

    def is_sound(self) -> bool:
        """As `OpenFile.is_sound`."""
        return not _are_weights(self._path) or _is_sound(self._descriptor)

    def close(self) -> None:
        """As `OpenFile.close`."""
        descriptor, self._descriptor = self._descriptor, -1  # it may soon be another file's
        os.close(descriptor)

    def let_go(self) -> None:
        """As `Unshared.let_go`: else the disk would stay in use for as long as the child lives.

        On a disk that does not answer it stays open: there closing it may wait, too.
        """
        if self._descriptor >= 0 and self._stop.disk.longest_s < _PROMPT_S:
            self.close()


def _may_be_unmounted(root: Path) -> bool:
    """Is the place of a folder that is gone an empty one, as the mount point of a disk is?"""
    try:
        place = next(parent for parent in root.parents if parent.is_dir())
        with files.listed(place, 1) as entries:
            return not any(entries)
    except (OSError, StopIteration):
        return True


def changed(name: str) -> SourceChanged:
    """The refusal to mix two files: the one on disk is not the one that was enqueued."""
    return SourceChanged(f"{name} is not the file that was enqueued")


def unreadable(path: Path, error: OSError) -> SourceChanged | SourceMissing | SourceUnreadable:
    """What an error of the file system means for the file at ``path``."""
    if error.errno == errno.ELOOP or isinstance(error, files.NotAFile):
        return changed(path.name)
    # In this order, a folder that comes back meanwhile does not make its file seem lost.
    if isinstance(error, FileNotFoundError) and path.parent.is_dir() and not path.exists():
        return SourceMissing(f"{path.name} is gone from {path.parent}")
    words = error.strerror or type(error).__name__
    return SourceUnreadable(f"cannot read {path}: {words}")
