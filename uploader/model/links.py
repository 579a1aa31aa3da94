"""What may be sent of a folder: which links are followed, and which files are never sent.

A model folder is often somebody else's work, and a link in it can name any file of this user. A
link may end in the folder, unless what is there is hidden or would be left out by its name, as
`.git/config` and `.env` are: the tools of the user put their secrets there. Or it may end in the
`blobs` of the Hugging Face cache that the folder is part of. One that ends elsewhere is followed
only if the user allows it, or if it leads to weights, as their header shows. Files with this
product's secrets are never sent, whatever they are called.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from uploader import files
from uploader.core.redact import known_keys
from uploader.model.identities import Identities
from uploader.model.names import leftover, looks_secret

#: Why a private file is kept.
OURS = "belongs to uploader: a key, its configuration or its state"
#: A larger file is not searched for a key.
_SMALL_BYTES = 64 * 1024
#: Where git-annex and DVC keep the files of a repository, each under a name of its content.
_CONTENTS = ((".git", "annex", "objects"), (".dvc", "cache"))


def leads_outside(root: Path, name: str) -> Path | None:
    """Where the link ``name`` ends, if that is neither in ``root`` nor in its cache's blobs.

    ``root`` is a real path. None for what is not a link, and for a link that ends inside. Raises
    OSError if it leads nowhere.
    """
    path = root / name
    if not path.is_symlink():
        return None
    target = Path(files.real(path))
    return target if home_of(root, target) is None else None


def home_of(root: Path, target: Path) -> Path | None:
    """The folder that lets the real path ``target`` leave: ``root`` or its cache's blobs."""
    if target.is_relative_to(root) and not _is_left_out(target.relative_to(root)):
        return root
    return next((blobs for blobs in _blobs(root) if target.parent == blobs), None)


def _is_left_out(path: Path) -> bool:
    """Is the file at ``path`` in a model folder hidden, or nothing to be sent by its name?"""
    hidden = any(part.startswith(".") for part in path.parts)
    if any(path.parts[: len(place)] == place for place in _CONTENTS):
        return False
    return hidden or bool(leftover(path.name)) or looks_secret(path.name)


def open_below(folder: Path, target: Path) -> int:
    """A descriptor of ``target``, a real path below the real ``folder``: no link is followed.

    So what became a link meanwhile, the folder and those above it included, is refused by the
    system itself. Raises OSError: NotAFile for anything but a file.
    """
    path = folder.joinpath(target.relative_to(folder))
    with files.without_links(path.parent) as parent:
        return files.descriptor_of(path.name, os.O_NOFOLLOW, below=parent)


def _blobs(root: Path) -> list[Path]:
    """For a snapshot, `models--ORG--NAME/snapshots/REVISION/…`: the `blobs` next to `snapshots`."""
    caches = (folder.parent for folder in root.parents if folder.name == "snapshots")
    return [cache / "blobs" for cache in caches if cache.name.startswith("models--")]


@dataclass(frozen=True, slots=True)
class Private:
    """Files that are never sent, known by device and inode, so that no link can hide one."""

    paths: tuple[Path, ...] = ()
    _identities: Identities = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_identities", Identities(self.paths))

    def add(self, paths: Iterable[Path]) -> None:
        """From now on these, too: what was private once stays it."""
        self._identities.add(paths)

    def why_kept(self, descriptor: int) -> str:
        """Why the open file is never sent: by what it is, or by what it says. Empty if it may be.

        A small file is known by the API key, too, so that no copy hides it.
        """
        if self.holds(os.fstat(descriptor)):
            return OURS
        return "holds the API key" if tells_a_key(descriptor) else ""

    def holds(self, facts: os.stat_result) -> bool:
        """Is the file with these ``facts`` one of them, wherever they are now?"""
        return self._identities.hold((facts.st_dev, facts.st_ino))


def tells_a_key(descriptor: int) -> bool:
    """Is the open file a small one that holds an API key which this process knows?

    One that cannot be read does not: whoever is to send it finds that out.
    """
    size_bytes, text = os.fstat(descriptor).st_size, b""
    keys = known_keys() if size_bytes <= _SMALL_BYTES else []
    with contextlib.suppress(OSError):
        while keys and (more := os.pread(descriptor, size_bytes - len(text), len(text))):
            text += more
    return any(key in text for key in keys)


#: Nothing is private: for a folder that is only inspected.
NOTHING = Private()
