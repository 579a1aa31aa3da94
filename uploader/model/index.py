"""Sharded weights: the index (`*.index.json`), and what names with numbers say without one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uploader.model.reading import Malformed, parse_object, read_text

#: The index of a model of a trillion parameters has 20 MB.
MAX_INDEX_BYTES = 100_000_000
_NUMBERED = re.compile(r"(.+)-(\d{1,6})-of-(\d{1,6})\.(safetensors|bin)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Index:
    """The tensors each shard should hold; ``total_bytes`` is None where not written."""

    shards: Mapping[str, frozenset[str]]
    total_bytes: int | None


@dataclass(frozen=True, slots=True)
class Shards:
    """Files that are one model together, as the index or first shard ``source`` says.

    ``missing`` is the first that is not there, empty where the set is whole.
    """

    source: str
    present: frozenset[str]
    missing: str
    missing_count: int


def indexed(source: str, index: Index, present: frozenset[str]) -> Shards:
    missing = index.shards.keys() - present
    there = frozenset(index.shards) & present
    return Shards(source, there, min(missing, default=""), len(missing))


def numbered(names: Iterable[str]) -> Iterator[Shards]:
    """The sets that names alone tell of: ``model-00001-of-00003.safetensors`` and its like."""
    sets: dict[tuple[str, ...], dict[int, str]] = {}
    for name in names:
        if found := _NUMBERED.fullmatch(name):
            stem, number, count, suffix = found.groups()
            alike = (f"{stem}-", str(len(number)), count, suffix)
            sets.setdefault(alike, {})[int(number)] = name
    for (stem, width, count, suffix), there in sets.items():
        first = min(1, *there)  # some count from nought
        wanted = range(first, first + int(count))
        missing = next((number for number in wanted if number not in there), None)
        if len(wanted) > 1:
            name = "" if missing is None else f"{stem}{missing:0{width}}-of-{count}.{suffix}"
            lacking = len(wanted) - sum(number in wanted for number in there)
            yield Shards(min(there.values()), frozenset(there.values()), name, lacking)


def read_index(path: Path) -> Index:
    """The index in ``path``; raises Malformed."""
    found = parse_object(read_text(path, MAX_INDEX_BYTES))
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
