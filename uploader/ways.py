"""Who could put another file in the place of one that is named: by a folder on the way to it."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path

#: As many links as the system follows.
_MOST_LINKS = 40


def hostile(path: Path) -> str:
    """Which folder on the way to ``path`` lets others replace what is there, and why; else empty.

    In a sticky folder, such as /tmp, they cannot, nor in one that is mounted read-only; a user's
    own private group is not others.
    """
    for folder in dict.fromkeys(_folders(path)):
        try:
            facts = folder.stat()
        except OSError:
            continue  # it is not there yet, or opening it will say what is wrong
        if facts.st_uid not in (0, os.geteuid()):
            return f"{folder} is another user's (uid {facts.st_uid})"
        if _others_write(facts) and not facts.st_mode & stat.S_ISVTX and not _read_only(folder):
            return f"{folder} may be written by others (mode {stat.S_IMODE(facts.st_mode):04o})"
    return ""


def _folders(path: Path) -> Iterator[Path]:
    """Every folder in which something is looked up on the way, that of each link, too."""
    at, left, links = Path("/"), [*reversed(path.absolute().parts[1:])], 0
    while left and links <= _MOST_LINKS:
        yield at
        here = at / left.pop()
        try:
            target = here.readlink()
        except OSError:  # it is no link, or is not there
            at = here.parent.parent if here.name == ".." else here
            continue
        links += 1
        at = Path("/") if target.is_absolute() else at
        left += [part for part in reversed(target.parts) if part != "/"]


def _read_only(folder: Path) -> bool:
    try:
        return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def _others_write(facts: os.stat_result) -> bool:
    shared = facts.st_mode & stat.S_IWGRP and _is_shared(facts.st_gid)
    return bool(facts.st_mode & stat.S_IWOTH or shared)


def _is_shared(group: int) -> bool:
    """Does the group have members besides us and root, as far as the system's list tells?"""
    try:
        found, ours = grp.getgrgid(group), pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return False
    private = group == 0 or found.gr_name == ours
    return not private or bool({*found.gr_mem} - {ours, "root"})
