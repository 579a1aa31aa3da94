"""The folders that the page offers: those below `api.roots`, one level at a time."""

from __future__ import annotations

import heapq
import os
from functools import partial
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Response
from typing_extensions import TypedDict

from uploader import files
from uploader.runtime import StopToken
from uploader.service.http.answers import Answer
from uploader.service.http.looks import Look
from uploader.service.http.questions import Questions, Silent
from uploader.service.http.roots import is_below, real_folder
from uploader.service.http.site import Site

_MOST = 1000
#: This many names of a folder are looked at, files included.
_MOST_NAMES = 100_000
_MODEL_FILES = ("config.json", "adapter_config.json")


class FolderJson(TypedDict):
    """A folder that may be chosen."""

    path: Annotated[str, "Its whole path."]
    name: Annotated[str, "The last part of it."]
    model: Annotated[bool, "Does it hold a configuration, as a model does?"]


class FoldersDocument(TypedDict):
    """`GET /api/folders`: the roots, or what is in one folder below them."""

    folders: Annotated[list[FolderJson], "By name, at most 1000."]
    silent: Annotated[list[str], "Names of others: the disk of each did not answer in a second."]
    parent: Annotated[str | None, "The folder above, if it is below a root, too."]


def add_routes(router: APIRouter, site: Site) -> None:
    """The only route that lists folders."""
    roots, questions = site.settings.api.roots, Questions()

    @router.get("/api/folders", response_model=FoldersDocument)
    async def folders(path: Annotated[str, Query(max_length=4096)] = "") -> Response:
        def look(one: Look) -> Answer:
            return Answer(_listed(roots, path, questions, one.stop))

        return await site.listings.at(path, look)


def _listed(
    roots: tuple[Path, ...], path: str, questions: Questions, stop: StopToken
) -> FoldersDocument:
    """The disk of the folder itself is waited for, and that of no name in it."""
    asked: dict[str, partial[FolderJson | None]]
    if path:
        real = real_folder(roots, path)
        asked = {name: partial(_folder_below, roots, real / name, name) for name in _names(real)}
        parent = _parent(questions, roots, str(real.parent))
    else:
        asked, parent = {str(root): partial(_root, root) for root in roots}, None
    folders, silent = list[FolderJson](), list[str]()
    for name, question in asked.items():
        stop.check()
        try:
            found = questions.ask(question)
        except Silent:
            silent.append(name)
        else:
            folders += [found] if found else []
    return {"folders": folders, "silent": silent, "parent": parent}


def _parent(questions: Questions, roots: tuple[Path, ...], above: str) -> str | None:
    """Finding out whether it is below a root asks the disk of each root."""
    try:
        return above if questions.ask(partial(is_below, roots, above)) else None
    except Silent:
        return None


def _names(folder: Path) -> list[str]:
    """What may be a folder, as far as the list itself shows; folders rather than links."""
    try:
        with files.listed(folder, _MOST_NAMES) as entries:
            offered = (one for one in entries if _is_offered(one.name))
            kinds = (
                (_is_link(one), one.name) for one in offered if _is_link(one) or _is_folder(one)
            )
            return sorted(name for _, name in heapq.nsmallest(_MOST, kinds))
    except OSError:
        return []


def _is_link(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_symlink()
    except OSError:  # of a file system that tells no kinds
        return False


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


def _is_offered(name: str) -> bool:
    """Is it not hidden, and is it text? Of a name that is not, neither job nor answer is made."""
    return name[0] != "." and all(not "\ud800" <= char <= "\udfff" for char in name)


def _folder_below(roots: tuple[Path, ...], path: Path, name: str) -> FolderJson | None:
    """None for a link to a file, or to a place that is not below a root."""
    with files.touching(path):
        if not (os.path.isdir(path) and is_below(roots, str(path))):  # noqa: PTH112 - never raises
            return None
        return _folder(path, name)


def _root(path: Path) -> FolderJson | None:
    """Told even if it is not there: who chooses it learns that."""
    with files.touching(path):
        return _folder(path, str(path))


def _folder(path: Path, name: str) -> FolderJson:
    has_model = any(os.path.isfile(path / file) for file in _MODEL_FILES)  # noqa: PTH113 - never raises
    return {"path": str(path), "name": name, "model": has_model}
