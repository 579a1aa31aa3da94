"""Inspects a folder: what kind of model it is, and everything that was found in it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from uploader.core.documents import InspectionJson
from uploader.core.errors import PreflightRefused, StoreError, UploaderError
from uploader.core.job import FileState, Job, Kind, Manifest
from uploader.intake.forecast import Forecast
from uploader.intake.request import EnqueueRequest
from uploader.model.finding import Finding, error
from uploader.model.folder import SEEN_BY_SCAN, Folder, LeftOut
from uploader.model.found import as_found
from uploader.model.kinds import base_model_of, detect_kind, narrow
from uploader.model.links import NOTHING, Private
from uploader.preflight.registry import ASKED_FOR, findings, overrule
from uploader.sources.local import LocalFolder

if TYPE_CHECKING:
    from uploader.store.jobs import Jobs

_EMPTY = "empty_folder"
_ASKED = frozenset(ASKED_FOR)


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was found; ``because`` says why the folder is of that kind."""

    folder: Folder
    kind: Kind
    because: str
    findings: tuple[Finding, ...]
    forecast: Forecast | None = None

    @property
    def manifest(self) -> Manifest:
        """The files to send."""
        return self.folder.manifest

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """The names that are not sent, each with the reason."""
        return self.folder.left_out

    @property
    def errors(self) -> int:
        """How many findings refuse the folder."""
        return sum(finding.severity == "error" for finding in self.findings)

    @property
    def counts(self) -> str:
        """``7 errors, 1 warning``; empty without any."""
        counts = {"error": self.errors, "warning": len(self.findings) - self.errors}
        return ", ".join(count_of(count, word) for word, count in counts.items() if count)

    @property
    def what(self) -> str:
        """``an embedding model``."""
        return f"{'an' if self.kind is Kind.EMBEDDING else 'a'} {self.kind} model"

    def as_json(self) -> InspectionJson:
        """The fields that the documents of a plan and of a preflight share."""
        files, ahead = self.manifest.files, self.forecast
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


class FolderRefused(PreflightRefused):
    """The folder was inspected and cannot become a model; ``inspection`` says why."""

    def __init__(self, inspection: Inspection) -> None:
        root, what = inspection.manifest.root, inspection.what
        message = f"{root} cannot become {what}: {inspection.counts}"
        super().__init__(message, hint=_way_out(inspection), findings=inspection.findings)
        self.inspection = inspection


def _way_out(inspection: Inspection) -> str:
    if not inspection.manifest.files:
        return next(found.hint for found in inspection.findings if found.check == _EMPTY)
    if {found.check for found in inspection.findings if found.severity == "error"} <= _ASKED:
        return "fix that, or leave out `online`"
    return "fix it, `exclude` files, or overrule a check with `allow` CHECK"


def inspect_folder(
    request: EnqueueRequest,
    kind: tuple[Kind, str] | None = None,
    base: Callable[[Folder], Folder | None] = lambda _: None,
    private: Private = NOTHING,
) -> Inspection:
    """Everything the files say; ``kind`` is the kind that was asked for, and by what.

    ``base`` finds the folder of an adapter's base model. Raises NotFound, UsageError;
    PreflightRefused if the folder cannot be listed or holds too many names.
    """
    seen = LocalFolder(request.path, private).list(request.include, request.exclude)
    unchecked, allow = request.no_preflight, request.allow
    # The scan's own errors are about files that cannot be sent, whatever is waived.
    waived = {*allow} & SEEN_BY_SCAN.keys()
    if unchecked:  # skipping checks does not allow sending what is outside the folder
        waived |= {f.check for f in seen.findings} - {"outside_link"}
    # This comes before anything is read: allowed files may be missing, refused ones stay unread.
    seen = replace(seen, findings=tuple(overrule(seen.findings, waived))).without_outsiders()
    with as_found(seen):
        named, because = kind or detect_kind(seen)
        folder = narrow(seen, named)
        base_folder = base(seen) if named is Kind.LORA and not unchecked else None
        with as_found(base_folder) if base_folder else contextlib.nullcontext():
            told = folder.findings if unchecked else findings(seen, named, base_folder)
    found = overrule(told, allow)
    if not folder.names and all(finding.check != _EMPTY for finding in found):
        hint = "fix the files that cannot be sent"
        found = [error(_EMPTY, None, f"{folder.root} contains no file to send", hint), *found]
    return Inspection(folder, named, because, tuple(found))


def uploaded_base(folder: Folder, given: str | None, jobs: Jobs | None) -> Folder | None:
    """The folder of an adapter's base model, if it was uploaded from here and has not changed."""
    model = base_model_of(folder, given)
    if model is None or jobs is None:
        return None
    earlier: list[Job] = []
    with contextlib.suppress(StoreError):  # a damaged history is not a reason to fail here
        earlier = jobs.of_model(model)
    for one in reversed(earlier):
        with contextlib.suppress(UploaderError):
            job = jobs.sealed(jobs.job(one.id))
            if job.model == model and job.kind is Kind.BASE:
                found = LocalFolder(Path(job.path)).list().without_outsiders()
                if _holds(found.manifest, jobs.files(job.id)):
                    return found
    return None


def _holds(manifest: Manifest, known: Iterable[FileState]) -> bool:
    """Are all the ``known`` files still there and unchanged?"""
    by_path = {file.path: file for file in manifest.files}
    return all(
        (now := by_path.get(file.path)) is not None
        and now.size_bytes == file.size_bytes
        and manifest.same(file.fingerprint, now.fingerprint)
        for file in known
    )


def count_of(count: int, word: str) -> str:
    """``1 file``, ``2 files``."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
