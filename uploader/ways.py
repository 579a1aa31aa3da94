"""Who could put another file in the place of one that is named: by a folder on the way to it."""

from __future__ import annotations

import grp
import os
import pwd
import stat
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

from uploader import mounts

_PROTECTED = Path("/proc/sys/fs/protected_hardlinks")
#: As many links as the system follows.
_MOST_LINKS = 40
#: A POSIX ACL as Linux shows it (acl(5), linux/posix_acl_xattr.h): a version, then entries of tag,
#: permissions and id.
_ACL, _ACL_VERSION = "system.posix_acl_access", 2
_HEAD, _ENTRY = struct.Struct("<I"), struct.Struct("<HHI")
_USER, _OWNING_GROUP, _GROUP = 0x02, 0x04, 0x08
_WRITE = 0o2


def hostile(path: Path) -> str:
    """Which folder on the way to ``path`` lets others replace what is there, and why; else empty.

    In a sticky folder, such as /tmp, they cannot, but they can put a name there that is not there
    yet: a link of theirs counts, and another name of a file of ours. Nobody can on a read-only file
    system; a user's own private group is not others. Of ACLs those of POSIX count, not those of
    NFSv4.
    """
    for folder, name in dict.fromkeys(_names(path)):
        try:
            facts = folder.stat()
        except OSError:
            continue  # it is not there yet, or opening it will say what is wrong
        if facts.st_uid not in (0, os.geteuid()):
            return f"{folder} is another user's (uid {facts.st_uid})"
        others = _other_writers(folder, facts)
        if not others or mounts.nobody_writes(folder):
            continue
        if not facts.st_mode & stat.S_ISVTX:
            return f"{folder} may be written by {others}"
        if planted := _planted(name):
            return f"{planted}, and {folder} may be written by {others}"
    return ""


def _planted(name: Path) -> str:
    """What others may have put there, and not only into its place; empty if they have not."""
    try:
        facts = name.lstat()
    except OSError:  # it is not there
        return ""
    if stat.S_ISLNK(facts.st_mode) and facts.st_uid not in (0, os.geteuid()):
        return f"the link {name} is another user's (uid {facts.st_uid})"
    second = stat.S_ISREG(facts.st_mode) and facts.st_nlink > 1 and facts.st_uid == os.geteuid()
    if second and not _own_links_only():
        return f"{name} is also the name of another file (a hard link)"
    return ""


def _own_links_only() -> bool:
    """Whether the system lets users give further names only to files that they may write."""
    try:
        return _PROTECTED.read_text().strip() == "1"
    except OSError:
        return False


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
    if group == 0:  # with accounts of the system that nobody is
        return bool({*found.gr_mem} - {ours, "root"})
    trusted = (0, os.geteuid())
    others = (one for one in pwd.getpwall() if one.pw_gid == group and one.pw_uid not in trusted)
    return found.gr_name != ours or bool({*found.gr_mem} - {ours, "root"}) or any(others)
