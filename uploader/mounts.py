"""On what kind of disk is a path? SQLite needs locks and shared memory that work.

There are three answers: a local disk, one that certainly breaks a database, and all others, which
may only look like a disk (docs/architecture.md §9).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from uploader.core.errors import UsageError

#: A line has at least: what is mounted, where, and of which kind.
_LEAST_WORDS = 3
_MOUNTS = Path("/proc/mounts")
#: With the device of each, which is the same wherever it is mounted.
_DEVICES = Path("/proc/self/mountinfo")

#: File systems on disks of this machine.
LOCAL = frozenset(
    {
        "apfs",
        "bcachefs",
        "btrfs",
        "ext2",
        "ext3",
        "ext4",
        "f2fs",
        "hfs",
        "jfs",
        "nilfs2",
        "overlay",
        "ramfs",
        "reiserfs",
        "tmpfs",
        "ubifs",
        "ufs",
        "xfs",
        "zfs",
    }
)
#: File systems that machines share, or that lack what SQLite's log needs.
BAD = frozenset(
    {
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "fhgfs",
        "fuse.alluxio-fuse",
        "fuse.blobfuse",
        "fuse.blobfuse2",
        "fuse.davfs",
        "fuse.davfs2",
        "fuse.gcsfuse",
        "fuse.geesefs",
        "fuse.glusterfs",
        "fuse.goofys",
        "fuse.juicefs",
        "fuse.mergerfs",
        "fuse.mfs",
        "fuse.mount-s3",
        "fuse.mountpoint-s3",
        "fuse.rclone",
        "fuse.s3fs",
        "fuse.seaweedfs",
        "fuse.sshfs",
        "fuse.unionfs",
        "fuse.unionfs-fuse",
        "fuse.vmhgfs-fuse",
        "gfs2",
        "glusterfs",
        "gpfs",
        "juicefs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "ocfs2",
        "orangefs",
        "prl_fs",
        "pvfs2",
        "smb3",
        "smbfs",
        "vboxsf",
        "vmhgfs",
        "wekafs",
    }
)

#: File systems that can only be read.
_IMAGES = frozenset({"cramfs", "erofs", "iso9660", "romfs", "squashfs"})
#: The file systems on this machine's disks whose files no other file system shows.
_OWN_FILES = LOCAL - {"overlay"}
#: Who has mounted it, among the options of FUSE.
_BY = "user_id="
#: In the path of a ConfigMap on its node.
_CONFIG_MAP = "/volumes/kubernetes.io~configmap/"


def refuse_bad(path: Path, mounts: Path = _MOUNTS) -> None:
    """Raises UsageError if ``mounts`` says that a database at ``path`` would break.

    If the system has no such list (macOS), or no mount in it is above ``path``, accept.
    """
    kind = file_system(path, mounts)
    if kind in BAD:
        raise UsageError(
            f"the state folder {path} is on a file system that breaks a database ({kind})",
            hint="set UPLOADER_STATE_DIR to a folder on a local disk",
        )


def doubts(table: Path, mounts: Path = _MOUNTS) -> str:
    """A warning if a file system may not be safe for the job table; empty for a local one.

    It counts where the file really is, if ``table`` is a link.
    """
    kind = file_system(table, mounts)
    if not kind or kind in LOCAL | BAD:
        return ""
    return (
        f"the job table {table} is on {kind}, which may only look like a disk:"
        " a local disk is safer"
    )


def is_local(path: Path) -> bool:
    """Is ``path`` certainly on a disk of this machine?"""
    return file_system(path) in LOCAL


def file_system(path: Path, mounts: Path = _MOUNTS) -> str:
    """What is mounted at ``path``; empty if that cannot be known."""
    if not mounts.is_file():
        return ""
    words = (line for line in _lines(mounts) if len(line) >= _LEAST_WORDS)
    return _at(os.path.realpath(path), ((_unescaped(line[1]), line[2]) for line in words))


def is_local_file(descriptor: int) -> bool:
    """Is the open file certainly on a disk of this machine? False on macOS. Raises OSError."""
    return file_system_of(descriptor) in LOCAL


def file_system_of(descriptor: int, devices: Path = _DEVICES) -> str:
    """What the open file is on; empty if that cannot be known. Raises OSError.

    By the mount through which it was opened: of its name, and of whatever stands there by now, the
    owner of its folder decides.
    """
    if not devices.is_file():
        return ""
    facts = Path(f"/proc/self/fdinfo/{descriptor}").read_text(encoding="ascii")
    number = facts.partition("mnt_id:")[2].partition("\n")[0].strip()  # gVisor has none
    kinds = (line[line.index("-") + 1] for line in _mounted(devices) if line[0] == number)
    return next(kinds, "")


def far_devices(devices: Path = _DEVICES) -> Callable[[str], str]:
    """What gives the device that is mounted at a path: empty for a local disk, or if not known.

    A file server falls silent as a whole, wherever it is mounted. No disk is asked: a path counts
    as it is written, and what is mounted later is not known.
    """
    words = _mounted(devices)
    kinds = [(_unescaped(line[4]), line[line.index("-") + 1], line[2]) for line in words]
    mounted = [(folder, "" if kind in LOCAL else device) for folder, kind, device in kinds]
    return lambda path: _at(path, mounted)


def nobody_writes(folder: Path, devices: Path = _DEVICES) -> bool:
    """Can no process change what is in ``folder``, by whatever mount?

    Then it is on an image that cannot be written, or on a disk of this machine that is read-only
    wherever it is mounted, or in a ConfigMap of Kubernetes, which only the node's root can reach.
    That the mount is read-only is not enough: `ProtectSystem` of systemd and `podman -v …:ro` make
    it so for one service. Nor is it for what shows files of elsewhere, such as an overlay or a
    file server. False if the system has no list of mounts.
    """
    mounted = ((_unescaped(line[4]), _fixed(line)) for line in _mounted(devices))
    return _at(str(folder.resolve()), mounted) != ""


def mounted_by_others(devices: Path = _DEVICES) -> Callable[[str], str]:
    """What tells which other user has mounted what is at a path: empty for us, root, or nobody.

    What users mount themselves, by FUSE, has the owners and modes that they say, and the content
    that they say next. No disk is asked: a path counts as it is written, without links.
    """
    mounted = [(_unescaped(line[4]), _other_user(line)) for line in _mounted(devices)]
    return lambda path: _at(path, mounted)


def _other_user(line: list[str]) -> str:
    if not line[line.index("-") + 1].startswith("fuse"):
        return ""
    users = [word[len(_BY) :] for word in line[-1].split(",") if word.startswith(_BY)]
    return next((user for user in users if user not in ("0", str(os.geteuid()))), "")


def _mounted(devices: Path) -> list[list[str]]:
    return [line for line in _lines(devices) if "-" in line] if devices.is_file() else []


def _fixed(line: list[str]) -> str:
    """Why nobody changes what is mounted; empty if somebody may."""
    root, options, options_of_all = line[3], line[5].split(","), line[-1].split(",")
    kind = line[line.index("-") + 1]
    if kind in _IMAGES or (kind in _OWN_FILES and "ro" in options_of_all):
        return "read-only"
    return "ConfigMap" if "ro" in options and _CONFIG_MAP in root else ""


def _lines(mounts: Path) -> Iterator[list[str]]:
    # Whoever may mount chooses names, and of the ends of lines only "\n" is escaped in them.
    for line in mounts.read_bytes().decode("utf-8", "surrogateescape").split("\n"):
        yield line.split(" ")


def _at(path: str, mounted: Iterable[tuple[str, str]]) -> str:
    """What is mounted at ``path``, of mount points and what is there; empty without any."""
    longest, found = 0, ""
    for folder, what in mounted:
        above = folder.rstrip("/") + "/"
        # The longest mount point wins; if several are equal, the last one hides the others.
        if len(above) >= longest and f"{path}/".startswith(above):
            longest, found = len(above), what
    return found


def _unescaped(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)
