"""What enqueue would write, decided from the user's words and the folder; writes nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uploader.cli.look import Look, look, tell_look
from uploader.cli.outlook import online, outlook, uploaded_base
from uploader.cli.terminal import out, out_wrapped
from uploader.core.errors import UploaderError, UsageError
from uploader.core.job import UNKNOWN_ACCOUNT, Kind, NewJob
from uploader.core.text import size
from uploader.model.kinds import base_model_of, create_body, option
from uploader.model.model_id import check_model_id, derive_model_id
from uploader.preflight.registry import overrule

if TYPE_CHECKING:
    from uploader.settings.schema import Settings

_ACCOUNT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)
#: Fields of a model with a flag of their own, by the service's names; firectl has these too
#: (contract §10). Every other one is for --model-json.
_OLDEST = ("displayName", "description", "huggingFaceUrl")
FLAGGED = (
    *_OLDEST,
    "githubUrl",
    "public",
    "contextLength",
    "supportsTools",
    "supportsImageInput",
    "defaultDraftModel",
    "defaultDraftTokenCount",
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """The user's words; each is named as its option.

    ``fields`` are the options of a model's fields, by the service's names; ``model_json`` is
    what the file says, not its name.
    """

    path: Path
    model_id: str | None = None
    account: str | None = None
    kind: str = "auto"
    base_model: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    model_json: Mapping[str, Any] = field(default_factory=dict)
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    no_preflight: bool = False
    priority: int = 0
    rate: str | None = None
    online: bool = False


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


def make_plan(wanted: Wanted, settings: Settings, tell: Callable[[Look], None] = tell_look) -> Plan:
    """Raises PreflightRefused or UsageError once every finding was told; NotFound."""
    _check_words(wanted)
    said = _said_fields(wanted)
    seen = look(
        wanted.path,
        _told_kind(wanted.kind, said),
        wanted.include,
        wanted.exclude,
        wanted.allow,
        base=lambda folder: uploaded_base(base_model_of(folder, wanted.base_model), settings),
        unchecked=wanted.no_preflight,
    )
    try:
        seen = _looked_ahead(wanted, seen, settings)
        if seen.errors:
            raise seen.refuse()
        return Plan(_new_job(wanted, said, seen, settings), seen)
    except UploaderError:
        tell(seen)
        raise


def _looked_ahead(wanted: Wanted, seen: Look, settings: Settings) -> Look:
    """``seen`` with what the upload would take and, where asked for, what the service says."""
    ahead = outlook(wanted.rate, settings)
    found = [*ahead.session_life(seen.manifest, settings.transfer.max_files)] if ahead else []
    if wanted.online:
        found += online(settings, _account(wanted, settings), _model_id(wanted, seen))
    return replace(
        seen, outlook=ahead, findings=tuple(overrule([*seen.findings, *found], wanted.allow))
    )


def _account(wanted: Wanted, settings: Settings) -> str:
    return wanted.account or settings.fireworks.account_id or UNKNOWN_ACCOUNT


def _model_id(wanted: Wanted, seen: Look) -> str:
    # Of the real path, so that a link to a folder is the same job (design §5).
    return wanted.model_id or derive_model_id(seen.folder.root)


def _check_words(wanted: Wanted) -> None:
    for flag, word in _texts(wanted):
        if any("\ud800" <= char <= "\udfff" for char in word):
            raise UsageError(f"{flag} is not valid UTF-8", hint="check the terminal's encoding")
    if wanted.model_id is not None:
        check_model_id(wanted.model_id)
    if wanted.account is not None and not _ACCOUNT.fullmatch(wanted.account):
        hint = "it is the short id in accounts/ID, no e-mail address"
        raise UsageError(f"--account cannot be {wanted.account!r}", hint=hint)


def _texts(wanted: Wanted) -> Iterator[tuple[str, str]]:
    words = {
        "--model-id": wanted.model_id,
        "--account": wanted.account,
        "--base-model": wanted.base_model,
        **{option(name): word for name, word in wanted.fields.items()},
    }
    yield from ((flag, word) for flag, word in words.items() if isinstance(word, str))


def _said_fields(wanted: Wanted) -> dict[str, Any]:
    if not wanted.fields and not wanted.model_json:
        return {}
    from uploader.model.fields import merged  # pydantic is slow to import

    return merged(wanted.fields, wanted.model_json)


def _told_kind(word: str, said: Mapping[str, Any]) -> tuple[Kind, str] | None:
    """What the user calls the folder, and where; the flag is compared with the file later."""
    if word != "auto":
        return Kind(word), f"--kind {word}"
    found = next((kind for kind in Kind if kind.remote == said.get("kind")), None)
    return (found, "--model-json says so") if found else None


def _new_job(wanted: Wanted, said: Mapping[str, Any], seen: Look, settings: Settings) -> NewJob:
    model_id = _model_id(wanted, seen)
    return NewJob(
        base_url=settings.fireworks.base_url,
        account=_account(wanted, settings),
        model_id=model_id,
        kind=seen.kind,
        manifest=seen.manifest,
        create_body=create_body(
            seen.folder, seen.kind, model_id, base_model=wanted.base_model, said=said
        ),
        options=_options(wanted, seen.kind, model_id),
        priority=wanted.priority,
        preflight=tuple(finding.as_json() for finding in seen.findings),
    )


def _options(wanted: Wanted, kind: Kind, model_id: str) -> dict[str, Any]:
    """The words that make a job another job (design §5); `rescan.words_of` reads them.

    Id and kind as they were understood: to spell out what is derived anyway is no difference.
    """
    options = {
        "model-id": model_id,
        "account": wanted.account,
        "kind": kind.value,
        "base-model": wanted.base_model,
        **{field_option(name): wanted.fields.get(name) for name in _OLDEST},
        "include": sorted(set(wanted.include)),
        "exclude": sorted(set(wanted.exclude)),
    }
    # Only where they were said: a job enqueued by an earlier version is still the same job.
    younger = {
        **{field_option(name): word for name, word in wanted.fields.items()},
        "model-json": dict(wanted.model_json),
        "allow": sorted(set(wanted.allow)),
        "no-preflight": wanted.no_preflight,
    }
    return options | {name: word for name, word in younger.items() if word}


def field_option(name: str) -> str:
    """The key in a job's options of a field that has a flag."""
    return option(name).removeprefix("--")


def show_plan(plan: Plan, columns: int | None) -> None:
    """On stdout, for people; `--json` is for programs."""
    manifest = plan.new.manifest
    out(f"model   {plan.model}")
    out(f"folder  {manifest.root}")
    out(f"kind    {plan.new.kind} ({plan.seen.because})")
    out(f"total   {plan.seen.total}")
    for file in manifest.files:
        out(f"{size(file.size_bytes):>12}  {file.path}")
    show_look(plan.seen, columns)


def show_look(seen: Look, columns: int | None) -> None:
    """Everything found, on stdout, which is a terminal of so many columns or none."""
    tell_look(seen, lambda text, lead: out_wrapped(text, columns, lead))
