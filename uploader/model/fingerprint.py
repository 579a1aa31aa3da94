"""What shows that a local file has changed, as one text.

Nothing else takes the text apart, but for its ending `WRITTEN`, which the job table knows. Sources,
plans and the HTTP API compare two of them with the functions here. Apart from the size, which is
kept separately, the modification time decides. Archives and images that can be built
again give every version of a file the same time, and whoever may write a file can put its time
back. So on a disk of this machine, where inode numbers last, another inode or another change time
(ctime, which only the kernel sets) means that what was sent is read again (docs/invariants.md §6).
Elsewhere, where each mount may give others, another inode only tells that a file was replaced by a
copy of itself.

Other permissions, another owner or another hard link also move the change time, and change no byte.
So another change time never means another file: if what is read again is the same, the job goes on.
A snapshot consists of hard links, which keep an inode number from being used again; others may make
and remove further links at any time. So the fingerprints of its files have no change time, nor have
those of older versions. For these it does not count.

There is no device number in it. Network disks, btrfs and volumes get another one when they are
mounted again, and a job goes on after a restart. On another file system anybody may make a file of
any inode number, size and time, and on an image of their own of any owner and change time. So an
agreed link out of the folder also has to end at the same place, a path without links. Nobody can
put a file of somebody else there, except by a hard link (SECURITY.md). Its owner counts, too, and
its change time or the header by which weights were agreed to.

Whoever writes by a shared mapping moves the time of a file only when a page becomes dirty, and not
at each store. So for a file that somebody has open for writing, the time says nothing. Nor does it
for one that was written a moment ago, on a file system that counts in seconds. A fingerprint that
was taken then ends in `WRITTEN`, and such a file is read again at the end (docs/invariants.md §6).
So is one whose change time has moved while it was sent, if its fingerprint does not tell that.
"""

from __future__ import annotations

import hashlib
import os
from datetime import datetime

from uploader.core.job import WRITTEN

_LINKED = "linked"
_SECOND_NS = 10**9
#: More than the coarsest times are apart, which are those of FAT.
_COARSEST_S = 3.0


def fingerprint_of(facts: os.stat_result, place: str = "", *, lasting: bool = False) -> str:
    """The fingerprint of the file with these ``facts``: ``local:<mtime_ns>:<inode>.<ctime_ns>``.

    ``linked@<uid>@<digest of the place>:…`` if its name was a link out of the folder, to the real
    path ``place``, which the user agreed to follow. ``lasting``: without the change time, for a
    file in a snapshot.
    """
    changed = "" if lasting else f".{facts.st_ctime_ns}"
    kind = f"{_LINKED}@{facts.st_uid}@{_digest(place)}" if place else "local"
    return f"{kind}:{facts.st_mtime_ns}:{facts.st_ino}{changed}"


def found_again(known: str, facts: os.stat_result, place: str = "") -> str:
    """The fingerprint of the file of ``known``, which has these ``facts`` now.

    ``place``: where it is, if its name was a link out of the folder.
    """
    return fingerprint_of(facts, place, lasting=not _changed(known))


def is_linked(fingerprint: str) -> bool:
    """Was the name a link out of the folder when this was made?"""
    return fingerprint.startswith(_LINKED)


def written(fingerprint: str) -> str:
    """That fingerprint, of a file to which somebody writes, or may have written meanwhile."""
    return plain(fingerprint) + WRITTEN


def plain(fingerprint: str) -> str:
    """That fingerprint, whether or not somebody had the file open for writing."""
    return fingerprint.removesuffix(WRITTEN)


def is_written(fingerprint: str) -> bool:
    """Did somebody have the file open for writing when this was made?"""
    return fingerprint.endswith(WRITTEN)


def same(known: str, found: str) -> bool:
    """Do two fingerprints mean the same file? Only the modification time matters."""
    return plain(known).split(":")[1:-1] == plain(found).split(":")[1:-1]


def same_inode(known: str, found: str) -> bool:
    """Do they have the same time and inode, and the same owner and place, if both have them?

    Other permissions and links do not matter.
    """
    alike = same(known, found) and _inode(known) == _inode(found)
    both = zip(_whose(known), _whose(found), strict=False)
    return alike and all(one == other for one, other in both)


def surely_same(known: str, found: str) -> bool:
    """Is their change time also the same, if both have one? Then the bytes are."""
    at = _changed(known), _changed(found)
    return same_inode(known, found) and (at[0] == at[1] or not all(at))


def unless_only_changed(known: str, found: str) -> str:
    """``found``; or, if only the change time differs, ``known`` with the writers of ``found``."""
    if not same_inode(known, found):
        return found
    return written(known) if is_written(found) else plain(known)


def has_change_time(fingerprint: str) -> bool:
    """Whether it has one: that of a file in a snapshot has none."""
    return bool(_changed(fingerprint))


def _whose(fingerprint: str) -> list[str]:
    """Owner and place; earlier versions wrote none, or the first one."""
    return fingerprint.partition(":")[0].split("@")[1:]


def _digest(place: str) -> str:
    """A path is of any length, and is nobody else's business."""
    return hashlib.sha256(os.fsencode(place)).hexdigest()[:32]


def _inode(fingerprint: str) -> str:
    return plain(fingerprint).rpartition(":")[2].partition(".")[0]


def _changed(fingerprint: str) -> str:
    """The change time; empty if it has none."""
    return plain(fingerprint).rpartition(":")[2].partition(".")[2]


def untouched(before: os.stat_result, now: os.stat_result) -> bool:
    """Have the size and the time of an open file stayed as they were? As `same`, without texts."""
    return now.st_size == before.st_size and now.st_mtime_ns == before.st_mtime_ns


def may_hide_a_write(facts: os.stat_result, now: datetime) -> bool:
    """Could a write at this moment leave the times of the file as they are?

    Some file systems count in whole seconds, or two: ext2, ext3, and ext4 with small inodes. What
    tells is the change time, since the modification time can be set.
    """
    changed_ns, now_ns = facts.st_ctime_ns, now.timestamp() * _SECOND_NS
    return not changed_ns % _SECOND_NS and abs(now_ns - changed_ns) < _COARSEST_S * _SECOND_NS
