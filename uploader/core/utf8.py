"""Words from anywhere in UTF-8, which has no half characters (lone surrogates), as JSON has."""

from __future__ import annotations

import json


def whole(words: str) -> str:
    """``words`` with a ``?`` for each half of a character, so that any place can keep them."""
    return words.encode("utf-8", "replace").decode("utf-8")


def json_bytes(document: object) -> bytes:
    """A document for other programs, in UTF-8, whatever its strings say. Raises ValueError for NaN.

    Not with escapes: a strict parser refuses that of half a character, and so the whole document.
    """
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", "replace")


def check_json(document: object) -> None:
    """Raises ValueError for half a character or for NaN anywhere in ``document``."""
    json.dumps(document, ensure_ascii=False, allow_nan=False).encode("utf-8")
