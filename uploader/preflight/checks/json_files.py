"""Checks of the JSON files that loaders read: whole, and JSON as everybody understands it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from uploader.core.text import some
from uploader.model.finding import Finding, error, warning
from uploader.model.names import Role, needed, role
from uploader.model.reading import NoObject
from uploader.preflight.checks.text import FIREWORKS
from uploader.preflight.contents import Contents

#: Small enough to be parsed; of a longer one only the two ends, so long each, are looked at.
_PARSED_BYTES = 4_000_000
_END_BYTES = 4096
_MARK = b"\xef\xbb\xbf"
_AGAIN = "download or save it again"


def broken_json(contents: Contents) -> Iterable[Finding]:
    """A .json that loaders read is cut short or no JSON; one that is no object warns."""
    for file in contents.folder.manifest.files:
        name = file.path
        read = needed(name) and role(name) in (Role.GENERATION, Role.TOKENIZER, Role.OTHER)
        if not (read and name.endswith(".json") and name in contents.sound):
            continue
        if name == FIREWORKS:
            continue  # has a check of its own
        yield from _broken(contents, name, small=file.size_bytes <= _PARSED_BYTES)


def _broken(contents: Contents, name: str, *, small: bool) -> Iterable[Finding]:
    if not small:
        if not _has_ends(contents.root / name):
            yield error("broken_json", name, f"{name} is cut short", _AGAIN)
        return
    contents.object(name)
    if problem := contents.trouble.get(name):
        severity = warning if isinstance(problem, NoObject) else error
        yield severity("broken_json", name, f"{name} {problem}", _AGAIN)


def json_dialect(contents: Contents) -> Iterable[Finding]:
    """A .json that loaders read begins with a byte order mark, or holds NaN or Infinity.

    Transformers, PEFT and tokenizers refuse a mark: they decode UTF-8 and hand it to the parser.
    NaN is Python's own; official models have Infinity in theirs, and other parsers refuse it.
    """
    for file in contents.folder.manifest.files:
        name = file.path
        if not (name.endswith(".json") and needed(name) and name in contents.sound):
            continue
        if file.size_bytes <= _PARSED_BYTES and role(name) is not Role.INDEX:
            contents.object(name)
        if _begin(contents.root / name).startswith(_MARK):
            severity = warning if name == FIREWORKS else error
            message = f"{name} begins with a byte order mark, which Transformers does not read"
            hint = f"save it as UTF-8 without a mark: sed -i '1s/^\\xef\\xbb\\xbf//' {name}"
            yield severity("json_dialect", name, message, hint)
        words = contents.constants.get(name)
        if words:
            message = f"{name} holds {some(sorted(set(words)))}, which is not JSON"
            hint = "only Python reads it: write a number or null, unless the original has it too"
            yield warning("json_dialect", name, message, hint)


def _begin(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_END_BYTES)
    except OSError:
        return b""  # gone since the scan: the engine's own checks will say so


def _has_ends(path: Path) -> bool:
    """Whether a file too long to be parsed begins and ends as a JSON object does."""
    try:
        with path.open("rb") as file:
            begin = file.read(_END_BYTES)
            file.seek(-_END_BYTES, os.SEEK_END)
            end = file.read()
    except OSError:
        return True  # gone since the scan: the engine's own checks will say so
    return begin.removeprefix(_MARK).lstrip(b" \r\n\t")[:1] == b"{" and end.rstrip()[-1:] == b"}"
