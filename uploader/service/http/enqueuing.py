"""The body of `POST /api/jobs` and `POST /api/preflight`: the options of `uploader enqueue`."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, create_model

from uploader.core.errors import UsageError
from uploader.core.job import Kind
from uploader.intake.request import MODEL_FIELDS, EnqueueRequest, ModelFields

_MAX_PATH_CHARS = 4096
_AUTO = "auto"
_NAMES = Annotated[list[Annotated[str, Field(max_length=1000)]], Field(max_length=1000)]


def _options() -> dict[str, Any]:
    """Every field of a request by its name, so that a new one needs no line here."""
    hints = get_type_hints(EnqueueRequest) | get_type_hints(ModelFields)
    found: dict[str, Any] = {
        one.name: (_NAMES, Field(default_factory=list))
        if hints[one.name] == tuple[str, ...]
        else (hints[one.name], one.default)
        for one in (*fields(EnqueueRequest), *fields(ModelFields))
        if one.name not in ("path", "kind", "fields", "model_json")
    }
    return found | {
        "kind": (str, _AUTO),
        "model_json": (dict[str, Any], Field(default_factory=dict)),
    }


class FolderBody(BaseModel):
    """A folder below `api.roots`; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", strict=True)
    path: Annotated[str, Field(max_length=_MAX_PATH_CHARS)]


if TYPE_CHECKING:
    EnqueueBody = FolderBody
else:
    EnqueueBody = create_model("EnqueueBody", __base__=FolderBody, **_options())


def request_of(body: FolderBody, folder: Path) -> EnqueueRequest:
    """The request for the folder that ``body`` names. Raises UsageError."""
    given = {name: getattr(body, name) for name in type(body).model_fields}
    given = {name: tuple(one) if isinstance(one, list) else one for name, one in given.items()}
    named = {name: given.pop(name) for name in MODEL_FIELDS}
    kind = given.pop("kind")
    known = [one.value for one in Kind]
    if kind not in (_AUTO, *known):
        hint = f"it may be {_AUTO}, {', '.join(known)}"
        raise UsageError("`kind` is unknown", hint=hint)
    given |= {
        "path": folder,
        "kind": None if kind == _AUTO else Kind(kind),
        "fields": ModelFields(**named),
    }
    return EnqueueRequest(**given)
