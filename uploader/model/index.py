"""Sharded weights: the index (`*.index.json`), and what numbered names tell without one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uploader.model.json_text import JsonText
from uploader.model.reading import Allowance, Malformed, TooLong, read_text
from uploader.model.tensors import Names

#: The index of a quantized model with a trillion parameters has 25 MB.
MAX_INDEX_BYTES = 40_000_000
_MAX_SHARDS = 10_000
#: Ten times as many as any model has.
_MAX_NAMES = 2_000_000
#: Besides the weight_map; every index has one, the metadata.
_MAX_OTHERS = 1000
#: This many names are packed together, or fewer if they are long.
_PACKED_AT = 400_000
_PACKED_AT_CHARS = 4_000_000
_NUMBERED = re.compile(r"(.+)-(\d{1,6})-of-(\d{1,6})\.(safetensors|bin)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Index:
    """The tensors each shard should hold; ``total_bytes`` is None if not written."""

    shards: Mapping[str, Names]
    total_bytes: int | None

    @property
    def kept_bytes(self) -> int:
        """As `Names.kept_bytes`."""
        return sum(names.kept_bytes for names in self.shards.values())


@dataclass(frozen=True, slots=True)
class Shards:
    """Files that together are one model, as the index or first shard ``source`` says.

    ``missing`` is the first file that is not there; empty if the set is complete.
    """

    source: str
    present: frozenset[str]
    missing: str
    missing_count: int


def indexed(source: str, index: Index, present: frozenset[str]) -> Shards:
    """The set that the index in the file ``source`` names, of which ``present`` are there."""
    missing = index.shards.keys() - present
    there = frozenset(index.shards) & present
    return Shards(source, there, min(missing, default=""), len(missing))


def numbered(names: Iterable[str]) -> Iterator[Shards]:
    """The sets that names alone show: ``model-00001-of-00003.safetensors`` and its like."""
    sets: dict[tuple[str, ...], dict[int, str]] = {}
    for name in names:
        if found := _NUMBERED.fullmatch(name):
            stem, number, count, suffix = found.groups()
            alike = (f"{stem}-", str(len(number)), count, suffix)
            sets.setdefault(alike, {})[int(number)] = name
    for (stem, width, count, suffix), there in sets.items():
        first = min(1, *there)  # some count from zero
        wanted = range(first, first + int(count))
        missing = next((number for number in wanted if number not in there), None)
        if len(wanted) > 1:
            name = "" if missing is None else f"{stem}{missing:0{width}}-of-{count}.{suffix}"
            lacking = len(wanted) - sum(number in wanted for number in there)
            yield Shards(min(there.values()), frozenset(there.values()), name, lacking)


def read_index(path: Path, allowance: Allowance | None = None) -> Index:
    """The index in ``path``; raises Malformed, TooLong. Its length is taken from ``allowance``.

    It is read pair by pair: as the objects that `json` makes, 40 MB may take twenty times as much.
    """
    text = JsonText(read_text(path, MAX_INDEX_BYTES, allowance))
    try:
        return _read(text)
    except Malformed:
        raise
    except (ValueError, IndexError, RecursionError):
        raise Malformed("is not JSON") from None


def _read(text: JsonText) -> Index:
    shards: dict[str, Names] = {}
    total_bytes = None
    if not text.at("{"):
        raise Malformed("is not a JSON object")
    for count, key in enumerate(text.members()):
        if count > _MAX_OTHERS:
            raise TooLong(f"has more than {_MAX_OTHERS} entries besides its weight_map")
        if key == "weight_map" and text.at("{"):
            shards = _weight_map(text)
        else:
            value = text.value()
            total_bytes = _total_bytes(value) if key == "metadata" else total_bytes
    text.end()
    if not shards:
        raise Malformed("has no weight_map")
    return Index(shards, total_bytes)


def _weight_map(text: JsonText) -> dict[str, Names]:
    """The names by shard, packed as soon as there are many."""
    packed: dict[str, Names] = {}
    loose: dict[str, list[str]] = {}
    count = chars = 0
    try:
        for tensor, shard in text.pairs():
            loose.setdefault(shard, []).append(tensor)
            count, chars = count + 1, chars + len(tensor)
            if count == _PACKED_AT or chars >= _PACKED_AT_CHARS:
                _pack(loose, packed)
                count = chars = 0
    except TypeError:
        raise Malformed("names shards that are not file names") from None
    _pack(loose, packed)
    return packed


def _pack(loose: dict[str, list[str]], packed: dict[str, Names]) -> None:
    if len(packed.keys() | loose.keys()) > _MAX_SHARDS:
        raise TooLong(f"names more than {_MAX_SHARDS} shards")
    if sum(map(len, packed.values())) + sum(map(len, loose.values())) > _MAX_NAMES:
        raise TooLong(f"names more than {_MAX_NAMES:,} tensors")
    for shard, names in loose.items():
        if shard in packed:
            packed[shard].add(Names(names))
        else:
            packed[shard] = Names(names)
    loose.clear()


def _total_bytes(metadata: Any) -> int | None:
    total = metadata.get("total_size") if isinstance(metadata, dict) else None
    return int(total) if isinstance(total, int | float) and 0 <= total < float("inf") else None
