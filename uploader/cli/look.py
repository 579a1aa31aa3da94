"""A look at a folder, as enqueue and preflight take it, and how its findings are told."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from uploader.cli.terminal import say_wrapped
from uploader.core.errors import PreflightRefused
from uploader.core.job import Kind, Manifest
from uploader.core.text import duration, size
from uploader.model.finding import Finding, error
from uploader.model.folder import SEEN_BY_SCAN, Folder, LeftOut, scan
from uploader.model.kinds import detect_kind, narrow
from uploader.preflight.forecast import Outlook
from uploader.preflight.registry import ASKED_FOR, findings, overrule

#: Prints a sentence behind a lead, under which its further lines stand.
Tell = Callable[[str, str], None]

_EMPTY = "empty_folder"
_ASKED = frozenset(ASKED_FOR)
_NAMES_SHOWN = 3
#: A clone without LFS has a pointer for each of two hundred shards.
_ALIKE_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Look:
    """A folder as one kind, and everything there is to say about it."""

    folder: Folder
    kind: Kind
    because: str
    findings: tuple[Finding, ...]
    outlook: Outlook | None = None

    @property
    def manifest(self) -> Manifest:
        return self.folder.manifest

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        return self.folder.left_out

    @property
    def errors(self) -> int:
        return sum(finding.severity == "error" for finding in self.findings)

    @property
    def counts(self) -> str:
        """``7 errors, 1 warning``; empty where there are none."""
        counts = {"error": self.errors, "warning": len(self.findings) - self.errors}
        return ", ".join(_count(count, word) for word, count in counts.items() if count)

    @property
    def what(self) -> str:
        """``an embedding model``."""
        return f"{'an' if self.kind is Kind.EMBEDDING else 'a'} {self.kind} model"

    @property
    def total(self) -> str:
        """``12 files, 3.4 GiB, 2m50s at 20.0 MiB/s (--rate)``."""
        total = f"{_count(len(self.manifest.files), 'file')}, {size(self.manifest.size_bytes)}"
        ahead = self.outlook
        if ahead is None:
            return total
        takes = duration(ahead.takes_s(self.manifest))
        return f"{total}, {takes} at {size(ahead.rate_bps)}/s ({ahead.because})"

    def refuse(self) -> PreflightRefused:
        """The error of a folder with errors; which ones was told before."""
        message = f"{self.manifest.root} cannot become {self.what}: {self.counts}"
        hint = "mend it, --exclude files, or overrule a check with --allow CHECK"
        if not self.manifest.files:
            hint = "give the folder that holds the model's files"
        elif {found.check for found in self.findings if found.severity == "error"} <= _ASKED:
            hint = "mend that, or leave --online away: enqueue needs no network"
        return PreflightRefused(message, hint=hint)

    def as_json(self) -> dict[str, Any]:
        """What a plan and a preflight have in common."""
        files, ahead = self.manifest.files, self.outlook
        return {
            "path": self.manifest.root,
            "kind": self.kind.value,
            "kind_because": self.because,
            "files_total": len(files),
            "bytes_total": self.manifest.size_bytes,
            "rate_bps": round(ahead.rate_bps) if ahead else None,
            "expected_s": round(ahead.takes_s(self.manifest)) if ahead else None,
            "files": [{"path": file.path, "size_bytes": file.size_bytes} for file in files],
            "left_out": [
                {"path": left.path, "why": left.why, "size_bytes": left.size_bytes}
                for left in self.left_out
            ],
            "findings": [finding.as_json() for finding in self.findings],
        }


def look(
    path: Path,
    told: tuple[Kind, str] | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    allow: Collection[str] = (),
    *,
    base: Callable[[Folder], Folder | None] = lambda _: None,
    unchecked: bool = False,
) -> Look:
    """What there is to say about a folder; ``told`` is its kind and who said so.

    ``base`` finds the folder of an adapter's base model; ``unchecked`` looks into no file.
    Raises NotFound, UsageError; PreflightRefused where the folder cannot be listed.
    """
    seen = scan(path, include, exclude)
    kind, because = told or detect_kind(seen)
    # What the scan itself has to say is about files that cannot be sent, or not by us.
    waived = {f.check for f in seen.findings} if unchecked else {*allow} & SEEN_BY_SCAN.keys()
    # Before the checks, for what is allowed to be missing is not there.
    seen = replace(seen, findings=tuple(overrule(seen.findings, waived)))
    folder = narrow(seen, kind)
    beside = base(seen) if kind is Kind.LORA and not unchecked else None
    found = overrule(folder.findings if unchecked else findings(seen, kind, beside), allow)
    if not folder.names and all(finding.check != _EMPTY for finding in found):
        hint = "mend the files that cannot be sent"
        found = [error(_EMPTY, None, f"{folder.root} holds no file to send", hint), *found]
    return Look(folder, kind, because, tuple(found))


def tell_look(seen: Look, tell: Tell = say_wrapped) -> None:
    """Everything that was found: errors, warnings, and what is not sent."""
    for _, alike in groupby(seen.findings, lambda found: (found.severity, found.check)):
        found = list(alike)
        for finding in found[:_ALIKE_SHOWN]:
            tell(f"{finding.message} ({finding.check})", f"{finding.severity}: ")
            tell(finding.hint, "  hint: ")
        more = len(found[_ALIKE_SHOWN:])
        if more:
            tell(f"{more} more like these ({found[0].check})", f"{found[0].severity}: ")
    tell_left_out(seen.left_out, tell)


def tell_left_out(left_out: Iterable[LeftOut], tell: Tell = say_wrapped) -> None:
    """A line for each reason: its first names and what all of its files come to."""
    reasons: dict[str, list[LeftOut]] = {}
    for left in left_out:
        reasons.setdefault(left.why, []).append(left)
    for why, alike in reasons.items():
        names = ", ".join(left.path for left in alike[:_NAMES_SHOWN])
        more = f" and {len(alike) - _NAMES_SHOWN} more" if len(alike) > _NAMES_SHOWN else ""
        total = sum(left.size_bytes or 0 for left in alike)
        tell(f"{names}{more} ({why}){f', {size(total)}' if total else ''}", "left out: ")


def _count(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
