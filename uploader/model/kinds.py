"""What a folder becomes, and the body that creates it (contract fireworks §1.2, §6)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from uploader.core.errors import UsageError
from uploader.core.job import Kind
from uploader.model.folder import Folder, LeftOut
from uploader.model.names import ADAPTER_CONFIG, ADAPTER_FILES, ADAPTER_WEIGHTS
from uploader.model.reading import Malformed, read_object
from uploader.model.safetensors import read_header

#: "Must be fewer than 64 characters long", "… 1000 …" (contract §1.2).
DISPLAY_NAME_END = 64
DESCRIPTION_END = 1000

_RESOURCE_NAME = re.compile(r"accounts/[^/\s]+/models/[^/\s]+")
# Whole names under any parent: q_proj · q_proj|v_proj · .*\.(q_proj|v_proj)$; not .*_proj
_PLAIN_PATTERN = re.compile(
    r"\^?(?:\.\*\??(?:\\?\.|(?=\()))?\(?(?:\?:)?(\w+(?:\|\w+)*)\)?\$?", re.ASCII
)
_ADAPTED = re.compile(r"\.(\w+)\.lora_A\b")


def detect_kind(folder: Folder) -> Kind:
    """An adapter has an adapter_config.json; everything else is a base model."""
    return Kind.LORA if ADAPTER_CONFIG in folder.present else Kind.BASE


def narrow(folder: Folder, kind: Kind) -> Folder:
    """``folder`` with only the files that ``kind`` may have, each other one left out.

    The service rejects an adapter with any file beside its own (contract §0.9, §13.18), and
    one set of weights is enough. Narrowing twice changes nothing.
    """
    if kind is not Kind.LORA:
        return folder
    reasons = {name: _no_adapter_file(name, folder.present) for name in folder.names}
    kept = tuple(file for file in folder.manifest.files if not reasons[file.path])
    left_out = [LeftOut(name, why) for name, why in reasons.items() if why]
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


def create_body(  # noqa: PLR0913 - the user's words, each by its name
    folder: Folder,
    kind: Kind,
    model_id: str,
    *,
    base_model: str | None = None,
    display_name: str | None = None,
    description: str | None = None,
    hugging_face_url: str | None = None,
) -> dict[str, Any]:
    """The body of `POST models` (contract §1.2 "Bodies used in practice").

    ``folder`` has no error among its findings. Raises UsageError for words the service would
    refuse, and where an adapter does not say what the body has to.
    """
    _check_length("--display-name", display_name, DISPLAY_NAME_END)
    _check_length("--description", description, DESCRIPTION_END)
    words = {
        "displayName": display_name,
        "description": description,
        "huggingFaceUrl": hugging_face_url,
    }
    model = {"kind": kind.remote} | {name: word for name, word in words.items() if word}
    return {"modelId": model_id, "model": model | _details(folder, kind, base_model)}


def _details(folder: Folder, kind: Kind, base_model: str | None) -> dict[str, Any]:
    if kind is Kind.LORA:
        return {"peftDetails": _peft_details(folder, base_model)}
    if base_model:
        hint = "leave --base-model away, or say --kind lora"
        raise UsageError("--base-model is for adapters; this folder is a base model", hint=hint)
    details = {
        "checkpointFormat": "HUGGINGFACE",
        "worldSize": 1,
        "huggingfaceFiles": list(folder.names),
    }
    return {"baseModelDetails": details}


def _peft_details(folder: Folder, base_model: str | None) -> dict[str, Any]:
    try:
        config = read_object(folder.root / ADAPTER_CONFIG)
    except Malformed as problem:
        hint = "save the adapter again with PEFT"
        raise UsageError(f"{ADAPTER_CONFIG} {problem}", hint=hint) from None
    return {
        "baseModel": _base_model(config, base_model),
        "r": config.get("r"),
        "targetModules": target_modules(folder, config),
    }


def _base_model(config: Mapping[str, Any], given: str | None) -> str:
    named = given or config.get("base_model_name_or_path")
    if isinstance(named, str) and _RESOURCE_NAME.fullmatch(named):
        return named
    hint = "for example --base-model accounts/fireworks/models/llama-v3p1-8b-instruct"
    if given:
        raise UsageError(f"--base-model {given} is no resource name", hint=hint)
    raise UsageError(f"an adapter needs --base-model ({ADAPTER_CONFIG}: {named!r})", hint=hint)


def target_modules(folder: Folder, config: Mapping[str, Any]) -> list[str]:
    """The names of the adapted modules, which PEFT may also keep as a pattern.

    A pattern ("all-linear", a regular expression) is answered by the adapter's own tensors,
    else by itself where it is nothing but names. Raises UsageError where neither tells.
    """
    found = config.get("target_modules")
    if isinstance(found, list) and found and all(isinstance(name, str) for name in found):
        return found
    if isinstance(found, str):
        plain = _PLAIN_PATTERN.fullmatch(found)
        names = _adapted_modules(folder) or (plain[1].split("|") if plain else [])
        if names:
            return names
    message = f"{ADAPTER_CONFIG}: target_modules is no list of module names: {found!r}"
    hint = f'write them into {ADAPTER_CONFIG} as a list, like ["q_proj", "v_proj"]'
    raise UsageError(message, hint=hint)


def _adapted_modules(folder: Folder) -> list[str]:
    try:
        tensors = read_header(folder.root / ADAPTER_WEIGHTS[0]).tensors
    except (Malformed, OSError):
        return []
    return sorted({found[1] for name in tensors if (found := _ADAPTED.search(name))})


def _check_length(option: str, text: str | None, end: int) -> None:
    if text is not None and len(text) >= end:
        message = f"{option} has {len(text)} characters"
        raise UsageError(message, hint=f"shorten it to fewer than {end}")
