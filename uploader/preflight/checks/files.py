"""Checks of a folder's files as such: there, whole, and what their names say."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

from uploader.core.job import Kind
from uploader.core.text import size
from uploader.model.finding import Finding, error, warning
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
        yield error("empty_folder", None, f"{contents.root} holds no file to send", hint)


def empty_file(contents: Contents) -> Iterable[Finding]:
    """A configuration, a tokenizer file or weights of no bytes."""
    for file in contents.folder.manifest.files:
        if not file.size_bytes:
            yield error("empty_file", file.path, f"{file.path} is empty", _AGAIN)


def huge_file(contents: Contents) -> Iterable[Finding]:
    """A file beyond the 5 TiB that one object may have."""
    for file in contents.folder.manifest.files:
        if file.size_bytes > MAX_FILE_BYTES:
            message = f"{file.path} has {size(file.size_bytes)}, an object at most 5 TiB"
            yield error("huge_file", file.path, message, "save the model in more shards")


def lfs_pointer(contents: Contents) -> Iterable[Finding]:
    """A Git LFS pointer in place of a file; of one that nobody reads it warns."""
    for name in sorted(contents.pointers):
        severity = error if needed(name) else warning
        message = f"{name} is a Git LFS pointer, not the file itself"
        yield severity("lfs_pointer", name, message, "run `git lfs pull` in the folder")


def partial_download(contents: Contents) -> Iterable[Finding]:
    """A download that has not ended: `*.incomplete`, `*.part` and the like."""
    left = (left_out.path for left_out in contents.folder.left_out)
    for name, whole in ((name, partial(name)) for name in left):
        if whole is not None and _wanted(contents, whole):
            severity = warning if whole in contents.present else error
            message = f"{name} is a download that has not ended"
            hint = f"finish the download, or remove {name} if it is an old one"
            yield severity("partial_download", name, message, hint)
    unfinished = sum(map(_unfinished, _caches(contents.root)))
    if unfinished:
        downloads = (
            "1 unfinished download" if unfinished == 1 else f"{unfinished} unfinished downloads"
        )
        message = f"Hugging Face's cache for this folder holds {downloads}"
        hint = "run the download again: it ends at once if nothing is missing"
        yield warning("partial_download", None, message, hint)


def _wanted(contents: Contents, whole: str) -> bool:
    """Whether the file would be sent once it is whole, and is missed until then."""
    if contents.kind is Kind.LORA:
        return whole in ADAPTER_FILES
    return needed(whole) and leftover(whole) is None


def _caches(root: Path) -> Iterator[Path]:
    """Where `--local-dir` and the shared cache keep what is on its way."""
    yield root / ".cache/huggingface/download"
    if root.parent.name == "snapshots":
        yield root.parent.parent / "blobs"


def _unfinished(place: Path) -> int:
    try:
        return sum(name.endswith(".incomplete") for name in os.listdir(place))  # noqa: PTH208 - by name only
    except OSError:
        return 0  # not there, or somebody else's


def name_collision(contents: Contents) -> Iterable[Finding]:
    """Two names that are one if letters' case, or accents' encoding, do not count."""
    alike: dict[str, list[str]] = {}
    for name in contents.folder.names:
        alike.setdefault(unicodedata.normalize("NFC", name).casefold(), []).append(name)
    for first, *others in alike.values():
        if others:
            message = f"{first} and {others[0]} differ in letters' case or accents only"
            hint = "leave one out with `exclude`, or rename it"
            yield warning("name_collision", others[0], message, hint)


def key_file(contents: Contents) -> Iterable[Finding]:
    """A file to send that has the name of a key or of credentials: `*.pem`, `*.key`, `.env`."""
    for name in contents.folder.names:
        if role(name) is Role.OTHER and looks_secret(name):
            message = f"{name} looks like a key or credentials, and would be sent"
            yield warning("key_file", name, message, f"`exclude` '{name}'")


def config_json(contents: Contents) -> Iterable[Finding]:
    """config.json is missing or no JSON object."""
    yield from _needed_object(contents, "config.json", "config_json")


def stray_adapter(contents: Contents) -> Iterable[Finding]:
    """An adapter_config.json in a whole model, for whose base Transformers would look elsewhere."""
    if ADAPTER_CONFIG in contents.folder.names:
        message = f"{ADAPTER_CONFIG} is there, though this is no adapter"
        hint = f"`exclude` {ADAPTER_CONFIG} if the adapter is merged; `kind` lora if it is one"
        yield warning("stray_adapter", ADAPTER_CONFIG, message, hint)


def adapter_config(contents: Contents) -> Iterable[Finding]:
    """adapter_config.json is missing or no JSON object."""
    yield from _needed_object(contents, ADAPTER_CONFIG, "adapter_config")


def _needed_object(contents: Contents, name: str, check: str) -> Iterable[Finding]:
    if contents.present and name not in contents.present:
        hint = "every Hugging Face model has one: is this the model's folder?"
        if _DIFFUSERS in contents.present:
            hint = f"{_DIFFUSERS} is of a diffusers pipeline: Fireworks takes language models"
        yield error(check, name, f"{name} is missing", hint)
    contents.object(name)
    if name in contents.trouble:
        yield error(check, name, f"{name} {contents.trouble[name]}", _AGAIN)
