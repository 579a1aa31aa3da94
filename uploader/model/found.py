"""Reading the files of a folder that was listed: what a name leads to may have turned since."""

from __future__ import annotations

import errno
import os
from contextlib import AbstractContextManager
from pathlib import Path

from uploader import files
from uploader.model.fingerprint import fingerprint_of
from uploader.model.folder import Folder
from uploader.model.links import home_of


def as_found(folder: Folder) -> AbstractContextManager[None]:
    """While this lasts, a name in ``folder`` opens no file out of it but the one that was found.

    Whoever opens another one gets an OSError: the name has become a link, or leads elsewhere now.
    """
    root, prints = folder.root, {one.path: one.fingerprint for one in folder.manifest.files}

    def judge(name: Path, descriptor: int) -> None:
        if not name.is_relative_to(root):
            return
        facts, known = os.fstat(descriptor), prints.get(str(name.relative_to(root)))
        if known == fingerprint_of(facts):
            return
        place = files.place(descriptor)
        inside = Path(place) == name or home_of(root, Path(place)) is not None
        if not inside and known != fingerprint_of(facts, place):
            raise OSError(errno.ESTALE, "it is a link that has turned since the folder was listed")

    return files.judged(judge)
