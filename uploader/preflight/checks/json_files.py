"""Checks of the JSON files that loaders read: complete, and JSON for every parser."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from pathlib import Path

from uploader import files
from uploader.core.text import some
from uploader.model.finding import Finding, error, warning
from uploader.model.names import Role, needed, role
from uploader.model.reading import NoObject, TooLong
from uploader.preflight.checks.text import FIREWORKS
from uploader.preflight.contents import Contents

#: The longest file to be parsed. If one is longer, or has countless values, only its two ends, each
#: this long, are read.
_PARSED_BYTES = 4_000_000
_END_BYTES = 4096
_MARK = b"\xef\xbb\xbf"
_AGAIN = "download or save it again"


def broken_json(contents: Contents) -> Iterable[Finding]:
    """A .json that loaders read is cut short or not JSON; it only warns if it is not an object."""
    for file in contents.folder.manifest.files:
        name = file.path
        read = needed(name) and role(name) in (Role.GENERATION, Role.TOKENIZER, Role.OTHER)
        if not (read and name.endswith(".json") and name in contents.sound):
            continue
        if name == FIREWORKS:
            continue  # another check covers it
        yield from _broken(contents, name, small=file.size_bytes <= _PARSED_BYTES)


def _broken(contents: Contents, name: str, *, small: bool) -> Iterable[Finding]:
    if small:
        contents.look_at(name)
    problem = contents.trouble.get(name)
    if not small or isinstance(problem, TooLong):
        if not _has_ends(contents.root / name):
            yield error("broken_json", name, f"{name} is cut short", _AGAIN)
    elif problem:
        severity = warning if isinstance(problem, NoObject) else error
        yield severity("broken_json", name, f"{name} {problem}", _AGAIN)


def json_dialect(contents: Contents) -> Iterable[Finding]:
    """A .json that loaders read begins with a byte order mark, or contains NaN or Infinity.

    Transformers, PEFT and tokenizers refuse a mark: they decode UTF-8 and pass it to the parser.
    Only Python reads NaN; official models contain Infinity, and other parsers refuse that, too.
    """
    for file in contents.folder.manifest.files:
        name = file.path
        if not (name.endswith(".json") and needed(name) and name in contents.sound):
            continue
        if file.size_bytes <= _PARSED_BYTES and role(name) is not Role.INDEX:
            contents.look_at(name)
        if _begin(contents.root / name).startswith(_MARK):
            severity = warning if name == FIREWORKS else error
            message = f"{name} begins with a byte order mark, which Transformers does not read"
            here = shlex.quote(f"./{name}")
            hint = f"save it as UTF-8 without a mark: sed -i '1s/^\\xef\\xbb\\xbf//' {here}"
            yield severity("json_dialect", name, message, hint)
        words = contents.constants.get(name)
        if words:
            message = f"{name} contains {some(sorted(set(words)))}, which is not JSON"
            hint = "only Python reads it: write a number or null, unless the original has it, too"
            yield warning("json_dialect", name, message, hint)


def _begin(path: Path) -> bytes:
    try:
        return files.read(path, _END_BYTES)[0]
    except OSError:
        return b""  # it vanished after the scan: the engine will report that


def _has_ends(path: Path) -> bool:
    """Whether a file too long to be parsed begins and ends like a JSON object."""
    try:
        with files.opened(path) as file:
            begin = file.read(_END_BYTES)
            file.seek(-_END_BYTES, os.SEEK_END)
            end = file.read(_END_BYTES)  # it may grow meanwhile
    except OSError:
        return True  # it vanished after the scan: the engine will report that
    return begin.removeprefix(_MARK).lstrip(b" \r\n\t")[:1] == b"{" and end.rstrip()[-1:] == b"}"
