"""Who could put another file in the place of one that is named: by a folder on the way to it."""

from __future__ import annotations

import functools
import grp
import itertools
import os
import pwd
import stat
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

from uploader import mounts

#: As many links as the system follows.
_MOST_LINKS = 40
#: A POSIX ACL as Linux shows it (acl(5), linux/posix_acl_xattr.h): a version, then entries of tag,
#: permissions and id.
_ACL, _ACL_VERSION = "system.posix_acl_access", 2
_HEAD, _ENTRY = struct.Struct("<I"), struct.Struct("<HHI")
_USER, _OWNING_GROUP, _GROUP = 0x02, 0x04, 0x08
_WRITE = 0o2
#: Which user stands for all whom this user namespace does not know, and whom it knows: lines of
#: first number inside, first number outside, how many (user_namespaces(7)).
_OVERFLOW, _KNOWN = Path("/proc/sys/kernel/overflowuid"), Path("/proc/self/uid_map")
_ALL_USERS = 2**32 - 1


def hostile(path: Path) -> str:
    """Which folder on the way to ``path`` lets others replace what is there, and why; else empty.

    In a sticky folder, such as /tmp, they cannot, but they can put a name there that is not there
    yet: a link or a file of theirs, and one of ours, which they may move or link wherever it lies.
    Only a folder of ours cannot be moved. Nobody can on a read-only file system; a user's own
    private group is not others. Of ACLs those of POSIX count, not those of NFSv4. What another user
    has mounted may say that it is ours, and is not even looked at.
    """
    if _is_anybody(os.geteuid()):
        return f"uid {os.geteuid()} stands for others, too, in this user namespace: run as another"
    mounter = mounts.mounted_by_others()
    for folder, name in _names(path):
        if user := mounter(str(name)):
            return f"another user (uid {user}) has mounted what is at {name}"
        if why := _replaceable(name, folder):
            return why
    return ""


def _replaceable(name: Path, folder: Path) -> str:
    """Why others could replace ``name`` in ``folder``; empty if they cannot."""
    try:
        facts = folder.stat()
    except OSError:
        return ""  # it is not there yet, or opening it will say what is wrong
    if facts.st_uid not in (0, os.geteuid()):
        return f"{folder} is another user's (uid {facts.st_uid})"
    others = _other_writers(folder, facts)
    if not others or mounts.nobody_writes(folder):
        return ""
    if not facts.st_mode & stat.S_ISVTX:
        return f"{folder} may be written by {others}"
    planted = _planted(name)
    return f"{planted}: {folder} may be written by {others}" if planted else ""


def _is_anybody(user: int) -> bool:
    """May what seems to belong to ``user`` be anybody's? As far as the system tells: Linux does."""
    try:
        overflow, known = int(_OVERFLOW.read_text("ascii")), _KNOWN.read_text("ascii").split()
        return user == overflow and sum(map(int, known[2::3])) < _ALL_USERS
    except (OSError, ValueError):
        return False


def _planted(name: Path) -> str:
    """What others may have put there, and not only into its place; empty if they cannot have.

    Nobody moves a folder without the right to write in it. A link or a file of root's is believed,
    as in a store of Nix, although others may move that, too; but not by root, whose own it is.
    """
    try:
        facts = name.lstat()
    except OSError:  # it is not there
        return ""
    if stat.S_ISDIR(facts.st_mode) or (facts.st_uid == 0 != os.geteuid()):
        return ""
    return f"others may have put {name} there"


def _names(path: Path) -> Iterator[tuple[Path, Path]]:
    """Every folder in which something is looked up on the way, that of each link, too; and what."""
    at, left, links = Path("/"), [*reversed(path.absolute().parts[1:])], 0
    while left and links <= _MOST_LINKS:
        here = at / left.pop()
        yield at, here
        try:
            target = here.readlink()
        except OSError:  # it is not a link, or not there
            at = here.parent.parent if here.name == ".." else here
            continue
        links += 1
        at = Path("/") if target.is_absolute() else at
        left += [part for part in reversed(target.parts) if part != "/"]


def _other_writers(folder: Path, facts: os.stat_result) -> str:
    """Who else may write there; empty if nobody may.

    With an ACL the group's bits of the mode are its mask, which bounds every user and group that
    it names. So without the group's bit nobody else may write, as the mode says.
    """
    others = f"others (mode {stat.S_IMODE(facts.st_mode):04o})"
    if facts.st_mode & stat.S_IWOTH:
        return others
    if not facts.st_mode & stat.S_IWGRP:
        return ""
    acl = _acl(folder) or [(_OWNING_GROUP, _WRITE, 0)]
    for tag, permissions, number in acl:
        if not permissions & _WRITE:
            continue
        if tag == _OWNING_GROUP and _is_shared(facts.st_gid):
            return others
        if tag == _USER and number not in (0, os.geteuid()):
            return f"the user {number}, by its ACL"
        if tag == _GROUP and _is_shared(number):
            return f"the group {number}, by its ACL"
    return ""


def _acl(folder: Path) -> list[tuple[int, int, int]]:
    """Tag, permissions and id of each entry of its POSIX ACL; empty if none can be read."""
    if sys.platform != "linux":
        return []
    try:
        raw = os.getxattr(folder, _ACL)
        if _HEAD.unpack_from(raw) == (_ACL_VERSION,):
            return [*_ENTRY.iter_unpack(raw[_HEAD.size :])]
    except (OSError, struct.error):
        pass
    return []


def _is_shared(group: int) -> bool:
    """Does the group have members besides us and root, as far as the system's list tells?

    One that the list does not know has none on this machine, as a volume's group in a container.
    """
    try:
        found = grp.getgrgid(group)
    except KeyError:
        return False
    try:
        ours = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # then no group is known as our own
        ours = ""
    members = {*found.gr_mem, *_members(group)} - {ours, "root"}
    if group == 0:  # with accounts of the system that nobody is
        return bool(members)
    return found.gr_name != ours or bool(members) or _is_first_of_others(group)


@functools.lru_cache(maxsize=16)
def _members(group: int) -> frozenset[str]:
    """Under all of its names. Asked once: the list may be long, or come from afar."""
    found = (one.gr_mem for one in grp.getgrall() if one.gr_gid == group)
    return frozenset(itertools.chain.from_iterable(found))


@functools.lru_cache(maxsize=16)
def _is_first_of_others(group: int) -> bool:
    """Is it another user's first group? Asked once, as `_members`."""
    trusted = (0, os.geteuid())
    return any(one.pw_gid == group and one.pw_uid not in trusted for one in pwd.getpwall())
