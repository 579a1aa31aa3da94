"""What the body of `POST models` must look like (fireworks.md §1)."""

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
_PEFT_DETAILS: dict[str, type] = {
    "baseModel": str,
    "r": int,
    "targetModules": list,
    "mergeAddonModelName": str,
}


def check_create_body(body: Mapping[str, Any]) -> dict[str, Any]:
    """The model fields, `kind` filled in. Raises Refused (INVALID_ARGUMENT) for a wrong one."""
    _check_fields("", body, _BODY)
    if not _MODEL_ID.fullmatch(body.get("modelId", "")):
        raise invalid(f"illegal modelId {body.get('modelId', '')!r}")
    model = dict(body.get("model", {}))
    _check_fields("model.", model, _MODEL)
    if model.get("kind", "KIND_UNSPECIFIED") == "KIND_UNSPECIFIED":
        model["kind"] = "HF_PEFT_ADDON"
    if model["kind"] not in _KINDS:
        raise invalid(f"unknown kind {model['kind']!r}")
    _check_lengths(model)
    _check_base_details(model)
    _check_peft_details(model)
    return model


def int64(value: Any) -> int | None:
    """A non-negative integer as proto3 JSON writes it, a number or a string; else None."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    return None


def _check_fields(where: str, fields: Mapping[str, Any], known: Mapping[str, type]) -> None:
    for name, value in fields.items():
        if name not in known:
            raise invalid(f"unknown field {where}{name}")
        fits = int64(value) is not None if known[name] is int else type(value) is known[name]
        if not fits:
            raise invalid(f"wrong type of {where}{name}")


def _check_lengths(model: Mapping[str, Any]) -> None:
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
