"""What shows that a local file has changed, as one opaque text.

It is made and compared only here: the job table keeps the text and never reads it. Apart from the
size, which is kept separately, the modification time decides. Archives and images that can be built
again give every version of a file the same time. So on a disk of this machine, where inode numbers
last, another inode means that what was sent is read again (docs/invariants.md §6); elsewhere, where
each mount may give others, it only tells that a file was replaced by a copy of itself.

There is no device number in it. Network disks, btrfs and volumes get another one when they are
mounted again, and a job goes on after a restart. So for an agreed link out of the folder, where the
inode counts, a file of another file system passes if its inode number, its size and its time to the
nanosecond are the same (SECURITY.md, what is not promised).

Whoever writes by a shared mapping moves the time of a file only when a page becomes dirty, and not
at each store. So for a file that somebody has open for writing, the time says nothing: a
fingerprint that was taken then ends in `WRITTEN`, and such a file is read again at the end
(docs/invariants.md §6).
"""

from __future__ import annotations

import os

from uploader.core.job import WRITTEN


def fingerprint_of(facts: os.stat_result, *, linked: bool = False) -> str:
    """The fingerprint of the file with these ``facts``: ``local:<mtime_ns>:<inode>``.

    ``linked:…`` if its name was a link out of the folder, which the user agreed to follow.
    """
    return f"{'linked' if linked else 'local'}:{facts.st_mtime_ns}:{facts.st_ino}"


def is_linked(fingerprint: str) -> bool:
    """Was the name a link out of the folder when this was made?"""
    return fingerprint.startswith("linked:")


def written(fingerprint: str) -> str:
    """That fingerprint, of a file that somebody has open for writing."""
    return plain(fingerprint) + WRITTEN


def plain(fingerprint: str) -> str:
    """That fingerprint, whether or not somebody had the file open for writing."""
    return fingerprint.removesuffix(WRITTEN)


def is_written(fingerprint: str) -> bool:
    """Did somebody have the file open for writing when this was made?"""
    return fingerprint.endswith(WRITTEN)


def same(known: str, found: str) -> bool:
    """Do two fingerprints mean the same file? Neither inode nor writers alone matter."""
    return plain(known).split(":")[1:-1] == plain(found).split(":")[1:-1]


def same_inode(known: str, found: str) -> bool:
    """Do two fingerprints have the same inode number? Where it lasts, another is another file."""
    return plain(known).rpartition(":")[2] == plain(found).rpartition(":")[2]


def untouched(before: os.stat_result, now: os.stat_result) -> bool:
    """Have the size and the time of an open file stayed as they were? As `same`, without texts."""
    return now.st_size == before.st_size and now.st_mtime_ns == before.st_mtime_ns
