"""What enqueue would write, decided from the user's words and the folder; writes nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uploader.cli.look import Look, look, tell_findings, tell_left_out
from uploader.cli.terminal import out
from uploader.core.errors import UsageError
from uploader.core.job import UNKNOWN_ACCOUNT, Kind, NewJob
from uploader.core.words import size
from uploader.model.kinds import create_body
from uploader.model.model_id import check_model_id, derive_model_id

if TYPE_CHECKING:
    from uploader.settings import Settings

_ACCOUNT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Wanted:
    """The user's words; each is named as its option."""

    path: Path
    model_id: str | None = None
    account: str | None = None
    kind: str = "auto"
    base_model: str | None = None
    display_name: str | None = None
    description: str | None = None
    hugging_face_url: str | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """A folder that may become a model, and the job it would be."""

    new: NewJob
    seen: Look

    @property
    def model(self) -> str:
        return f"accounts/{self.new.account}/models/{self.new.model_id}"

    def as_json(self) -> dict[str, Any]:
        return {"schema": "uploader.plan/1", "model": self.model, **self.seen.as_json()}


def make_plan(wanted: Wanted, settings: Settings) -> Plan:
    """Raises PreflightRefused once every finding was told on stderr; NotFound; UsageError."""
    _check_words(wanted)
    seen = look(wanted.path, wanted.kind, wanted.include, wanted.exclude)
    if seen.errors:
        tell_findings(seen.findings)
        raise seen.refuse()
    return Plan(_new_job(wanted, seen, settings), seen)


def _check_words(wanted: Wanted) -> None:
    for field in fields(wanted):
        word, option = getattr(wanted, field.name), f"--{field.name.replace('_', '-')}"
        if isinstance(word, str) and any("\ud800" <= char <= "\udfff" for char in word):
            raise UsageError(f"{option} is not valid UTF-8", hint="check the terminal's encoding")
    if wanted.model_id is not None:
        check_model_id(wanted.model_id)
    if wanted.account is not None and not _ACCOUNT.fullmatch(wanted.account):
        hint = "it is the short id in accounts/ID, no e-mail address"
        raise UsageError(f"--account cannot be {wanted.account!r}", hint=hint)


def _new_job(wanted: Wanted, seen: Look, settings: Settings) -> NewJob:
    # Of the real path, so that a link to a folder is the same job (design §5).
    model_id = wanted.model_id or derive_model_id(seen.folder.root)
    body = create_body(
        seen.folder,
        seen.kind,
        model_id,
        base_model=wanted.base_model,
        display_name=wanted.display_name,
        description=wanted.description,
        hugging_face_url=wanted.hugging_face_url,
    )
    return NewJob(
        base_url=settings.fireworks.base_url,
        account=wanted.account or settings.fireworks.account_id or UNKNOWN_ACCOUNT,
        model_id=model_id,
        kind=seen.kind,
        manifest=seen.manifest,
        create_body=body,
        options=_options(wanted, seen.kind, model_id),
        priority=wanted.priority,
        preflight=tuple(finding.as_json() for finding in seen.findings),
    )


def _options(wanted: Wanted, kind: Kind, model_id: str) -> dict[str, Any]:
    """The words that make a job another job (design §5).

    Id and kind as they were understood: to spell out what is derived anyway is no difference.
    """
    return {
        "model-id": model_id,
        "account": wanted.account,
        "kind": kind.value,
        "base-model": wanted.base_model,
        "display-name": wanted.display_name,
        "description": wanted.description,
        "hugging-face-url": wanted.hugging_face_url,
        "include": sorted(set(wanted.include)),
        "exclude": sorted(set(wanted.exclude)),
    }


def show_plan(plan: Plan) -> None:
    """On stdout, for people; `--json` is for programs."""
    manifest = plan.new.manifest
    out(f"model   {plan.model}")
    out(f"folder  {manifest.root}")
    out(f"kind    {plan.new.kind} ({plan.seen.because})")
    out(f"total   {size(manifest.size_bytes)} in {len(manifest.files)} files")
    for file in manifest.files:
        out(f"{size(file.size_bytes):>12}  {file.path}")
    tell_left_out(plan.seen.left_out, out)
    tell_findings(plan.seen.findings, out)
