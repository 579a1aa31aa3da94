"""What the body of `POST models` must look like (docs/fireworks.md §1)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from uploader.sandbox.refusals import invalid

_MODEL_ID = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_RESOURCE = re.compile(r"accounts/[a-z0-9-]+/models/[a-z0-9-]+")
_KINDS = {"HF_BASE_MODEL", "HF_PEFT_ADDON", "HF_TEFT_ADDON", "FLUMINA_BASE_MODEL"}
_KINDS |= {"FLUMINA_ADDON", "DRAFT_ADDON", "FIRE_AGENT", "LIVE_MERGE", "CUSTOM_MODEL"}
_KINDS |= {"EMBEDDING_MODEL", "SNAPSHOT_MODEL", "KIND_UNSPECIFIED"}
_RANKS = range(4, 65)
_DIGITS = re.compile(r"[0-9]{1,19}")
_LARGEST_INT64 = 2**63 - 1
_SNAPSHOTS = {"FULL_SNAPSHOT", "INCREMENTAL_SNAPSHOT"}
_PRECISIONS = {"FP16", "FP8", "FP8_MM", "FP8_AR", "FP8_MM_KV_ATTN", "FP8_KV", "FP8_MM_V2"}
_PRECISIONS |= {"FP8_V2", "FP8_MM_KV_ATTN_V2", "NF4", "FP4", "BF16", "FP4_BLOCKSCALED_MM"}
_PRECISIONS |= {"FP4_MX_MOE"}
#: Fixed once a model is created (docs/fireworks.md §1.2).
_IMMUTABLE = ("kind", "baseModelDetails", "peftDetails", "teftDetails", "conversationConfig")
_FORMATS = {"CHECKPOINT_FORMAT_UNSPECIFIED", "NATIVE", "HUGGINGFACE", "UNINITIALIZED"}

_BODY = {"modelId": str, "model": dict, "cluster": str}
_MODEL: dict[str, type] = {
    **dict.fromkeys(("displayName", "description", "kind", "githubUrl", "huggingFaceUrl"), str),
    **dict.fromkeys(("baseModelDetails", "peftDetails", "teftDetails"), dict),
    **dict.fromkeys(("conversationConfig", "deprecationDate"), dict),
    **dict.fromkeys(("supportsImageInput", "supportsTools", "supportsLora", "public"), bool),
    **dict.fromkeys(("contextLength", "trainingContextLength", "defaultDraftTokenCount"), int),
    "useHfApplyChatTemplate": bool,
    "defaultDraftModel": str,
    "snapshotType": str,
}
_BASE_DETAILS: dict[str, type] = {
    **dict.fromkeys(("worldSize", "parameterCount"), int),
    **dict.fromkeys(("checkpointFormat", "modelType"), str),
    **dict.fromkeys(("moe", "tunable", "supportsFireattention", "supportsMtp"), bool),
    "huggingfaceFiles": list,
}
_CONVERSATION: dict[str, type] = dict.fromkeys(("style", "system", "template"), str)
_DATE: dict[str, type] = dict.fromkeys(("year", "month", "day"), int)
_PEFT_DETAILS: dict[str, type] = {
    "baseModel": str,
    "r": int,
    "targetModules": list,
    "mergeAddonModelName": str,
}


def check_create_body(body: Mapping[str, Any]) -> dict[str, Any]:
    """The model's fields, with `kind` filled in. Raises Refused (INVALID_ARGUMENT)."""
    _check_fields("", body, _BODY)
    if not is_model_id(body.get("modelId")):
        raise invalid(f"illegal modelId {body.get('modelId', '')!r:.100}")
    model = dict(body.get("model", {}))
    _check_fields("model.", model, _MODEL)
    if model.get("kind", "KIND_UNSPECIFIED") == "KIND_UNSPECIFIED":
        model["kind"] = "HF_PEFT_ADDON"
    if model["kind"] not in _KINDS:
        raise invalid(f"unknown kind {model['kind']!r:.100}")
    _check_values(model)
    _check_base_details(model)
    _check_peft_details(model)
    return model


def check_seeded_fields(model: Mapping[str, Any]) -> None:
    """The known fields of a model made long ago: each has its type, or null. Raises Refused.

    What belongs together is not checked, nor what the contract does not know.
    """
    details = {"baseModelDetails": _BASE_DETAILS, "peftDetails": _PEFT_DETAILS}
    _check_known("model.", model, _MODEL)
    for name, known in details.items():
        _check_known(f"{name}.", model.get(name) or {}, known)
    if not _names((model.get("baseModelDetails") or {}).get("huggingfaceFiles") or []):
        raise invalid("huggingfaceFiles is not a list of names")


def _check_known(where: str, fields: Mapping[str, Any], known: Mapping[str, type]) -> None:
    given = {n: value for n, value in fields.items() if n in known and value is not None}
    _check_fields(where, given, known)


def is_model_id(value: Any) -> bool:
    """True for an id as docs/fireworks.md §1.1 wants it."""
    return isinstance(value, str) and _MODEL_ID.fullmatch(value) is not None


def check_update_body(
    body: Mapping[str, Any], current: Mapping[str, Any], mask: str
) -> dict[str, Any]:
    """The fields of a model after an update. Raises Refused (INVALID_ARGUMENT).

    `mask` names the fields to change; without one, all that may change are replaced.
    """
    _check_fields("", body, _MODEL)
    _check_values(body)
    for name in _IMMUTABLE:
        if name in body and body[name] != current.get(name):
            raise invalid(f"{name} is immutable")
    named = {name.strip() for name in mask.split(",")} if mask not in ("", "*") else None
    if named is None:
        named = _MODEL.keys() - set(_IMMUTABLE)
    if unknown := named - _MODEL.keys():
        raise invalid(f"updateMask names an unknown field {min(unknown)!r:.100}")
    kept = {name: value for name, value in current.items() if name not in named}
    return {**kept, **{name: value for name, value in body.items() if name in named}}


def check_precision(value: Any) -> str:
    """A precision that a model can be prepared for. Raises Refused (INVALID_ARGUMENT)."""
    if not isinstance(value, str) or value not in _PRECISIONS:
        raise invalid("unknown precision")
    return value


def int64(value: Any) -> int | None:
    """A non-negative integer as proto3 JSON writes it, a number or a string; else None."""
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST_INT64:
        return value
    return None


def _check_fields(where: str, fields: Mapping[str, Any], known: Mapping[str, type]) -> None:
    for name, value in fields.items():
        if name not in known:
            raise invalid(f"unknown field {where}{name}")
        fits = int64(value) is not None if known[name] is int else type(value) is known[name]
        if not fits:
            raise invalid(f"wrong type of {where}{name}")


def _check_values(model: Mapping[str, Any]) -> None:
    _check_fields("conversationConfig.", model.get("conversationConfig", {}), _CONVERSATION)
    _check_fields("deprecationDate.", model.get("deprecationDate", {}), _DATE)
    if model.get("snapshotType", "FULL_SNAPSHOT") not in _SNAPSHOTS:
        raise invalid("unknown snapshotType")
    if "style" not in model.get("conversationConfig", {"style": ""}):
        raise invalid("conversationConfig.style is required")
    if model.get("defaultDraftModel") and not int64(model.get("defaultDraftTokenCount")):
        raise invalid("defaultDraftTokenCount is required with defaultDraftModel")
    for name, limit in (("displayName", 64), ("description", 1000)):
        if len(model.get(name, "")) >= limit:
            raise invalid(f"{name} must be fewer than {limit} characters long")


def _check_base_details(model: Mapping[str, Any]) -> None:
    if (model["kind"] == "HF_BASE_MODEL") != ("baseModelDetails" in model):
        raise invalid("baseModelDetails is required for HF_BASE_MODEL and not allowed otherwise")
    details = model.get("baseModelDetails", {})
    _check_fields("baseModelDetails.", details, _BASE_DETAILS)
    checkpoint = details.get("checkpointFormat", "CHECKPOINT_FORMAT_UNSPECIFIED")
    if checkpoint not in _FORMATS:
        raise invalid(f"unknown checkpointFormat {checkpoint!r}")
    files = details.get("huggingfaceFiles", [])
    if (checkpoint == "HUGGINGFACE") != bool(files):
        raise invalid("huggingfaceFiles is specified if and only if the format is HUGGINGFACE")
    if not _names(files) or len(set(files)) < len(files):
        raise invalid("huggingfaceFiles is not a list of different names")


def _check_peft_details(model: Mapping[str, Any]) -> None:
    addon = model["kind"] in {"HF_PEFT_ADDON", "HF_TEFT_ADDON"}
    if addon and "peftDetails" not in model:
        raise invalid(f"peftDetails is required for {model['kind']}")
    if (model["kind"] == "HF_TEFT_ADDON") != ("teftDetails" in model):
        raise invalid("teftDetails is required for HF_TEFT_ADDON and not allowed otherwise")
    if "peftDetails" not in model:
        return
    details = model["peftDetails"]
    _check_fields("peftDetails.", details, _PEFT_DETAILS)
    if not _RESOURCE.fullmatch(details.get("baseModel", "")):
        raise invalid("peftDetails.baseModel is not a model's resource name")
    if int64(details.get("r")) not in _RANKS:
        raise invalid("peftDetails.r must be between 4 and 64, inclusive")
    if not details.get("targetModules") or not _names(details["targetModules"]):
        raise invalid("peftDetails.targetModules is not a list of names")


def _names(values: list[Any]) -> bool:
    return all(isinstance(value, str) and value for value in values)
