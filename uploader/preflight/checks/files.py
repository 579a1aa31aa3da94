"""Checks of a folder's files: whether they are there, complete, and named as expected."""

from __future__ import annotations

import shlex
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

from uploader import files
from uploader.core.job import Kind
from uploader.core.text import size
from uploader.model.finding import Finding, error, warning
from uploader.model.folder import MOST_NAMES
from uploader.model.meant import meant
from uploader.model.names import (
    ADAPTER_CONFIG,
    ADAPTER_FILES,
    Role,
    leftover,
    looks_secret,
    needed,
    partial,
    role,
)
from uploader.preflight.contents import Contents

#: "5 TiB is the maximum size of an object" (docs/fireworks.md §8).
MAX_FILE_BYTES = 5 << 40
_DIFFUSERS = "model_index.json"
_AGAIN = "download or save it again"


def empty_folder(contents: Contents) -> Iterable[Finding]:
    """There is no file to send."""
    if not contents.present:
        hint = str(meant(contents.root) or "give the folder that holds the model's files")
        yield error("empty_folder", None, f"{contents.root} contains no file to send", hint)


def empty_file(contents: Contents) -> Iterable[Finding]:
    """A configuration, a tokenizer file or weights of no bytes."""
    for file in contents.folder.manifest.files:
        if not file.size_bytes:
            yield error("empty_file", file.path, f"{file.path} is empty", _AGAIN)


def huge_file(contents: Contents) -> Iterable[Finding]:
    """A file larger than the 5 TiB that one object may have."""
    for file in contents.folder.manifest.files:
        if file.size_bytes > MAX_FILE_BYTES:
            message = (
                f"{file.path} has {size(file.size_bytes)}, but an object may have at most 5 TiB"
            )
            yield error("huge_file", file.path, message, "save the model in more shards")


def lfs_pointer(contents: Contents) -> Iterable[Finding]:
    """A Git LFS pointer in place of a file; it only warns if the file is not read."""
    for name in sorted(contents.pointers):
        severity = error if needed(name) else warning
        message = f"{name} is a Git LFS pointer, not the file itself"
        yield severity("lfs_pointer", name, message, "run `git lfs pull` in the folder")


def partial_download(contents: Contents) -> Iterable[Finding]:
    """An unfinished download: `*.incomplete`, `*.part` and the like."""
    left = (left_out.path for left_out in contents.folder.left_out)
    for name, whole in ((name, partial(name)) for name in left):
        if whole is not None and _wanted(contents, whole):
            severity = warning if whole in contents.present else error
            message = f"{name} is an unfinished download"
            hint = f"finish the download, or remove {shlex.quote(name)} if it is an old one"
            yield severity("partial_download", name, message, hint)
    unfinished = sum(map(_unfinished, _caches(contents.root)))
    if unfinished:
        downloads = (
            "1 unfinished download" if unfinished == 1 else f"{unfinished} unfinished downloads"
        )
        message = f"Hugging Face's cache for this folder has {downloads}"
        hint = "run the download again: it ends at once if nothing is missing"
        yield warning("partial_download", None, message, hint)


def _wanted(contents: Contents, whole: str) -> bool:
    """Whether the file would be sent once it is complete, and is missing until then."""
    if contents.kind is Kind.LORA:
        return whole in ADAPTER_FILES
    return needed(whole) and leftover(whole) is None


def _caches(root: Path) -> Iterator[Path]:
    """Where `--local-dir` and the shared cache keep unfinished downloads."""
    yield root / ".cache/huggingface/download"
    if root.parent.name == "snapshots":
        yield root.parent.parent / "blobs"


def _unfinished(place: Path) -> int:
    """How many there are; a warning needs no count of more names than a model has."""
    try:
        with files.listed(place, MOST_NAMES) as entries:
            return sum(entry.name.endswith(".incomplete") for entry in entries)
    except OSError:
        return 0  # not there, or somebody else's


def open_for_writing(contents: Contents) -> Iterable[Finding]:
    """A file that a program has open for writing, as far as Linux says: it may not be complete."""
    for file in contents.folder.manifest.files:
        if _has_writer(contents.root / file.path):
            message = f"{file.path} is open for writing: it may not be complete yet"
            yield warning("open_for_writing", file.path, message, "wait until it is closed")


def _has_writer(path: Path) -> bool:
    try:
        with files.opened(path) as file:
            return files.has_writer(file.fileno())
    except OSError:
        return False  # whoever reads it says that it cannot be read


def name_collision(contents: Contents) -> Iterable[Finding]:
    """Two names that differ only in letters' case or in the encoding of accents."""
    alike: dict[str, list[str]] = {}
    for name in contents.folder.names:
        alike.setdefault(unicodedata.normalize("NFC", name).casefold(), []).append(name)
    for first, *others in alike.values():
        if others:
            message = f"{first} and {others[0]} differ in letters' case or accents only"
            hint = "leave one out with `exclude`, or rename it"
            yield warning("name_collision", others[0], message, hint)


def key_file(contents: Contents) -> Iterable[Finding]:
    """A file to send whose name is that of a key or of credentials: `*.pem`, `*.key`, `.env`."""
    for name in contents.folder.names:
        if role(name) is Role.OTHER and looks_secret(name):
            message = f"{name} looks like a key or credentials, and would be sent"
            yield warning("key_file", name, message, f"`exclude` {shlex.quote(name)}")


def config_json(contents: Contents) -> Iterable[Finding]:
    """config.json is missing or not a JSON object."""
    yield from _needed_object(contents, "config.json", "config_json")


def stray_adapter(contents: Contents) -> Iterable[Finding]:
    """An adapter_config.json in a whole model makes Transformers look for a base elsewhere."""
    if ADAPTER_CONFIG in contents.folder.names:
        message = f"{ADAPTER_CONFIG} is there, although this is not an adapter"
        hint = f"`exclude` {ADAPTER_CONFIG} if the adapter is merged; `kind` lora if it is one"
        yield warning("stray_adapter", ADAPTER_CONFIG, message, hint)


def adapter_config(contents: Contents) -> Iterable[Finding]:
    """adapter_config.json is missing or not a JSON object."""
    yield from _needed_object(contents, ADAPTER_CONFIG, "adapter_config")


def _needed_object(contents: Contents, name: str, check: str) -> Iterable[Finding]:
    if contents.present and name not in contents.present:
        hint = "give the model's folder: every Hugging Face model has this file"
        if _DIFFUSERS in contents.present:
            hint = (
                f"{_DIFFUSERS} belongs to a diffusers pipeline, but Fireworks takes language models"
            )
        yield error(check, name, f"{name} is missing", hint)
    contents.look_at(name)
    if name in contents.trouble:
        yield error(check, name, f"{name} {contents.trouble[name]}", _AGAIN)
