"""The state folder: private, and on a disk of this machine (docs/architecture.md §9)."""

from __future__ import annotations

import os
import re
from pathlib import Path

from uploader.core.errors import UsageError

#: File systems whose locks or shared memory cannot be trusted between machines.
NETWORK_FILESYSTEMS = frozenset(
    {
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "fuse.gcsfuse",
        "fuse.glusterfs",
        "fuse.rclone",
        "fuse.s3fs",
        "fuse.sshfs",
        "glusterfs",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "smb3",
        "smbfs",
    }
)
_MOUNTS = Path("/proc/mounts")


def private_folder(path: Path) -> None:
    """Create ``path`` and its missing parents, 0700 each; an existing one keeps its mode.

    Raises UsageError for a folder on a network file system (docs/architecture.md §9), and OSError.
    """
    refuse_network(path)
    for folder in reversed((path, *path.parents)):
        if not folder.is_dir():
            folder.mkdir(mode=0o700, exist_ok=True)


def private_file(path: Path) -> None:
    """Create ``path`` empty with mode 0600 where it is missing; raises OSError."""
    os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))


def refuse_network(path: Path, mounts: Path = _MOUNTS) -> None:
    """Raises UsageError where ``mounts`` says that ``path`` is on a network file system.

    Where the system has no such list (macOS), or it names no mount above ``path``, accept.
    """
    filesystem = _filesystem(path.resolve(), mounts)
    if filesystem in NETWORK_FILESYSTEMS:
        raise UsageError(
            f"the state folder {path} is on a network file system ({filesystem})",
            hint="set UPLOADER_STATE_DIR to a folder on a local disk",
        )


def _filesystem(path: Path, mounts: Path) -> str:
    if not mounts.is_file():
        return ""
    found = (0, "")
    for line in mounts.read_text("utf-8", "surrogateescape").splitlines():
        _, where, kind, *_ = line.split(" ")
        folder = Path(_unescaped(where))
        # The longest mount point wins; of equal ones the last mounted hides the others.
        if path.is_relative_to(folder) and len(folder.parts) >= found[0]:
            found = (len(folder.parts), kind)
    return found[1]


def _unescaped(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)
