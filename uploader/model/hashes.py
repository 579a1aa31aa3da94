"""Sorted arrays of hashes, compared part by part: a set of all takes ten times their bytes."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import TypeAlias

#: 64-bit integers, as `hash` makes them of names: evenly spread, and nobody can choose them.
Hashes: TypeAlias = "array[int]"
_PARTS = 16
_EDGES = tuple(range(-(1 << 63), (1 << 63) + 1, (1 << 64) // _PARTS))
#: This many are compared at once.
_FEW = 200_000
#: Looking for one takes as long as going through this many.
_LOOKED_FOR = 16


def holds(hashes: Hashes, one: int) -> bool:
    """Whether ``one`` is among them."""
    return place(hashes, one) is not None


def place(hashes: Hashes, one: int) -> int | None:
    """Where among them ``one`` is, if it is there."""
    at = bisect_left(hashes, one)
    return at if at < len(hashes) and hashes[at] == one else None


def only_in(one: Hashes, other: Hashes) -> Hashes:
    """Those of ``one`` that ``other`` lacks, each once."""
    if len(one) * _LOOKED_FOR < len(other):
        return array("q", sorted({mine for mine in one if not holds(other, mine)}))
    found: Hashes = array("q")
    for mine, others in _parts([one], [other]):
        found.extend(sorted(_union(mine).difference(*others)))
    return found


def shared(one: Hashes, many: Sequence[Hashes]) -> Hashes:
    """Those of ``one`` that any of ``many`` has, each once."""
    if len(one) * len(many) * _LOOKED_FOR < sum(map(len, many)):
        known = {mine for mine in one if any(holds(other, mine) for other in many)}
        return array("q", sorted(known))
    found: Hashes = array("q")
    for mine, others in _parts([one], many):
        wanted = _union(mine)
        found.extend(sorted({known for part in others for known in wanted.intersection(part)}))
    return found


def repeated(many: Sequence[Hashes]) -> Hashes:
    """Those that more than one of ``many`` has, each once."""
    found: Hashes = array("q")
    for (parts,) in _parts(many):
        known: set[int] = set()
        again: set[int] = set()
        for part in parts:
            again.update(known.intersection(part))
            known.update(part)
        found.extend(sorted(again))
    return found


def disjoint(some: Sequence[Hashes], others: Sequence[Hashes]) -> bool:
    """Whether none is in both."""
    return all(_union(mine).isdisjoint(_union(rest)) for mine, rest in _parts(some, others))


def _union(parts: Iterable[Hashes]) -> set[int]:
    return {one for part in parts for one in part}


def _parts(*groups: Sequence[Hashes]) -> Iterator[Sequence[Sequence[Hashes]]]:
    """Of every array of each group, what is between two edges; then what is between the next."""
    if sum(len(one) for group in groups for one in group) <= _FEW:
        yield groups
        return
    for start, stop in pairwise(_EDGES):
        yield [
            [one[bisect_left(one, start) : bisect_left(one, stop)] for one in group]
            for group in groups
        ]
