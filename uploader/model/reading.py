"""Small JSON files of a model folder, read with suspicion."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

#: Far above the largest real one: the index of a model of a trillion parameters has 20 MB.
MAX_JSON_BYTES = 100_000_000


class Malformed(ValueError):
    """A file is not what its name says; the text goes on after the file's name."""


class NoObject(Malformed):
    """JSON, but no object."""


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in ``path``; raises Malformed, for one that cannot be read as well."""
    try:
        # As text at once: the bytes of a large index are gone before its objects are made.
        with path.open(encoding="utf-8-sig") as file:
            text = file.read(MAX_JSON_BYTES + 1)
    except OSError as problem:
        raise Malformed(f"cannot be read: {problem.strerror}") from None
    except UnicodeDecodeError:
        raise Malformed("is not JSON") from None
    if len(text) > MAX_JSON_BYTES:
        raise Malformed("is larger than any file of its kind (100 MB)")
    return parse_object(text)


def parse_object(text: str | bytes) -> dict[str, Any]:
    """``text`` as a JSON object; raises Malformed."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise Malformed("is not JSON") from None
    if not isinstance(found, dict):
        raise NoObject("is not a JSON object")
    return found
