"""The named checks of a folder, before anything is created or sent (contract fireworks §6).

One function per check; a check yields findings under its own name and never raises. What the
service would surely refuse is an error, what it may refuse a warning: a valid model passes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from uploader.core.errors import UsageError
from uploader.core.job import Kind, ManifestFile
from uploader.model.finding import Finding, error, warning
from uploader.model.folder import Folder
from uploader.model.kinds import narrow, target_modules
from uploader.model.names import ADAPTER_CONFIG, ADAPTER_WEIGHTS, Role, role
from uploader.model.reading import Malformed, read_object
from uploader.model.safetensors import read_header

CONFIG = "config.json"
#: Formats the service cannot serve from a checkpoint (contract §6); others may pass.
REFUSED_QUANTIZATION = ("gptq", "awq", "bitsandbytes")
#: "Must be between 4 and 64, inclusive" (contract §1.2).
RANKS = range(4, 65)

_POINTER = b"version https://git-lfs.github.com/spec/"
_POINTER_MAX_BYTES = 1024
#: Weights that are whole without an index, as Hugging Face names them.
_WHOLE = frozenset({"model.safetensors", "pytorch_model.bin"})

Check = Callable[[Folder], Iterable[Finding]]


def findings(folder: Folder, kind: Kind) -> list[Finding]:
    """Everything there is to say about ``folder`` as a ``kind``, all at once, errors first."""
    narrowed = narrow(folder, kind)
    found = [*narrowed.findings]
    for check in CHECKS[kind]:
        found += check(narrowed)
    return sorted(found, key=lambda finding: finding.severity)


def empty_folder(folder: Folder) -> Iterable[Finding]:
    if not folder.present:
        hint = "give the folder that holds the model's files themselves"
        yield error("empty_folder", None, f"{folder.root} holds no file to send", hint)


def empty_file(folder: Folder) -> Iterable[Finding]:
    for file in folder.manifest.files:
        if not file.size_bytes:
            hint = "download or save it again"
            yield error("empty_file", file.path, f"{file.path} is empty", hint)


def lfs_pointer(folder: Folder) -> Iterable[Finding]:
    for file in folder.manifest.files:
        if _is_pointer(folder, file):
            message = f"{file.path} is a Git LFS pointer, not the file itself"
            yield error("lfs_pointer", file.path, message, "run `git lfs pull` in the folder")


def config_json(folder: Folder) -> Iterable[Finding]:
    yield from _json_file(folder, CONFIG, "config_json")


def adapter_config(folder: Folder) -> Iterable[Finding]:
    yield from _json_file(folder, ADAPTER_CONFIG, "adapter_config")


def no_weights(folder: Folder) -> Iterable[Finding]:
    if folder.present and not any(role(name) is Role.WEIGHTS for name in folder.present):
        hint = "Fireworks reads *.safetensors and *.bin"
        yield error("no_weights", None, f"{folder.root} holds no weights", hint)


def adapter_weights(folder: Folder) -> Iterable[Finding]:
    if folder.present and folder.present.isdisjoint(ADAPTER_WEIGHTS):
        message = f"{folder.root} holds neither {' nor '.join(ADAPTER_WEIGHTS)}"
        yield error("adapter_weights", None, message, "save the adapter again with PEFT")


def missing_shard(folder: Folder) -> Iterable[Finding]:
    """An index that lacks shards refuses a model, unless other weights are whole.

    Downloads often bring the index of a second format along without its shards.
    """
    shards, yet = _indexes(folder)
    yield from yet
    whole = bool(_WHOLE & folder.present) or any(s <= folder.present for s in shards.values())
    for index, names in shards.items():
        missing = sorted(names - folder.present)
        if missing:
            severity = warning if whole else error
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            message = f"{index} names {missing[0]}{more}, not in the folder"
            hint = f"download the missing shards, or --exclude {index}"
            yield severity("missing_shard", index, message, hint)


def safetensors(folder: Folder) -> Iterable[Finding]:
    for file in folder.manifest.files:
        whole = file.size_bytes and not _is_pointer(folder, file)
        if whole and file.path.endswith(".safetensors"):
            try:
                read_header(folder.root / file.path)
            except Malformed as problem:
                message, hint = f"{file.path} {problem}", "download or save it again"
                yield error("safetensors", file.path, message, hint)
            except OSError as problem:
                message = f"{file.path} cannot be read: {problem.strerror}"
                yield error("safetensors", file.path, message, "check the disk")


def no_tokenizer(folder: Folder) -> Iterable[Finding]:
    if folder.present and not any(role(name) is Role.TOKENIZER for name in folder.present):
        message = "there is no tokenizer: the service may refuse the model or not serve text"
        yield warning("no_tokenizer", None, message, "add tokenizer.json or tokenizer.model")


def quantization(folder: Folder) -> Iterable[Finding]:
    found = _object_or_nothing(folder, CONFIG).get("quantization_config")
    if not found:
        return
    method = _quantization_method(found)
    severity = error if method in REFUSED_QUANTIZATION else warning
    message = f"{CONFIG} has a quantization_config ({method}), unsupported as documented"
    hint = "upload the model as it was before quantization"
    yield severity("quantization", CONFIG, message, hint)


def lora_rank(folder: Folder) -> Iterable[Finding]:
    config = _object_or_nothing(folder, ADAPTER_CONFIG)
    rank = config.get("r")
    if config and (type(rank) is not int or rank not in RANKS):
        message = f"{ADAPTER_CONFIG}: r is {rank!r}, not a number from 4 to 64"
        yield error("lora_rank", ADAPTER_CONFIG, message, "train the adapter with such a rank")


def lora_targets(folder: Folder) -> Iterable[Finding]:
    config = _object_or_nothing(folder, ADAPTER_CONFIG)
    try:
        if config:
            target_modules(folder, config)
    except UsageError as problem:
        yield error("lora_targets", ADAPTER_CONFIG, problem.message, problem.hint)


_ALWAYS: tuple[Check, ...] = (empty_folder, empty_file, lfs_pointer, safetensors)

CHECKS: Mapping[Kind, tuple[Check, ...]] = {
    Kind.BASE: (*_ALWAYS, config_json, no_weights, missing_shard, no_tokenizer, quantization),
    Kind.LORA: (*_ALWAYS, adapter_config, adapter_weights, lora_rank, lora_targets),
}


def _is_pointer(folder: Folder, file: ManifestFile) -> bool:
    if file.size_bytes > _POINTER_MAX_BYTES:
        return False
    try:
        with (folder.root / file.path).open("rb") as opened:
            return opened.read(len(_POINTER)) == _POINTER
    except OSError:
        return False  # gone since the scan: the engine's own checks will say so


def _readable(folder: Folder, name: str) -> bool:
    """Whether ``name`` is there and nothing else was already said about its content."""
    file = next((file for file in folder.manifest.files if file.path == name), None)
    return file is not None and file.size_bytes > 0 and not _is_pointer(folder, file)


def _json_file(folder: Folder, name: str, check: str) -> Iterable[Finding]:
    if folder.present and name not in folder.present:
        hint = "every Hugging Face model has one: is this the model's folder?"
        yield error(check, name, f"{name} is missing", hint)
    elif _readable(folder, name):
        try:
            read_object(folder.root / name)
        except Malformed as problem:
            yield error(check, name, f"{name} {problem}", "download or save it again")


def _object_or_nothing(folder: Folder, name: str) -> dict[str, Any]:
    """The file's object; empty where `_json_file` has already said why there is none."""
    try:
        return read_object(folder.root / name) if _readable(folder, name) else {}
    except Malformed:
        return {}


def _indexes(folder: Folder) -> tuple[dict[str, frozenset[str]], list[Finding]]:
    """The shards each index names, and what is wrong with the other indexes."""
    shards: dict[str, frozenset[str]] = {}
    found: list[Finding] = []
    for index in (name for name in folder.names if role(name) is Role.INDEX):
        if _readable(folder, index):
            try:
                shards[index] = _shards(read_object(folder.root / index))
            except Malformed as problem:
                hint = "download or save it again"
                found.append(error("missing_shard", index, f"{index} {problem}", hint))
    return shards, found


def _shards(index: Mapping[str, Any]) -> frozenset[str]:
    weight_map = index.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise Malformed("has no weight_map")
    if not all(isinstance(name, str) for name in weight_map.values()):
        raise Malformed("names shards that are no names")
    return frozenset(weight_map.values())


def _quantization_method(found: object) -> str:
    if not isinstance(found, dict):
        return "unknown"
    if found.get("load_in_4bit") or found.get("load_in_8bit"):
        return "bitsandbytes"
    return re.sub(r"^bitsandbytes.*", "bitsandbytes", str(found.get("quant_method", "unknown")))
