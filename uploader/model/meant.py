"""The folder that was meant, if the given one contains models instead of being one.

This helps with the root of an entry in Hugging Face's cache, a training run with only its
checkpoints, or a folder of several adapters. Only names are read, and a bounded number of them in
all: folders may be links, and thousands of links may lead to one folder of thousands of files.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from uploader import files
from uploader.core.text import shown
from uploader.model.names import ADAPTER_CONFIG, Role, role

#: In all folders together. No folder takes more than half of what is left for those after it.
_MAX_NAMES = 20_000
_CHECKPOINT = re.compile(
    r"(?:.*[-_])?(?:checkpoint|global_step|step|epoch)[-_]?(\d{1,18})", re.IGNORECASE
)
_ENTRY = "models--"


@dataclass(frozen=True, slots=True)
class Meant:
    """A path below the given folder, and what it was chosen from."""

    path: Path
    among: str

    def __str__(self) -> str:
        return f"did you mean {shlex.quote(shown(str(self.path)))} ({self.among})?"


def meant(root: Path) -> Meant | None:
    """The model below ``root`` that is most likely meant; None if there seems to be none."""
    look = _Look()
    found = _meant(root, look)
    if found and not look.whole:
        return Meant(found.path, f"{found.among}, not all of whose names were looked at")
    return found


def _meant(root: Path, look: _Look) -> Meant | None:
    folders = look.folders(root)
    names = {folder.name for folder in folders}
    if "snapshots" in names:
        return _snapshot(root, look)
    entries = [folder for folder in folders if folder.name.startswith(_ENTRY)]
    if entries:
        inner = _snapshot(_newest(entries), look)
        return inner and Meant(inner.path, f"{_newest_of(entries)} in the cache")
    found = [folder for folder in folders if _holds_model(look.files(folder))]
    checkpoints = {f: int(m[1]) for f in found if (m := _CHECKPOINT.fullmatch(f.name))}
    if len(checkpoints) == len(found) > 1:
        last = max(checkpoints, key=lambda folder: checkpoints[folder])
        return Meant(last, f"the newest of {len(found)} checkpoints")
    if len(found) > 1:
        adapters = all(os.path.isfile(folder / ADAPTER_CONFIG) for folder in found)  # noqa: PTH113 - never raises
        what = "adapters" if adapters else "models"
        return Meant(_newest(found), f"the newest of {len(found)} {what}")
    return Meant(found[0], "it contains weights") if found else None


def _newest_of(entries: Sequence[Path]) -> str:
    return "the only model" if len(entries) == 1 else f"the newest of {len(entries)} models"


def _snapshot(root: Path, look: _Look) -> Meant | None:
    """The revision of `main` in a cache entry, else the newest one."""
    revisions = [folder for folder in look.folders(root / "snapshots") if look.files(folder)]
    if not revisions:
        return None
    main = root / "snapshots" / _main(root)
    if main in revisions:
        return Meant(main, "the revision of main in Hugging Face's cache")
    return Meant(_newest(revisions), "the newest revision in Hugging Face's cache")


def _main(root: Path) -> str:
    longest = 100
    try:
        return files.read(root / "refs" / "main", longest)[0].decode("ascii").strip()
    except (OSError, ValueError):
        return ""


def _holds_model(names: set[str]) -> bool:
    return ADAPTER_CONFIG in names or any(role(name) is Role.WEIGHTS for name in names)


class _Look:
    """Lists folders until `_MAX_NAMES` names were looked at; are the lists ``whole``?"""

    def __init__(self) -> None:
        self.whole = True
        self._left = _MAX_NAMES

    def folders(self, root: Path) -> list[Path]:
        named = (name for name, is_folder in self._names(root) if is_folder)
        return [root / name for name in named if name[0] != "."]

    def files(self, root: Path) -> set[str]:
        return {name for name, is_folder in self._names(root) if not is_folder}

    def _names(self, root: Path) -> list[tuple[str, bool]]:
        """The names in ``root``, each with whether it is a folder."""
        most = self._left // 2
        if not most:
            self.whole = False
            return []
        try:
            with files.listed(root, most) as entries:
                found = [(entry.name, files.is_folder(entry)) for entry in entries]
        except OSError:
            found = []  # not there, or somebody else's
        self._left -= len(found) + 1
        self.whole &= len(found) < most
        return sorted(found)


def _newest(folders: Iterable[Path]) -> Path:
    return max(folders, key=_mtime_ns)


def _mtime_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
