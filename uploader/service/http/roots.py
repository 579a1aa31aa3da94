"""Which folders the API may enqueue: those below `api.roots`, links included."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from itertools import islice
from pathlib import Path

from uploader import files
from uploader.core.api_reasons import ApiCode
from uploader.core.errors import NotFound
from uploader.core.job import Manifest, ManifestFile
from uploader.model.fingerprint import fingerprint_of, is_linked, surely_same
from uploader.model.folder import MOST_NAMES
from uploader.model.links import open_below
from uploader.service.http.problems import Refusal

#: A path that is not there is told from one outside by the folders above it, as far as these.
_MOST_PARENTS = 40


def folder_below(roots: Sequence[Path], word: str) -> Path:
    """The real path of the folder ``word``. Nothing in it is opened before this has passed.

    Raises Refusal if it, or a link anywhere in it, is not below one of ``roots``, or if it holds
    more than `MOST_NAMES` names, those in its folders included; NotFound.
    """
    real = real_folder(roots, word)
    for link in _links(str(real)):
        with files.touching(link):
            leads_out = _leads_out(roots, link)
        if leads_out:
            name = os.path.relpath(link, real)
            message = f"{name} is a link to a place that is not below a folder of api.roots"
            hint = "copy the file into the folder, or remove the link"
            raise Refusal(ApiCode.OUTSIDE_ROOTS, message, hint=hint)
    return real


def reading_below(roots: Sequence[Path]) -> AbstractContextManager[None]:
    """While a folder is inspected: Refusal for a file that is opened elsewhere.

    A name may have become a link since `folder_below`, and may be none again a moment later.
    """
    return files.only_below(roots, Refusal(ApiCode.OUTSIDE_ROOTS))


def refuse_outsiders(roots: Sequence[Path], manifest: Manifest) -> None:
    """Raises Refusal unless what was found in a folder is below ``roots``.

    A name may have become a link since `folder_below`, and what it leads to may have been found.
    """
    if not is_below(roots, manifest.root):
        raise Refusal(ApiCode.OUTSIDE_ROOTS)
    for file in manifest.files:
        if is_linked(file.fingerprint) and not _is_inside(roots, manifest, file):
            raise Refusal(ApiCode.OUTSIDE_ROOTS)


def _is_inside(roots: Sequence[Path], manifest: Manifest, file: ManifestFile) -> bool:
    """Is the very file that was found below one of ``roots``, however its link turns meanwhile?"""
    try:
        target = files.real(os.path.join(manifest.root, file.path))  # noqa: PTH118
        home = files.home(roots, target)
        if home is None:
            return False
        descriptor = open_below(Path(home), Path(target))
    except OSError:
        return False
    try:
        return surely_same(
            file.fingerprint, fingerprint_of(os.fstat(descriptor), files.place(descriptor))
        )
    finally:
        os.close(descriptor)


def real_folder(roots: Sequence[Path], word: str) -> Path:
    """The real path of the folder ``word``; what is in it is not looked at.

    Raises Refusal if it is not below one of ``roots``; NotFound.
    """
    if "\0" in word or not Path(word).is_absolute() or ".." in Path(word).parts:
        raise Refusal(ApiCode.OUTSIDE_ROOTS, hint="write the whole path, without `..`")
    above = next(filter(None, map(_found, _with_parents(word))), "/")
    if not is_below(roots, above):
        raise Refusal(ApiCode.OUTSIDE_ROOTS)
    real = _found(word)
    if real is None or not os.path.isdir(real):  # noqa: PTH112 - no error, whatever its name
        raise NotFound(f"there is no folder {word}", hint="check the path")
    if not is_below(roots, real):  # it has become a link
        raise Refusal(ApiCode.OUTSIDE_ROOTS)
    return Path(real)


def is_below(roots: Sequence[Path], path: str) -> bool:
    """Is what is found at ``path`` one of ``roots``, or below it?"""
    real = _found(path)
    return real is not None and files.home(roots, real) is not None


def _leads_out(roots: Sequence[Path], link: str) -> bool:
    """A link that leads nowhere is left to the look, which names it."""
    real = _found(link)
    return real is not None and files.home(roots, real) is None


def _found(path: str) -> str | None:
    try:
        return files.real(path)
    except OSError:
        return None


def _with_parents(word: str) -> Iterator[str]:
    """``word``, and the folders that it may be in if there is nothing at it: not all of many."""
    yield word
    yield from map(str, islice(Path(word).parents, _MOST_PARENTS))


def _links(folder: str) -> Iterator[str]:
    """Every link below ``folder``; none is followed. Raises Refusal for too many names."""
    left = MOST_NAMES
    waiting = [("", folder)]  # names: thousands of whole paths take too much memory
    while waiting:
        parent = os.path.join(*waiting.pop())  # noqa: PTH118 - a folder may hold many
        with suppress(OSError), files.listed(parent, left + 1) as entries:
            for entry in entries:
                left -= 1
                if left < 0:
                    raise _too_many()
                if os.path.islink(entry):  # noqa: PTH114 - an error counts as no link
                    yield entry.path
                elif files.is_folder(entry):
                    waiting.append((parent, entry.name))


def _too_many() -> Refusal:
    message = f"The folder and those in it hold more than {MOST_NAMES:,} names"
    hint = "give a folder that holds one model, or use `uploader enqueue` on that machine"
    return Refusal(ApiCode.OUTSIDE_ROOTS, message, hint=hint)
