"""Model ids: the rules of docs/fireworks.md §1.1, and an id from a folder's name.

See docs/cli.md §3.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from uploader import files
from uploader.core.errors import UsageError
from uploader.core.job import MODEL_ID

MAX_LENGTH = 63

_SNAPSHOT = re.compile(r"models--(?:.+--)?(.+)")
_CHECKPOINT = re.compile(r"checkpoint-[0-9]{1,20}")


def derive_model_id(path: Path) -> str:
    """A legal id from the folder's name as it is written: `Llama-3.1` → `llama-3p1`.

    `models--ORG--NAME/snapshots/REVISION` gives NAME, `checkpoint-N` gives its parent's name and
    its own. Raises UsageError if nothing legal is left.
    """
    folder = Path(os.path.normpath(files.absolute(path)))  # resolve() would follow links
    found = _name_of(folder)
    if not found:
        hint = "choose an id with `model_id`"
        raise UsageError(
            f"no model id can be made from the folder's name '{folder.name}'", hint=hint
        )
    return found


def check_model_id(text: str) -> str:
    """``text``, if it is a legal id; else raises UsageError that names the broken rule."""
    if MODEL_ID.fullmatch(text):
        return text
    suggestion = _legal(text)
    hint = f"try `model_id` {suggestion}" if suggestion else "for example `model_id` my-model"
    raise UsageError(f"the model id {text!r} {_broken_rule(text)}", hint=hint)


def _name_of(folder: Path) -> str:
    if _CHECKPOINT.fullmatch(folder.name):
        return _legal(_plain_name(folder.parent), f"-{folder.name}") or _legal(folder.name)
    return _legal(_plain_name(folder))


def _plain_name(folder: Path) -> str:
    """The folder's name or, in Hugging Face's cache, the repository's."""
    in_cache = folder.parent.name == "snapshots"
    snapshot = _SNAPSHOT.fullmatch(folder.parent.parent.name if in_cache else folder.name)
    return snapshot[1] if snapshot else folder.name


def _legal(name: str, suffix: str = "") -> str:
    """``name`` as a legal id that ends in ``suffix``, or "" if nothing of it is legal."""
    text = re.sub(r"(?<=\d)\.(?=\d)", "p", name.lower())  # the service's convention: 3.1 → 3p1
    text = re.sub(r"[^a-z0-9]+", "-", text).strip("-")
    if text[:1].isdigit():
        text = f"model-{text}"
    text = text[: MAX_LENGTH - len(suffix)].strip("-")
    return text and text + suffix


def _broken_rule(text: str) -> str:
    if not text:
        return "is empty"
    illegal = sorted({char for char in text if not re.fullmatch(r"[a-z0-9-]", char)})
    if illegal:
        return f"contains {' '.join(map(repr, illegal))}: only a-z, 0-9 and - are legal"
    if len(text) > MAX_LENGTH:
        return f"has {len(text)} characters: at most {MAX_LENGTH} are allowed"
    if text[0].isdigit():
        return "starts with a digit"
    return "starts or ends with a hyphen"
