"""What tells a local file from what it was before, as one opaque text.

Made and compared here only: the job table keeps the text and never looks into it. Beside the
size, which is kept apart, the modification time decides; the inode is kept so that a file that
was replaced by a copy of itself can be told.
"""

from __future__ import annotations

import os


def fingerprint_of(facts: os.stat_result, *, linked: bool = False) -> str:
    """The fingerprint of the file with these ``facts``: ``local:<mtime_ns>:<inode>``.

    ``linked:…`` if its name was a link out of the folder, which the user agreed to follow.
    """
    return f"{'linked' if linked else 'local'}:{facts.st_mtime_ns}:{facts.st_ino}"


def is_linked(fingerprint: str) -> bool:
    """Was the name a link out of the folder when this was made?"""
    return fingerprint.startswith("linked:")


def same(known: str, found: str) -> bool:
    """Do two fingerprints say the same of a file? Another inode alone is no other file."""
    return known.split(":")[1:-1] == found.split(":")[1:-1]
