"""Checks of the index of sharded weights against the shards in the folder."""

from __future__ import annotations

import shlex
from array import array
from collections.abc import Iterable

from uploader.core.text import some
from uploader.model.finding import Finding, error, warning
from uploader.model.hashes import holds, shared
from uploader.model.names import Role, role
from uploader.model.reading import TooLong
from uploader.preflight.checks.spared import Spared
from uploader.preflight.contents import Contents

_AGAIN = "download or save it again"
#: Weights that are complete without an index, as Hugging Face names them.
WHOLE = frozenset({"model.safetensors", "pytorch_model.bin"})


def index_json(contents: Contents) -> Iterable[Finding]:
    """An index that is not a JSON object or has no weight_map; one too long to read only warns."""
    for name in contents.named(Role.INDEX):
        if name not in contents.indexes and name in contents.trouble:
            problem = contents.trouble[name]
            severity = warning if isinstance(problem, TooLong) else error
            yield severity("index_json", name, f"{name} {problem}", _AGAIN)


def missing_shard(contents: Contents) -> Iterable[Finding]:
    """A shard is missing that the index, or the numbers of other shards, require.

    It refuses a model unless other weights are complete: downloads often include the index of a
    second format without its shards.
    """
    whole = bool(WHOLE & contents.present) or any(not s.missing for s in contents.shards)
    for shards in contents.shards:
        if shards.missing:
            severity = warning if whole else error
            lost = some([shards.missing], of=shards.missing_count)
            message = f"{shards.source} needs {lost}, which is not in the folder"
            hint = f"download the missing shards, or `exclude` {shlex.quote(shards.source)}"
            yield severity("missing_shard", shards.source, message, hint)


def no_index(contents: Contents) -> Iterable[Finding]:
    """Numbered shards without an index."""
    # One that is broken counts, too: another check reports it.
    indexed = {name.split(".")[-3] for name in contents.present if name.endswith(".index.json")}
    for shards in contents.shards:
        source = shards.source
        if role(source) is Role.WEIGHTS and source.rpartition(".")[2] not in indexed:
            message = f"{source} is one of several shards, and there is no index of them"
            yield warning("no_index", source, message, "download or save *.index.json as well")


def missing_tensor(contents: Contents) -> Iterable[Finding]:
    """A tensor of the index that no shard contains; one that loaders do not need only warns.

    Loaders only use the index to learn which files there are, so a tensor may be in a different
    shard than the index says. A tensor in no shard keeps the random numbers it starts with.
    """
    spared = Spared(contents.config)
    for name, index in contents.indexes.items():
        held = {s: contents.headers[s].tensors for s in index.shards if s in contents.headers}
        absent = [t for s in held for t in index.shards[s].beyond(held[s].names)]
        hashes = array("q", sorted(map(hash, absent)))
        known = shared(hashes, [tensors.names.hashes for tensors in held.values()])
        elsewhere = sorted(tensor for tensor in absent if holds(known, hash(tensor)))
        lost = sorted(tensor for tensor in absent if not holds(known, hash(tensor)))
        if lost and len(held) == len(index.shards):
            weights = [tensor for tensor in lost if tensor not in spared]
            severity = error if weights else warning
            message = f"{name} names {some(weights or lost)}, which no shard contains"
            yield severity("missing_tensor", name, message, _AGAIN)
        if elsewhere:
            message = f"{name} names the wrong shard for {some(elsewhere)}"
            yield warning("missing_tensor", name, message, _AGAIN)


def orphan_shard(contents: Contents) -> Iterable[Finding]:
    """Weights that the index does not name, so that no loader would read them."""
    named = {shard for index in contents.indexes.values() for shard in index.shards}
    weights = contents.named(Role.WEIGHTS)
    for name, index in contents.indexes.items():
        suffix = name.removesuffix(".index.json").rpartition(".")[2]
        alike = {file for file in weights if file.endswith(f".{suffix}")}
        orphans = sorted(alike - named)
        if orphans and alike & index.shards.keys():
            message = f"{some(orphans)}: not named by {name}"
            hint = "leave them out with `exclude` if the model does not need them"
            yield warning("orphan_shard", orphans[0], message, hint)
            return


def total_size(contents: Contents) -> Iterable[Finding]:
    """The index's total_size is not the size of its shards."""
    for name, index in contents.indexes.items():
        headers = [contents.headers.get(shard) for shard in index.shards]
        if index.total_bytes is None or None in headers:
            continue
        held = sum(header.tensors_bytes for header in headers if header)
        if held != index.total_bytes:
            message = f"{name} says {index.total_bytes} bytes, but its shards have {held}"
            yield warning(
                "total_size", name, message, "this is harmless if the shards are complete"
            )
