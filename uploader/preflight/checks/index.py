"""Checks of the index of sharded weights against the shards that are there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from uploader.core.text import some
from uploader.model.finding import Finding, error, warning
from uploader.model.names import Role, role
from uploader.preflight.contents import Contents

_AGAIN = "download or save it again"
#: Weights that are whole without an index, as Hugging Face names them.
WHOLE = frozenset({"model.safetensors", "pytorch_model.bin"})
_LAYER = re.compile(
    r"(?:model\.|transformer\.|gpt_neox\.|language_model\.|decoder\.)*(?:layers|h|blocks)"
    r"\.(\d{1,5})\..*weight\d?",
    re.ASCII,
)


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
    whole = bool(WHOLE & contents.present) or any(not s.missing for s in contents.shards)
    for shards in contents.shards:
        if shards.missing:
            severity = warning if whole else error
            lost = some([shards.missing], of=shards.missing_count)
            message = f"{shards.source} calls for {lost}, not in the folder"
            hint = f"download the missing shards, or `exclude` {shards.source}"
            yield severity("missing_shard", shards.source, message, hint)


def no_index(contents: Contents) -> Iterable[Finding]:
    """Numbered shards without an index."""
    for shards in contents.shards:
        source = shards.source
        suffix = source.rpartition(".")[2]
        if role(source) is Role.WEIGHTS and not _has_index(contents, suffix):
            message = f"{source} is one of several shards, and there is no index of them"
            yield warning("no_index", source, message, "download or save *.index.json as well")


def _has_index(contents: Contents, suffix: str) -> bool:
    """Whether there is an index for such files, be it a broken one."""
    return any(name.endswith(f".{suffix}.index.json") for name in contents.present)


def missing_tensor(contents: Contents) -> Iterable[Finding]:
    """A tensor of the index that no shard holds.

    Refuses a model that lacks weights of a layer. Loaders take from the index which files there
    are, and no harm comes of a tensor they find elsewhere or do without: buffers, tied heads,
    scales of a model that is not quantized any more.
    """
    for name, index in contents.indexes.items():
        held = {s: contents.headers[s].tensors for s in index.shards if s in contents.headers}
        absent = {tensor for s in held for tensor in index.shards[s] - held[s].keys()}
        elsewhere = {tensor for tensors in held.values() for tensor in absent & tensors.keys()}
        if len(held) == len(index.shards) and (lost := sorted(absent - elsewhere)):
            weights = [tensor for tensor in lost if _of_a_layer(tensor, contents.config)]
            severity = error if weights else warning
            message = f"{name} names {some(weights or lost)}, which no shard holds"
            yield severity("missing_tensor", name, message, _AGAIN)
        if elsewhere:
            message = f"{name} names the wrong shard for {some(sorted(elsewhere))}"
            yield warning("missing_tensor", name, message, _AGAIN)


def _of_a_layer(tensor: str, config: Mapping[str, Any]) -> bool:
    """Whether it is a weight of one of the decoder's layers; others, and MTP's, may be absent."""
    found = _LAYER.fullmatch(tensor)
    layers = config.get("num_hidden_layers")
    return found is not None and (type(layers) is not int or int(found[1]) < layers)


def orphan_shard(contents: Contents) -> Iterable[Finding]:
    """Weights beside those of the index, which no loader would read."""
    named = {shard for index in contents.indexes.values() for shard in index.shards}
    for name, index in contents.indexes.items():
        suffix = name.removesuffix(".index.json").rpartition(".")[2]
        alike = {file for file in contents.named(Role.WEIGHTS) if file.endswith(f".{suffix}")}
        orphans = sorted(alike - named)
        if orphans and alike & index.shards.keys():
            message = f"{some(orphans)}: not named by {name}"
            hint = "leave them out with `exclude` if the model does not need them"
            yield warning("orphan_shard", orphans[0], message, hint)
            return


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
