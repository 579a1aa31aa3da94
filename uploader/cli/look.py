"""A look at a folder, as enqueue and preflight take it, and how its findings are told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uploader.cli.terminal import say
from uploader.core.errors import PreflightRefused
from uploader.core.job import Kind, Manifest
from uploader.model.finding import Finding
from uploader.model.folder import Folder, LeftOut, scan
from uploader.model.kinds import detect_kind, narrow
from uploader.model.preflight import findings


@dataclass(frozen=True, slots=True)
class Look:
    """A folder as one kind, and everything there is to say about it."""

    folder: Folder
    kind: Kind
    because: str
    findings: tuple[Finding, ...]

    @property
    def manifest(self) -> Manifest:
        return self.folder.manifest

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        return self.folder.left_out

    @property
    def errors(self) -> int:
        return sum(finding.severity == "error" for finding in self.findings)

    def refuse(self) -> PreflightRefused:
        """The error of a folder with errors; which ones was told before."""
        what = f"{self.errors} problems" if self.errors > 1 else "1 problem"
        message = f"{self.manifest.root} cannot become a model: {what}"
        return PreflightRefused(message, hint="mend it, or leave files out with --exclude")

    def as_json(self) -> dict[str, Any]:
        """What a plan and a preflight have in common."""
        files = self.manifest.files
        return {
            "path": self.manifest.root,
            "kind": self.kind.value,
            "kind_because": self.because,
            "files_total": len(files),
            "bytes_total": self.manifest.size_bytes,
            "files": [{"path": file.path, "size_bytes": file.size_bytes} for file in files],
            "left_out": [{"path": left.path, "why": left.why} for left in self.left_out],
            "findings": [finding.as_json() for finding in self.findings],
        }


def look(
    path: Path, kind: str = "auto", include: Sequence[str] = (), exclude: Sequence[str] = ()
) -> Look:
    """Raises NotFound, UsageError; PreflightRefused where the folder cannot be listed."""
    seen = scan(path, include, exclude)
    decided, because = _kind(seen, kind)
    return Look(narrow(seen, decided), decided, because, tuple(findings(seen, decided)))


def _kind(folder: Folder, word: str) -> tuple[Kind, str]:
    if word != "auto":
        return Kind(word), f"--kind {word}"
    kind = detect_kind(folder)
    there = "there is an" if kind is Kind.LORA else "there is no"
    return kind, f"{there} adapter_config.json"


def tell_findings(found: Sequence[Finding], tell: Callable[[str], None] = say) -> None:
    """One line what, one line what to do about it, for each."""
    for finding in found:
        tell(f"{finding.severity}: {finding.message} ({finding.check})")
        tell(f"  hint: {finding.hint}")


def tell_left_out(left_out: Sequence[LeftOut], tell: Callable[[str], None] = say) -> None:
    for left in left_out:
        tell(f"left out: {left.path} ({left.why})")
