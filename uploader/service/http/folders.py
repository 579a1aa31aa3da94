"""The folders that the page offers: those below `api.roots`, one level at a time."""

from __future__ import annotations

import heapq
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Response
from typing_extensions import TypedDict

from uploader import files
from uploader.service.http.answers import Answer
from uploader.service.http.roots import is_below, real_folder
from uploader.service.http.site import Site

_MOST = 1000
#: So many names of a folder are looked at, files included.
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
    parent: Annotated[str | None, "The folder above, if it is below a root, too."]


def add_routes(router: APIRouter, site: Site) -> None:
    """The only route that lists folders."""
    roots = site.settings.api.roots

    @router.get("/api/folders", response_model=FoldersDocument)
    async def folders(path: Annotated[str, Query(max_length=4096)] = "") -> Response:
        return await site.listings.at(path, lambda _: Answer(_listed(roots, path)))


def _listed(roots: Sequence[Path], path: str) -> FoldersDocument:
    if not path:
        return {"folders": [_folder(root, str(root)) for root in roots], "parent": None}
    real = real_folder(roots, path)
    above = str(real.parent)
    listed = [_folder(one, one.name) for one in _below(real) if is_below(roots, str(one))]
    return {"folders": listed, "parent": above if is_below(roots, above) else None}


def _below(folder: Path) -> list[Path]:
    try:
        with files.listed(folder, _MOST_NAMES) as entries:
            names = (one.name for one in entries if _is_offered(one.name) and files.is_folder(one))
            return [folder / name for name in heapq.nsmallest(_MOST, names)]
    except OSError:
        return []


def _is_offered(name: str) -> bool:
    """Is it not hidden, and is it text? Of a name that is not, neither job nor answer is made."""
    return name[0] != "." and all(not "\ud800" <= char <= "\udfff" for char in name)


def _folder(path: Path, name: str) -> FolderJson:
    has_model = any(os.path.isfile(path / file) for file in _MODEL_FILES)  # noqa: PTH113 - never raises
    return {"path": str(path), "name": name, "model": has_model}
