"""What a folder becomes, and the body that creates it (docs/fireworks.md §1.2, §6)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from uploader.core.errors import UsageError
from uploader.core.job import Kind
from uploader.core.text import some
from uploader.model.adapter import brief, quoted, read_config, target_modules
from uploader.model.folder import Folder, LeftOut
from uploader.model.marks import kind_of_model
from uploader.model.names import ADAPTER_CONFIG, ADAPTER_FILES, ADAPTER_WEIGHTS, Role, matches, role
from uploader.model.reading import Malformed

#: ``accounts/A/models/M`` (docs/fireworks.md §1.1).
RESOURCE_NAME = re.compile(r"accounts/[^/\s]+/models/[^/\s]+")

#: Weights that are saved alongside an adapter and are not a model, or are other tools' adapters:
#: MLX, LLaVA, PPO, diffusers.
_NO_MODEL = ("*adapter*", "non_lora*", "pytorch_lora*", "v*_head.*", "mm_projector*")


def detect_kind(folder: Folder) -> tuple[Kind, str]:
    """What ``folder`` is, and why; a base model unless it certainly is not one."""
    if ADAPTER_CONFIG not in folder.present:
        return kind_of_model(folder)
    found, whole = f"there is an {ADAPTER_CONFIG}", _has_model(folder)
    if not whole:
        return Kind.LORA, found
    if not folder.present.isdisjoint(ADAPTER_WEIGHTS):
        return Kind.LORA, f"{found}; `kind` base would take the whole model next to it"
    # Merging in place moves an adapter's weights into the model and leaves its config.
    kind, because = kind_of_model(folder)
    return kind, f"{because}; the {ADAPTER_CONFIG} has no adapter weights"


def _has_model(folder: Folder) -> bool:
    weights = (name for name in folder.present if role(name) is Role.WEIGHTS)
    return "config.json" in folder.present and not all(matches(name, _NO_MODEL) for name in weights)


def narrow(folder: Folder, kind: Kind) -> Folder:
    """``folder`` with only the files that ``kind`` may have; all others are left out.

    The service rejects an adapter with any other file (docs/fireworks.md §0.9, §13.18),
    and one set of weights is enough. Narrowing twice changes nothing.
    """
    if kind is not Kind.LORA:
        return folder
    sizes = {file.path: file.size_bytes for file in folder.manifest.files}
    reasons = {name: _no_adapter_file(name, folder.present) for name in folder.names}
    kept = tuple(file for file in folder.manifest.files if not reasons[file.path])
    left_out = [LeftOut(name, why, sizes[name]) for name, why in reasons.items() if why]
    return Folder(
        replace(folder.manifest, files=kept),
        (*folder.left_out, *left_out),
        tuple(f for f in folder.findings if f.file is None or f.file in ADAPTER_FILES),
    )


def _no_adapter_file(name: str, present: frozenset[str]) -> str | None:
    if name not in ADAPTER_FILES:
        return "not a file of an adapter"
    preferred, other = ADAPTER_WEIGHTS
    return f"{preferred} has the same weights" if name == other and preferred in present else None


def create_body(
    folder: Folder,
    kind: Kind,
    model_id: str,
    *,
    base_model: str | None = None,
    fields: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The body of `POST models` (docs/fireworks.md §1.2).

    ``folder`` has no error among its findings; ``fields`` are the model's as the user gave
    them, each valid on its own (`fields.merged`). Raises UsageError if the two do not fit together,
    or if an adapter lacks what the body must contain.
    """
    rest = {**(fields or {})}
    _check_kind(rest.pop("kind", kind.remote), kind)
    given = {name: rest.pop(name, {}) for name in ("baseModelDetails", "peftDetails")}
    if base_model and kind is not Kind.LORA:
        hint = "leave out `base_model`, or give `kind` lora"
        raise UsageError(f"`base_model` is for adapters; the kind is {kind}", hint=hint)
    details: dict[str, Any] = {}
    if kind is Kind.BASE:
        details["baseModelDetails"] = _base_details(folder, given.pop("baseModelDetails"))
    if kind is Kind.LORA:
        ours = given.pop("peftDetails")
        details["peftDetails"] = _peft_details(folder, base_model, ours)
    for name, value in given.items():
        if value:
            message = f"`model_json`: kind {kind} has no {name}"
            raise UsageError(message, hint="leave it out")
    return {"modelId": model_id, "model": {"kind": kind.remote, **rest, **details}}


def _check_kind(remote: str, kind: Kind) -> None:
    if remote != kind.remote:
        message = f"`kind` {kind} is {kind.remote}, `model_json` says kind {remote}"
        raise UsageError(message, hint="give it once")


def _base_details(folder: Folder, given: Mapping[str, Any]) -> dict[str, Any]:
    derived = {"checkpointFormat": "HUGGINGFACE", "huggingfaceFiles": list(folder.names)}
    hint = "leave it out: it follows from the folder, `include` and `exclude`"
    _check_derived("baseModelDetails", given, derived, hint)
    return {"worldSize": 1, **given, **derived}


def _peft_details(
    folder: Folder, base_model: str | None, given: Mapping[str, Any]
) -> dict[str, Any]:
    try:
        config = read_config(folder)
    except Malformed as problem:
        hint = "save the adapter again with PEFT"
        raise UsageError(f"{ADAPTER_CONFIG} {problem}", hint=hint) from None
    if type(config.get("r")) is not int:
        hint = "write the adapter's rank there"
        raise UsageError(
            f"{ADAPTER_CONFIG}: r is {quoted(config.get('r'))}, not a number", hint=hint
        )
    derived = {
        "r": config["r"],
        "targetModules": target_modules(folder, config, given.get("targetModules")),
    }
    hint = f"leave it out: it follows from {ADAPTER_CONFIG}"
    _check_derived("peftDetails", given, derived, hint)
    named = given.get("baseModel")
    if base_model and named and base_model != named:
        message = (
            f"`base_model` is {brief(base_model)}, "
            f"`model_json` says peftDetails.baseModel {brief(named)}"
        )
        raise UsageError(message, hint="give it once")
    return {**given, "baseModel": _base_model(config, base_model or named), **derived}


def _check_derived(
    where: str, given: Mapping[str, Any], derived: Mapping[str, Any], hint: str
) -> None:
    """Raises UsageError if the user and the folder disagree."""
    for name, ours in derived.items():
        theirs = given.get(name, ours)
        same = sorted(theirs) == sorted(ours) if isinstance(ours, list) else theirs == ours
        if not same:
            message = f"`model_json`: {where}.{name} is not what the folder says"
            raise UsageError(f"{message}: {_few(theirs)}, not {_few(ours)}", hint=hint)


def _few(value: Any) -> str:
    most = 3
    if not isinstance(value, list):
        return brief(str(value))
    together = brief(", ".join(value[:most]))  # one short line, however long each is
    return some([together], of=len(value) - most + 1) or "none"


def base_model_of(folder: Folder, given: str | None) -> str | None:
    """The resource name of an adapter's base model, as far as it is known."""
    try:
        named = given or read_config(folder).get("base_model_name_or_path")
    except Malformed:
        return None
    return named if isinstance(named, str) and RESOURCE_NAME.fullmatch(named) else None


def _base_model(config: Mapping[str, Any], given: str | None) -> str:
    named = given or config.get("base_model_name_or_path")
    if isinstance(named, str) and RESOURCE_NAME.fullmatch(named):
        return named
    hint = "for example `base_model` accounts/fireworks/models/llama-v3p1-8b-instruct"
    if given:
        raise UsageError(f"`base_model` {brief(given)} is not a resource name", hint=hint)
    raise UsageError(
        f"an adapter needs `base_model` ({ADAPTER_CONFIG}: {quoted(named)})", hint=hint
    )
