"""Checks of the index of sharded weights against the shards that are there."""

from __future__ import annotations

import re
from collections.abc import Iterable

from uploader.model.contents import Contents
from uploader.model.finding import Finding, error, warning
from uploader.model.names import Role, role

_AGAIN = "download or save it again"
#: Weights that are whole without an index, as Hugging Face names them.
_WHOLE = frozenset({"model.safetensors", "pytorch_model.bin"})
_NUMBERED = re.compile(r"(?P<stem>.+)-\d{5}-of-(?P<count>\d{5})\.(?P<suffix>safetensors|bin)")
#: More than any model has; a name is no reason to make a list of 99 999.
_MOST_SHARDS = 10_000


def index_json(contents: Contents) -> Iterable[Finding]:
    """An index that is no JSON object or has no weight_map."""
    for name in contents.named(Role.INDEX):
        if name not in contents.indexes and name in contents.trouble:
            yield error("index_json", name, f"{name} {contents.trouble[name]}", _AGAIN)


def missing_shard(contents: Contents) -> Iterable[Finding]:
    """A shard that the index, or its siblings' numbers, call for is not there.

    Refuses a model unless other weights are whole: downloads often bring the index of a second
    format along without its shards.
    """
    sets = _sets(contents)
    whole = bool(_WHOLE & contents.present) or any(s <= contents.present for s in sets.values())
    for source, shards in sets.items():
        missing = sorted(shards - contents.present)
        if missing:
            severity = warning if whole else error
            message = f"{source} calls for {_some(missing)}, not in the folder"
            hint = f"download the missing shards, or --exclude {source}"
            yield severity("missing_shard", source, message, hint)


def no_index(contents: Contents) -> Iterable[Finding]:
    """Numbered shards without an index."""
    for source in _sets(contents):
        suffix = source.rpartition(".")[2]
        if role(source) is Role.WEIGHTS and not _has_index(contents, suffix):
            message = f"{source} is one of several shards, and there is no index of them"
            yield warning("no_index", source, message, "download or save *.index.json as well")


def _has_index(contents: Contents, suffix: str) -> bool:
    """Whether there is an index for such files, be it a broken one."""
    return any(name.endswith(f".{suffix}.index.json") for name in contents.present)


def _sets(contents: Contents) -> dict[str, frozenset[str]]:
    """Every set of shards, whole or not, by the index, or else the shard, that calls for it."""
    sets = {name: frozenset(index.shards) for name, index in contents.indexes.items()}
    for name in contents.named(Role.WEIGHTS):
        if not any(name in shards for shards in sets.values()) and (alike := _siblings(name)):
            sets[name] = alike
    return sets


def _siblings(name: str) -> frozenset[str]:
    found = _NUMBERED.fullmatch(name)
    if not found or not 0 < int(found["count"]) <= _MOST_SHARDS:
        return frozenset()
    stem, count, suffix = found["stem"], found["count"], found["suffix"]
    return frozenset(f"{stem}-{i:05}-of-{count}.{suffix}" for i in range(1, int(count) + 1))


def missing_tensor(contents: Contents) -> Iterable[Finding]:
    """A tensor of the index that no shard holds; one in another shard is warned of."""
    for name, index in contents.indexes.items():
        held = {s: contents.headers[s].tensors for s in index.shards if s in contents.headers}
        absent = {tensor for s in held for tensor in index.shards[s] - held[s].keys()}
        elsewhere = {tensor for tensors in held.values() for tensor in absent & tensors.keys()}
        if len(held) == len(index.shards) and (lost := sorted(absent - elsewhere)):
            message = f"{name} names {_some(lost)}, which no shard holds"
            yield error("missing_tensor", name, message, _AGAIN)
        if elsewhere:
            message = f"{name} names the wrong shard for {_some(sorted(elsewhere))}"
            yield warning("missing_tensor", name, message, _AGAIN)


def orphan_shard(contents: Contents) -> Iterable[Finding]:
    """Weights beside those of the index, which no loader would read."""
    for name, index in contents.indexes.items():
        suffix = name.removesuffix(".index.json").rpartition(".")[2]
        alike = {file for file in contents.named(Role.WEIGHTS) if file.endswith(f".{suffix}")}
        orphans = sorted(alike - index.shards.keys())
        if orphans and alike & index.shards.keys():
            message = f"{_some(orphans)}: not named by {name}"
            hint = "leave them out with --exclude if the model does not need them"
            yield warning("orphan_shard", orphans[0], message, hint)


def total_size(contents: Contents) -> Iterable[Finding]:
    """The index's total_size is not what its shards hold."""
    for name, index in contents.indexes.items():
        headers = [contents.headers.get(shard) for shard in index.shards]
        if index.total_bytes is None or None in headers:
            continue
        held = sum(header.tensors_bytes for header in headers if header)
        if held != index.total_bytes:
            message = f"{name} says {index.total_bytes} bytes, its shards hold {held}"
            yield warning("total_size", name, message, "harmless where the shards are whole")


def _some(names: list[str]) -> str:
    """The first of ``names``, and how many more there are."""
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")
