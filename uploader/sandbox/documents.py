"""Models and accounts as the gateway writes them (docs/fireworks.md §11)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from uploader.sandbox.refusals import invalid
from uploader.sandbox.world import Model, World


def model_document(world: World, model: Model) -> dict[str, Any]:
    """A model's document: with empty fields, int64 as strings, nanoseconds.

    ``supportsLora`` is the service's own judgement, which this one does not make.
    """
    fields = dict(model.fields)
    details = fields.get("baseModelDetails")
    if details is not None:
        details = {"worldSize": 1, "parameterCount": "0", **details}
        if not world.config.shows_files:
            details.pop("huggingfaceFiles", None)
        fields["baseModelDetails"] = details
    return {
        **dict.fromkeys(("displayName", "description", "githubUrl", "huggingFaceUrl"), ""),
        **dict.fromkeys(("baseModelDetails", "peftDetails", "teftDetails")),
        **dict.fromkeys(("conversationConfig", "deprecationDate")),
        **dict.fromkeys(("contextLength", "trainingContextLength", "defaultDraftTokenCount"), 0),
        **dict.fromkeys(("supportsImageInput", "supportsTools", "useHfApplyChatTemplate"), False),
        "defaultDraftModel": "",
        **fields,
        "name": model.name,
        "state": model.state,
        "status": {"code": "OK", "message": ""},
        "createTime": _time(model.created_at),
        "updateTime": _time(model.updated_at or model.created_at),
        "public": fields.get("public", False),
        "supportedPrecisions": list(model.precisions),
    }


def account_document(world: World) -> dict[str, Any]:
    """The document of the only account."""
    return {
        "name": f"accounts/{world.config.account_id}",
        "displayName": world.config.account_id,
        "email": "owner@sandbox.invalid",
        "accountType": "ACCOUNT_TYPE_UNSPECIFIED",
        "state": "READY",
        "status": {"code": "OK", "message": ""},
        "suspendState": "UNSUSPENDED",
        "createTime": "2026-01-01T00:00:00.000000000Z",
        "updateTime": "2026-01-01T00:00:00.000000000Z",
    }


def masked(document: Mapping[str, Any], mask: Any) -> dict[str, Any]:
    """The part of a document that a readMask selects: all for "" or "*", else the fields it names.

    Raises Refused (INVALID_ARGUMENT) if the mask names an unknown field.
    """
    if not isinstance(mask, str):
        raise invalid("readMask is not text")
    if mask in ("", "*"):
        return dict(document)
    kept: dict[str, Any] = {}
    for path in mask.split(","):
        name, _, rest = camel(path.strip()).partition(".")
        if name not in document:
            raise invalid(f"readMask names an unknown field {path!r:.100}")
        value = document[name]
        if rest and not isinstance(value, dict):
            raise invalid(f"readMask names an unknown field {path!r:.100}")
        kept[name] = {**kept.get(name, {}), **masked(value, rest)} if rest else value
    return kept


def camel(name: str) -> str:
    """`base_model` as JSON spells it; every field may be named either way."""
    first, *rest = name.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in rest)


def _time(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%S.%f}000Z"
