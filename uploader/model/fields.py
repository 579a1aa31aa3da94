"""The fields of a model that its user may give (docs/fireworks.md §1.2), and their rules.

They are declared with pydantic, which is slow to import: import this file only if it is needed.
Only what was given is ever sent; null counts as not given, as in protobuf's JSON.
"""

from __future__ import annotations

import difflib
import json
import re
from collections import Counter
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from uploader import files
from uploader.core.errors import NotFound, UsageError
from uploader.core.foreign_json import parsed
from uploader.core.job import INT64_END, Kind
from uploader.model.kinds import RESOURCE_NAME

_FILE = "`model_json`"
#: A create body is a few KiB long; a list of 10 000 shards takes half a MiB.
_MAX_BYTES = 4_000_000
_MAX_VALUES = 300_000
_INT32_END = 1 << 31
_MAX_SHOWN = 60
#: Fields that only Fireworks sets (docs/fireworks.md §4).
_ITS_OWN = frozenset({
    "name", "state", "status", "createTime", "updateTime", "createdBy", "importedFrom",
    "encryptionState", "calibrated", "supportedPrecisions", "supportedPrecisionsWithCalibration",
    "deployedModelRefs", "rlTunable", "baseModelDetails.defaultPrecision",
    "peftDetails.baseModelType",
})  # fmt: skip
#: Fields that are given elsewhere, with the hint that says where.
_ELSEWHERE = {
    "modelId": "give it as `model_id`",
    "model": 'give the fields themselves, without "model" around them',
    "cluster": "uploader only sends to Fireworks' own storage",
}


def _url(text: str) -> str:
    found = urlsplit(text)
    is_web = found.scheme in ("http", "https") and found.hostname
    if not is_web or " " in text or not text.isprintable():
        raise ValueError("write a whole URL: https://huggingface.co/ORG/NAME")
    return text


def _resource_name(text: str) -> str:
    if not RESOURCE_NAME.fullmatch(text):
        raise ValueError("write a resource name: accounts/ACCOUNT/models/MODEL")
    return text


def _kind(text: str) -> str:
    known = [kind.remote for kind in Kind]
    if text not in known:
        raise ValueError(f"it may be {', '.join(known)}")
    return text


def _int64(text: str) -> str:
    if not re.fullmatch(r"[0-9]{1,19}", text) or int(text) >= INT64_END:
        raise ValueError('write a whole number in quotes, like "8030261248"')
    return text


def _no_teft(_: dict[str, Any]) -> dict[str, Any]:
    raise ValueError("it is for HF_TEFT_ADDON models, which uploader does not create")


Url = Annotated[str, AfterValidator(_url)]
ResourceName = Annotated[str, AfterValidator(_resource_name)]
Count = Annotated[int, Field(ge=1, lt=_INT32_END)]
Text = Annotated[str, Field(min_length=1)]


class _Fields(BaseModel):
    """Names as the service spells them, and values of exactly their type."""

    model_config = ConfigDict(strict=True, extra="forbid", alias_generator=to_camel)


class BaseModelDetails(_Fields):
    """``baseModelDetails``: what the service is told of a model of its own weights."""

    world_size: Count | None = None
    checkpoint_format: Literal["HUGGINGFACE"] | None = None
    huggingface_files: list[Text] | None = None
    parameter_count: Annotated[str, AfterValidator(_int64)] | None = None
    moe: bool | None = None
    tunable: bool | None = None
    model_type: Text | None = None
    supports_fireattention: bool | None = None
    supports_mtp: bool | None = None


class PeftDetails(_Fields):
    """``peftDetails``: what the service is told of an adapter, and of its base model."""

    base_model: ResourceName | None = None
    r: Annotated[int, Field(ge=4, le=64)] | None = None
    target_modules: Annotated[list[Text], Field(min_length=1)] | None = None
    merge_addon_model_name: ResourceName | None = None


class ConversationConfig(_Fields):
    """``conversationConfig``: how a chat becomes a prompt."""

    style: Text
    system: str | None = None
    template: str | None = None


class Date(_Fields):
    """google.type.Date: month and day may be 0, which means unknown."""

    year: Annotated[int, Field(ge=1, le=9999)]
    month: Annotated[int, Field(ge=0, le=12)] = 0
    day: Annotated[int, Field(ge=0, le=31)] = 0

    @model_validator(mode="after")
    def _exists(self) -> Date:
        if self.day:
            date(self.year, self.month, self.day)  # its ValueError says what is wrong
        return self


class Fields(_Fields):
    """Every writable field of a gatewayModel."""

    kind: Annotated[str, AfterValidator(_kind)] | None = None
    display_name: Annotated[str, Field(max_length=63)] | None = None
    description: Annotated[str, Field(max_length=999)] | None = None
    github_url: Url | None = None
    hugging_face_url: Url | None = None
    public: bool | None = None
    conversation_config: ConversationConfig | None = None
    context_length: Count | None = None
    training_context_length: Count | None = None
    supports_image_input: bool | None = None
    supports_tools: bool | None = None
    supports_lora: bool | None = None
    use_hf_apply_chat_template: bool | None = None
    default_draft_model: ResourceName | None = None
    default_draft_token_count: Count | None = None
    deprecation_date: Date | None = None
    snapshot_type: Literal["FULL_SNAPSHOT", "INCREMENTAL_SNAPSHOT"] | None = None
    base_model_details: BaseModelDetails | None = None
    peft_details: PeftDetails | None = None
    teft_details: Annotated[dict[str, Any], AfterValidator(_no_teft)] | None = None


_NESTED: Mapping[str, type[_Fields]] = {
    "baseModelDetails": BaseModelDetails,
    "peftDetails": PeftDetails,
    "conversationConfig": ConversationConfig,
    "deprecationDate": Date,
}


def read_fields(path: Path) -> dict[str, Any]:
    """The JSON object in the file ``path``, not yet checked. Raises NotFound, UsageError."""
    hint = 'write an object with fields of the model, like {"contextLength": 32768}'
    try:
        raw, _ = files.read(path, _MAX_BYTES + 1, pipe=True)
        found = parsed(raw, _MAX_VALUES, object_pairs_hook=_once)
    except FileNotFoundError:
        raise NotFound(f"{_FILE}: there is no file {path}", hint="check the path") from None
    except OSError as problem:
        message = f"{_FILE}: {path} cannot be read: {problem.strerror}"
        raise UsageError(message, hint="give a file that this user may read") from None
    except ValueError as problem:
        message = f"{_FILE}: {path} is not JSON: {str(problem)[:_MAX_SHOWN]}"
        raise UsageError(message, hint=hint) from None
    if not isinstance(found, dict) or len(raw) > _MAX_BYTES:
        raise UsageError(f"{_FILE}: {path} is not a JSON object of a few KiB", hint=hint)
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        name, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise ValueError(f"{name} is there twice")
    return {name: value for name, value in pairs if value is not None}


def merged(flags: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields from flags and those ``given`` in a file, checked.

    Raises UsageError for the first that is unknown, wrong, or given twice with different values.
    """
    for name, value in flags.items():
        if name in given and (type(value), value) != (type(given[name]), given[name]):
            message = f"`{name}` is {value}, {_FILE} says {name} {given[name]}"
            raise UsageError(message, hint="give it once")
    found = {**given, **flags}
    try:
        Fields.model_validate(found)
    except ValidationError as problem:
        raise _refused(problem, flags) from None
    if "defaultDraftModel" in found and "defaultDraftTokenCount" not in found:
        hint = "give the number of tokens that it drafts: `default_draft_token_count`"
        raise UsageError("defaultDraftModel needs defaultDraftTokenCount", hint=hint)
    return found


def _refused(problem: ValidationError, flags: Mapping[str, Any]) -> UsageError:
    first = problem.errors(include_url=False, include_context=False)[0]
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return UsageError(f"{_FILE}: unknown field {name}", hint=_nearest(name))
    if first["type"] == "missing":
        parent = name.rpartition(".")[0]
        return UsageError(f"{_FILE}: {name} is missing", hint=f"{parent} needs it")
    where = f"`{name}`" if name in flags else f"{_FILE}: {name}"
    message = f"{where} cannot be {_shown(first['input'])}"
    return UsageError(message, hint=first["msg"].removeprefix("Value error, "))


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) and value else json.dumps(value)
    if len(text) <= _MAX_SHOWN:
        return text
    return f"{text[:_MAX_SHOWN]}… ({len(text)} characters)"


def _nearest(name: str) -> str:
    """A hint for an unknown field: the most similar of all names, wherever it belongs."""
    if name in _ITS_OWN:
        return "only Fireworks sets it"
    if name in _ELSEWHERE:
        return _ELSEWHERE[name]
    known = {to_camel(field): to_camel(field) for field in Fields.model_fields}
    for outer, model in _NESTED.items():
        known |= {to_camel(field): f"{outer}.{to_camel(field)}" for field in model.model_fields}
    last = name.rpartition(".")[2]
    near = difflib.get_close_matches(last, known, n=1)
    return f"did you mean {known[near[0]]}?" if near else "leave it out: there is no such field"
