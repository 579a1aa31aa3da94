"""The state folder and its files: private to this user, and on a disk of this machine.

Their content decides which files are sent where, so whoever can write them can send any file of
this user. A folder or a database that is not ours, or that others may write, is refused.
"""

from __future__ import annotations

import glob
import os
import shlex
import stat
from contextlib import suppress
from pathlib import Path

from uploader.core.errors import UsageError
from uploader.mounts import refuse_bad
from uploader.ways import hostile

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_OTHERS = 0o077


def private_folder(path: Path) -> None:
    """Create ``path`` and its missing parents, 0700 each; an existing one keeps its mode.

    Raises UsageError for a folder that others may write, that is not this user's, that is below
    one in which others may replace it, or that is on a file system that breaks a database; and
    OSError.
    """
    refuse_bad(path)
    refuse_hostile_way("state folder", path)
    for folder in reversed((path, *path.parents)):
        if not folder.is_dir():
            folder.mkdir(mode=0o700, exist_ok=True)
    refuse_hostile_way("state folder", path)  # what was not there may be somebody's by now
    _refuse_strangers("state folder", path, path.stat())


def folder_not_linked(path: Path) -> None:
    """As `private_folder`; raises UsageError for a link, too: its end may be anybody's."""
    refuse_link(path)
    private_folder(path)


def folder_of_ours(path: Path) -> None:
    """The same for a folder within the state folder, in which only this program keeps something.

    One that others may read, like a restored copy, is made private: what they can open, they can
    lock.
    """
    folder_not_linked(path)
    if path.stat().st_mode & _OTHERS:
        with suppress(PermissionError):  # a file system without modes
            path.chmod(0o700)


def refuse_link(path: Path) -> None:
    """Raises UsageError for a link in the place of a folder of ours."""
    if path.is_symlink():
        hint = "remove the link; if the disk is too small, move the whole state folder"
        raise UsageError(f"{path} is a link: nothing is kept or deleted there", hint=hint)


def refuse_hostile_way(what: str, path: Path) -> None:
    """Raises UsageError if others can replace what is on the way to ``path``: it is theirs then."""
    if why := hostile(path):
        message = f"the {what} {path} could be replaced: {why}"
        hint = "choose a place below folders that only you and root may write"
        raise UsageError(message, hint=hint)


def new_private_file(path: Path) -> None:
    """Create ``path`` empty and with mode 0600 from the start; raises FileExistsError, OSError.

    A link at that place is not followed.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    os.close(os.open(path, flags, 0o600))


def our_file(path: Path, *, new: bool = True) -> None:
    """Make sure that ``path`` exists, is private to us, and is what the next open will get.

    A missing file is created if it may be ``new``; one that others may read, like a restored copy,
    is made private. Raises UsageError for a file that is not ours or that others may write, and
    OSError.
    """
    if new:
        with suppress(FileExistsError):
            new_private_file(path)
            return
    facts = path.stat()
    if not stat.S_ISREG(facts.st_mode):
        return  # opening it will say what is wrong
    _refuse_strangers("state store", path, facts)
    if facts.st_mode & _OTHERS:
        path.chmod(0o600)
        _make_backups_private(path)


def _make_backups_private(store: Path) -> None:
    """The backups beside ``store``, and beside what it leads to: they may have been restored."""
    for place in {store, Path(os.path.realpath(store))}:
        for path in place.parent.glob(f"{glob.escape(place.name)}.backup*"):
            with suppress(OSError):
                facts = path.lstat()
                if stat.S_ISREG(facts.st_mode) and facts.st_uid == os.geteuid():
                    path.chmod(0o600)


def _refuse_strangers(what: str, path: Path, facts: os.stat_result) -> None:
    if facts.st_uid != os.geteuid():
        raise UsageError(
            f"the {what} {path} is another user's (uid {facts.st_uid}; we are {os.geteuid()})",
            hint="run as that user, or set UPLOADER_STATE_DIR to a new folder of your own",
        )
    if facts.st_mode & _OTHERS_WRITE:
        raise UsageError(
            f"the {what} {path} may be written by others (mode {stat.S_IMODE(facts.st_mode):04o})",
            hint=f"if nobody did, `chmod go-w {shlex.quote(str(path))}`;"
            " else set UPLOADER_STATE_DIR to a new folder",
        )
