"""Which folders the API may enqueue: those below `api.roots`, links included."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from uploader.core.api_reasons import ApiCode
from uploader.core.errors import NotFound
from uploader.service.http.problems import Refusal


def folder_below(roots: Sequence[Path], word: str) -> Path:
    """The real path of the folder ``word``. Nothing in it is opened before this has passed.

    Raises Refusal if it, or a link anywhere in it, is not below one of ``roots``; NotFound.
    """
    real = real_folder(roots, word)
    for link in _links(str(real)):
        if not is_below(roots, link):
            raise Refusal(ApiCode.OUTSIDE_ROOTS)
    return real


def real_folder(roots: Sequence[Path], word: str) -> Path:
    """The real path of the folder ``word``; what is in it is not looked at.

    Raises Refusal if it is not below one of ``roots``; NotFound.
    """
    if "\0" in word or not Path(word).is_absolute() or ".." in Path(word).parts:
        raise Refusal(ApiCode.OUTSIDE_ROOTS, hint="write the whole path, without `..`")
    real = os.path.realpath(word)
    if not is_below(roots, real):
        raise Refusal(ApiCode.OUTSIDE_ROOTS)
    if not os.path.isdir(real):  # noqa: PTH112 - a name that is too long is no folder, not an error
        raise NotFound(f"there is no folder {word}", hint="check the path")
    return Path(real)


def is_below(roots: Sequence[Path], path: str) -> bool:
    """Is ``path``, with every link resolved, one of ``roots`` or below it?"""
    real = os.path.realpath(path)
    allowed = [os.path.realpath(root) for root in roots]
    return any(real == root or real.startswith(root.rstrip("/") + "/") for root in allowed)


def _links(folder: str) -> Iterator[str]:
    """Every link below ``folder``; none is followed."""
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = os.path.join(parent, name)  # noqa: PTH118 - a folder may hold many
            if os.path.islink(path):  # noqa: PTH114
                yield path
