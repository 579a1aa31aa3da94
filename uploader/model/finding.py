"""What a look at a folder found, in words a person can act on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from uploader.core.documents import FindingJson

Severity = Literal["error", "warning"]
_MOST = 600


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing about a folder. ``check`` is its stable name; an ``error`` refuses the folder.

    ``file`` is a name as it can be printed, None where the folder as a whole is meant.
    """

    check: str
    severity: Severity
    file: str | None
    message: str
    hint: str

    def as_json(self) -> FindingJson:
        """The shape of a job's ``preflight`` entries (design §7); no file is an empty one."""
        return {
            "check": self.check,
            "severity": self.severity,
            "file": self.file or "",
            "message": self.message,
            "hint": self.hint,
        }


def error(check: str, file: str | None, message: str, hint: str) -> Finding:
    return Finding(check, "error", file, _short(message), _short(hint))


def warning(check: str, file: str | None, message: str, hint: str) -> Finding:
    return Finding(check, "warning", file, _short(message), _short(hint))


def some(names: Sequence[str]) -> str:
    """The first of ``names``, and how many more there are."""
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def _short(text: str) -> str:
    """Names and values are quoted from files: a sentence stays one that can be read."""
    return text if len(text) <= _MOST else f"{text[: _MOST - 1]}…"
