"""What the files of a folder contain: small JSON files and headers of weights, each read once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from uploader import files
from uploader.core.job import Kind
from uploader.core.once import once
from uploader.model.adapter import Factors, factors
from uploader.model.folder import Folder
from uploader.model.index import Index, Shards, indexed, numbered, read_index
from uploader.model.names import ADAPTER_CONFIG, ADAPTER_WEIGHTS, Role, role
from uploader.model.reading import Allowance, Malformed, TooLong, light, read_object
from uploader.model.safetensors import Header, read_header

_POINTER = b"version https://git-lfs.github.com/spec/"
_POINTER_MAX_BYTES = 1024
#: Sixteen bytes of memory each: more tensors than any model has, and they still fit.
_MAX_TENSORS = 3_000_000
#: As many headers as those tensors need, and more than any model has.
_HEADERS_BYTES = 400_000_000
#: The JSON files whose values checks ask for, again and again. Only the verdict is kept of others.
_ASKED_FOR = frozenset(
    {
        ADAPTER_CONFIG,
        "config.json",
        "fireworks.json",
        "processor_config.json",
        "tokenizer_config.json",
    }
)
#: Values of all those together, those of an adapter's base model included: as many as one may have.
_KEPT_VALUES = 300_000
#: What is parsed of all small JSON files: four of the longest, and ten times what any model has.
_OBJECTS_BYTES = 40_000_000
_MAX_WORDS = 10
#: Each is compared with the shards of all others.
_MAX_INDEXES = 100
#: The longest index of a known model, twice, and more.
_INDEXES_BYTES = 64_000_000
#: What is kept of all headers and indexes, those of an adapter's base model included: 3 000 000
#: tensors, and eight times what a model of 200 000 needs. Names that do not repeat would take as
#: much as the files have.
_KEPT_OF_WEIGHTS_BYTES = 48_000_000


@dataclass(frozen=True, slots=True)
class _Kept:
    """What may be kept of a folder and of its base model's together."""

    of_weights: Allowance = field(default_factory=lambda: Allowance(_KEPT_OF_WEIGHTS_BYTES))
    values: Allowance = field(default_factory=lambda: Allowance(_KEPT_VALUES))


class Contents:
    """A folder, narrowed to its ``kind``, as the checks see it.

    A file that is missing, empty, a pointer or malformed has no content here: `trouble`,
    `headerless` and the checks for that report it.
    """

    def __init__(
        self,
        folder: Folder,
        kind: Kind,
        base: Folder | None = None,
        kept: _Kept | None = None,
    ) -> None:
        self.folder = folder
        self.kind = kind
        self._kept = kept or _Kept()
        #: The base model of an adapter, if its folder is known.
        self.base = Contents(base, Kind.BASE, kept=self._kept) if base else None
        #: The names to send and those that would be, were they not already refused.
        self.present = folder.present
        #: Why a JSON file is not an object or not an index; by name, once it was read.
        self.trouble: dict[str, Malformed] = {}
        #: The words in a JSON file that are not JSON: NaN, Infinity; once it was read.
        self.constants: dict[str, list[str]] = {}
        self._allowance = Allowance(_OBJECTS_BYTES)
        self._seen: set[str] = set()
        self._objects: dict[str, Mapping[str, Any]] = {}

    @property
    def root(self) -> Path:
        """The folder, as a real path."""
        return self.folder.root

    def named(self, *roles: Role) -> list[str]:
        """The files with those roles, whatever is in them."""
        return [name for name in self.folder.names if role(name) in roles]

    @once
    def pointers(self) -> frozenset[str]:
        """Small files that Git LFS put in place of the real ones."""
        small = (f for f in self.folder.manifest.files if f.size_bytes <= _POINTER_MAX_BYTES)
        return frozenset(file.path for file in small if _is_pointer(self.root / file.path))

    @once
    def sound(self) -> frozenset[str]:
        """The files with real content: neither empty nor a pointer."""
        files = self.folder.manifest.files
        return frozenset(file.path for file in files if file.size_bytes) - self.pointers

    def object(self, name: str) -> Mapping[str, Any]:
        """The JSON object in the file ``name``; empty if there is none.

        Raises KeyError for the name of a file whose values are not kept.
        """
        self.look_at(name)
        return self._objects[name]

    def look_at(self, name: str) -> None:
        """Read the JSON file ``name``, once: for its `trouble`, its `constants` and `object`."""
        if name in self._seen:
            return
        self._seen.add(name)
        found: Mapping[str, Any] = {}
        words: list[str] = []
        values = self._kept.values if name in _ASKED_FOR else None
        try:
            if name in self.sound:
                found = read_object(self.root / name, words, self._allowance, values)
                self.constants[name] = words[:_MAX_WORDS]
        except Malformed as problem:
            self.trouble[name] = light(problem)
        if name in _ASKED_FOR:
            self._objects[name] = found

    @property
    def config(self) -> Mapping[str, Any]:
        """The object in config.json; empty if there is none, or a broken one."""
        return self.object("config.json")

    @property
    def headers(self) -> Mapping[str, Header]:
        """The header of every safetensors file that has one, by the file's name."""
        return self._read_headers[0]

    @property
    def headerless(self) -> Mapping[str, Malformed]:
        """What is wrong with every other safetensors file."""
        return self._read_headers[1]

    @once
    def _read_headers(self) -> tuple[dict[str, Header], dict[str, Malformed]]:
        headers: dict[str, Header] = {}
        headerless: dict[str, Malformed] = {}
        left, allowance = _MAX_TENSORS, Allowance(_HEADERS_BYTES)
        for name in self.folder.names:
            if name.endswith(".safetensors") and name in self.sound:
                try:
                    if left < 0:
                        raise TooLong(f"was not read: there are already {_MAX_TENSORS} tensors")
                    header = read_header(self.root / name, allowance)
                    self._kept.of_weights.take(header.tensors.kept_bytes)
                    headers[name] = header
                    left -= len(header.tensors)
                except Malformed as problem:
                    headerless[name] = light(problem)
        return headers, headerless

    @once
    def factors(self) -> Factors | None:
        """The tensors of an adapter; None if they cannot be read."""
        header = self.headers.get(ADAPTER_WEIGHTS[0])
        return factors(header.tensors) if header else None

    @once
    def indexes(self) -> Mapping[str, Index]:
        """Every valid index of weights, by the file's name."""
        indexes: dict[str, Index] = {}
        allowance = Allowance(_INDEXES_BYTES)
        for name in self.named(Role.INDEX):
            if name in self.sound:
                try:
                    if len(indexes) == _MAX_INDEXES:
                        raise TooLong(f"was not read: there are already {_MAX_INDEXES} indexes")
                    index = read_index(self.root / name, allowance)
                    self._kept.of_weights.take(index.kept_bytes)
                    indexes[name] = index
                except Malformed as problem:
                    self.trouble[name] = light(problem)
        return indexes

    @once
    def whole(self) -> bool:
        """Whether every file of the weights is there and has a header."""
        files = {name for name in self.present if name.endswith(".safetensors")}
        return files == self.headers.keys() and not any(s.missing for s in self.shards)

    @once
    def shards(self) -> tuple[Shards, ...]:
        """Every set of shards, complete or not: by its index, else by its names."""
        known = [indexed(name, index, self.present) for name, index in self.indexes.items()]
        named = {name for index in self.indexes.values() for name in index.shards}
        others = (name for name in self.named(Role.WEIGHTS) if name not in named)
        return (*known, *numbered(others))


def _is_pointer(path: Path) -> bool:
    try:
        return files.read(path, len(_POINTER))[0] == _POINTER
    except OSError:
        return False  # it vanished after the scan: the engine will report that
