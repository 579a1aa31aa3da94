"""The index of sharded weights: which file holds which tensor (`*.index.json`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uploader.model.reading import Malformed, read_object


@dataclass(frozen=True, slots=True)
class Index:
    """The tensors each shard should hold; ``total_bytes`` is None where not written."""

    shards: Mapping[str, frozenset[str]]
    total_bytes: int | None


def read_index(path: Path) -> Index:
    """The index in ``path``; raises Malformed."""
    found = read_object(path)
    weight_map = found.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise Malformed("has no weight_map")
    shards: dict[str, list[str]] = {}
    for tensor, shard in weight_map.items():
        if not isinstance(shard, str):
            raise Malformed("names shards that are no names")
        shards.setdefault(shard, []).append(tensor)
    sets = {shard: frozenset(tensors) for shard, tensors in shards.items()}
    return Index(sets, _total_bytes(found.get("metadata")))


def _total_bytes(metadata: Any) -> int | None:
    total = metadata.get("total_size") if isinstance(metadata, dict) else None
    return int(total) if isinstance(total, int | float) and 0 <= total < float("inf") else None
