"""The tensors of many headers in little memory: a large model has 200 000 names of 60 bytes.

A name is kept as eight bytes of its hash, for lookups, and compressed, to read it again. Layers
repeat, so the text shrinks to a twentieth; a file of thousands of tensors has a dozen types and
shapes.
"""

from __future__ import annotations

import json
import zlib
from array import array
from collections.abc import ItemsView, Iterable, Iterator, Mapping
from heapq import merge
from typing import NamedTuple

from uploader.model.hashes import Hashes, holds, only_in

#: Names of one file, or one type and shape, besides what is in them, as objects that are kept.
_OBJECT_BYTES = 500


class Tensor(NamedTuple):
    """``dtype`` as the format spells it (BF16, F8_E4M3, …); the sizes of ``shape`` are below 2⁶⁴.

    Numbers have the same hashes in every process: a stranger could choose ten thousand shapes of
    one hash. Nobody can choose those of bytes.
    """

    dtype: str
    shape: tuple[int, ...]

    def __hash__(self) -> int:
        return hash((self.dtype, array("Q", self.shape).tobytes()))


class Names:
    """Names in their order; ``in`` compares hashes, which are valid only in this process."""

    __slots__ = ("_packed", "hashes")

    def __init__(self, names: Iterable[str]) -> None:
        listed = list(names)
        #: Sorted.
        self.hashes: Hashes = array("q", sorted(map(hash, listed)))
        # With escapes instead, a name may take twelve times its bytes.
        text = json.dumps(listed, ensure_ascii=False).encode("utf-8", "surrogatepass")
        self._packed = [zlib.compress(text, 1)]

    def add(self, others: Names) -> None:
        """These and the names of ``others``, without decompressing any."""
        self.hashes = array("q", merge(self.hashes, others.hashes))
        self._packed += others._packed

    @property
    def kept_bytes(self) -> int:
        """What they take of the memory, about: names that do not repeat are not compressed."""
        return _OBJECT_BYTES + len(self) * self.hashes.itemsize + sum(map(len, self._packed))

    def __len__(self) -> int:
        return len(self.hashes)

    def __iter__(self) -> Iterator[str]:
        for packed in self._packed:
            yield from json.loads(zlib.decompress(packed))

    def __contains__(self, name: object) -> bool:
        return holds(self.hashes, hash(name))

    def beyond(self, others: Names) -> list[str]:
        """The names that ``others`` lack, in their order."""
        if self.hashes == others.hashes:
            return []
        lacking = only_in(self.hashes, others.hashes)
        return [name for name in self if holds(lacking, hash(name))] if lacking else []


class Tensors(Mapping[str, Tensor]):
    """The tensors of one header by name."""

    __slots__ = ("_kinds", "kinds", "names")

    def __init__(self, tensors: Iterable[tuple[str, Tensor]]) -> None:
        known: dict[Tensor, int] = {}
        names: list[str] = []
        self._kinds = array("I")
        for name, tensor in tensors:
            names.append(name)
            self._kinds.append(known.setdefault(tensor, len(known)))
        self.names = Names(names)
        #: Every type and shape, each once.
        self.kinds = tuple(known)

    @property
    def kept_bytes(self) -> int:
        """As `Names.kept_bytes`."""
        own = len(self._kinds) * self._kinds.itemsize + len(self.kinds) * _OBJECT_BYTES
        return self.names.kept_bytes + own

    def __len__(self) -> int:
        return len(self._kinds)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __getitem__(self, name: str) -> Tensor:
        if name in self.names:
            for known, tensor in self._pairs():
                if known == name:
                    return tensor
        raise KeyError(name)

    def items(self) -> ItemsView[str, Tensor]:
        """Every name with its type and shape, in one pass over the names."""
        return _Items(self)

    def counts(self) -> Iterator[tuple[Tensor, int]]:
        """Every type and shape, with how many tensors have it."""
        found = [0] * len(self.kinds)
        for number in self._kinds:
            found[number] += 1
        return zip(self.kinds, found, strict=True)

    def _pairs(self) -> Iterator[tuple[str, Tensor]]:
        kinds = self.kinds
        return zip(self.names, (kinds[number] for number in self._kinds), strict=True)


class _Items(ItemsView[str, Tensor]):
    """Decompresses the names once; the view of a `Mapping` would do so for each name."""

    _mapping: Tensors

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        return self._mapping._pairs()  # noqa: SLF001 - a view is part of what it shows
