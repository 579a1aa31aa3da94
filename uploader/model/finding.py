"""What was found in a folder, in words that a person can act on."""

from __future__ import annotations

from uploader.core.finding import Finding

__all__ = ["Finding", "error", "warning"]

_MAX_CHARS = 600


def error(check: str, file: str | None, message: str, hint: str) -> Finding:
    """A finding that refuses the folder, its words cut to 600 characters each.

    ``file`` is None if it is about the folder as a whole.
    """
    return Finding(check, "error", file, _short(message), _short(hint))


def warning(check: str, file: str | None, message: str, hint: str) -> Finding:
    """A finding that refuses nothing; otherwise like `error`."""
    return Finding(check, "warning", file, _short(message), _short(hint))


def _short(text: str) -> str:
    """``text``, shortened: names and values quoted from files may be long."""
    return text if len(text) <= _MAX_CHARS else f"{text[: _MAX_CHARS - 1]}…"
