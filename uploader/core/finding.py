"""One thing that was found in a folder, as a job keeps it and as programs read it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from uploader.core.documents import FindingJson

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing about a folder. ``check`` is its stable name; an ``error`` refuses the folder.

    ``file`` is a name as it can be printed, None if it is about the folder as a whole.
    """

    check: str
    severity: Severity
    file: str | None
    message: str
    hint: str

    def as_json(self) -> FindingJson:
        """The shape of a job's ``preflight`` entries (docs/json.md); a missing file is ""."""
        return {
            "check": self.check,
            "severity": self.severity,
            "file": self.file or "",
            "message": self.message,
            "hint": self.hint,
        }
