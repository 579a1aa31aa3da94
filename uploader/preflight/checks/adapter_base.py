"""The check of an adapter against the base model, if that was uploaded from here."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable

from uploader.model.adapter import LM_HEAD, Factors, is_lora, short
from uploader.model.finding import Finding, error, warning
from uploader.model.names import ADAPTER_CONFIG, Role
from uploader.model.tensors import Tensor
from uploader.preflight.checks.adapter import WEIGHTS, brief_some
from uploader.preflight.contents import Contents

_MATRIX = 2
#: How the name of a dtype with one number in each element begins.
_UNPACKED = ("F64", "F32", "F16", "BF16", "F8_")
#: How GPTQ, AWQ and compressed-tensors name weights whose shape tells nothing.
_PACKED = frozenset({"qweight", "weight_packed"})


def lora_base(contents: Contents) -> Iterable[Finding]:
    """Modules that the base model, if it is here, lacks or has in another shape.

    The service only says so at deployment: "LoRA keys reference non-existent base model
    parameters" (docs/fireworks.md §4).
    """
    config, found, base = contents.object(ADAPTER_CONFIG), contents.factors, contents.base
    # Replicated layers are not in the checkpoint.
    if not base or not found or not is_lora(config) or config.get("layer_replication"):
        return
    modules = _BaseModules(found.modules)
    for header in base.headers.values():
        for name, tensor in header.tensors.items():
            modules.add(name, tensor)
    if _whole(base):
        yield from _missing(base, found, modules)
    if not config.get("fan_in_fan_out"):
        yield from _misshapen(base, found, modules)


def _whole(base: Contents) -> bool:
    """Whether every tensor of the base is known: all its files have headers of safetensors."""
    shards = {shard for index in base.indexes.values() for shard in index.shards}
    return bool(base.headers) and base.headers.keys() >= {*base.named(Role.WEIGHTS), *shards}


def _missing(base: Contents, found: Factors, modules: _BaseModules) -> Iterable[Finding]:
    """Neither the head, which may be tied to the embeddings, nor experts, which may be fused."""
    named = (path for path in found.modules if short(path) != LM_HEAD)
    missing = [p for p in named if "experts" not in p.split(".") and not modules.has(p)]
    if missing:
        severity = error if modules.akin else warning
        message = f"{WEIGHTS} adapts what the base model lacks: {brief_some(missing)}"
        yield severity("lora_base", WEIGHTS, message, _hint(base))


def _misshapen(base: Contents, found: Factors, modules: _BaseModules) -> Iterable[Finding]:
    wrong = []
    for path, b in found.b.items():
        a = found.a.get(path)
        if a and len(a.shape) == len(b.shape) == _MATRIX:
            adapted = (b.shape[0], a.shape[1])
            other = modules.other_shape(path, adapted)
            if other:
                wrong.append(f"{path} {list(adapted)} on {list(other)}")
    if wrong:
        message = f"{WEIGHTS} does not fit the base model: {brief_some(wrong)}"
        yield error("lora_base", WEIGHTS, message, _hint(base))


def _hint(base: Contents) -> str:
    return f"check that {shlex.quote(str(base.root))} is the model it was trained on"


class _BaseModules:
    """The modules of a base model that an adapter means, whatever precedes their layers.

    Transformers loads brief_some checkpoints under other names than they were saved by, so that
    "model.language_model.layers.0.…" may well be "model.layers.0.…".
    """

    def __init__(self, paths: Collection[str]) -> None:
        self._keys = {path: (path, _tail(path)) for path in paths}
        self._wanted = {key for keys in self._keys.values() for key in keys}
        self._parents = {tail.rpartition(".")[0] for _, tail in self._keys.values()} - {""}
        self._shapes: dict[str, set[Tensor | None]] = {}  # without types; None: packed
        #: Whether the base names its layers as the adapter does.
        self.akin = False

    def add(self, name: str, tensor: Tensor) -> None:
        """Add one of the base's tensors."""
        path, _, last = name.rpartition(".")
        tail = _tail(path)
        for key in self._wanted.intersection((path, tail)):
            shapes = self._shapes.setdefault(key, set())
            if last == "weight" or last in _PACKED:
                shapes.add(Tensor("", tensor.shape) if _comparable(tensor) else None)
        self.akin = self.akin or tail in self._wanted or tail.rpartition(".")[0] in self._parents

    def has(self, path: str) -> bool:
        return any(key in self._shapes for key in self._keys[path])

    def other_shape(self, path: str, shape: tuple[int, ...]) -> tuple[int, ...] | None:
        """The base's own shape; None if the given one fits, or if that cannot be told."""
        keys = (key for key in self._keys[path] if key in self._shapes)
        shapes = self._shapes[next(keys)] if self.has(path) else set()
        if None in shapes or Tensor("", shape) in shapes:
            return None
        return next((other.shape for other in shapes if other), None)


def _comparable(tensor: Tensor) -> bool:
    """Whether the tensor has one number per element: packed weights have another shape."""
    return len(tensor.shape) == _MATRIX and tensor.dtype.startswith(_UNPACKED)


def _tail(path: str) -> str:
    """The path from the first list of layers on, or its last part if there is none."""
    parts = path.split(".")
    first = next((place for place, part in enumerate(parts) if part.isdecimal()), len(parts))
    return ".".join(parts[max(first - 1, 0) :])
