"""What tells a local file from what it was before, as one opaque text.

Made and compared here only: the job table keeps the text and never looks into it. Beside the
size, which is kept apart, the modification time decides; the inode is kept so that a file that
was replaced by a copy of itself can be told.
"""

from __future__ import annotations

import os


def fingerprint_of(facts: os.stat_result) -> str:
    """The fingerprint of the file with these ``facts``: ``local:<mtime_ns>:<inode>``."""
    return f"local:{facts.st_mtime_ns}:{facts.st_ino}"


def same(known: str, found: str) -> bool:
    """Do two fingerprints say the same of a file? Another inode alone is no other file."""
    return known.rpartition(":")[0] == found.rpartition(":")[0]
