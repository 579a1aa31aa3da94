"""Checks of complete files of weights without content: no elements, no tensors, no reader."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

from uploader.core.text import size, some
from uploader.model.finding import Finding, error, warning
from uploader.model.names import ADAPTER_WEIGHTS, Role, role
from uploader.model.pickled import Unfamiliar, check_pickled
from uploader.model.reading import Allowance, TooLong
from uploader.preflight.contents import Contents

_GATHER = (
    "save it again with its weights gathered: DeepSpeed ZeRO-3 needs "
    "stage3_gather_16bit_weights_on_model_save, or run zero_to_fp32.py to gather them"
)
#: How names of tensors that may be empty end: extras of a quantized layer, buffers.
_MAY_BE_EMPTY = ("g_idx", "perm", "qzeros", "zero_point", "zeros", "bias", "inv_freq")
#: The names under which Transformers looks for the weights of a model, in its order.
_READ = (
    *("model.safetensors", "model.safetensors.index.json"),
    *("pytorch_model.bin", "pytorch_model.bin.index.json"),
)
#: Two of the longest directories; each of a real model is a thousandth of one.
_DIRECTORIES_BYTES = 32_000_000
#: More shards than this, if they are smaller than this, broke a deployment.
_MANY, _SMALL_BYTES = 30, 10**9


def hollow_weights(contents: Contents) -> Iterable[Finding]:
    """Weights without elements, as ZeRO-3 leaves them in some or all layers if not gathered."""
    others = any(header.tensors for header in contents.headers.values())
    for name, header in contents.headers.items():
        if not header.tensors and name not in ADAPTER_WEIGHTS:  # `lora_tensors` reports those
            severity = warning if others else error
            message = f"{name} contains no tensor at all"
            yield severity("hollow_weights", name, message, "save it again, or `exclude` it")
        if all(prod(shape) for _, shape in header.tensors.kinds):
            continue
        hollow = [tensor for tensor, (_, shape) in header.tensors.items() if not prod(shape)]
        weights = [tensor for tensor in hollow if not tensor.endswith(_MAY_BE_EMPTY)]
        if weights:
            count = f"{len(weights)} of {len(header.tensors)} tensors"
            message = f"{name} contains {count} without any element: {some(weights)}"
            yield error("hollow_weights", name, message, _GATHER)


def pickled_weights(contents: Contents) -> Iterable[Finding]:
    """A .bin without tensors, cut short, or of another format; nothing is unpickled."""
    unfamiliar: dict[str, list[str]] = {}
    allowance = Allowance(_DIRECTORIES_BYTES)
    for name in contents.named(Role.WEIGHTS):
        if not name.endswith(".bin") or name not in contents.sound:
            continue
        try:
            check_pickled(contents.root / name, allowance)
        except (Unfamiliar, TooLong) as problem:
            unfamiliar.setdefault(str(problem), []).append(name)
        except ValueError as problem:
            hint = "download or save it again"
            if name in ADAPTER_WEIGHTS:
                hint = "save the adapter again with PEFT, as adapter_model.safetensors"
            yield error("pickled_weights", name, f"{name} {problem}", hint)
    for form, names in unfamiliar.items():
        which, what = ("it", "") if len(names) == 1 else ("them", ": each")
        message = f"{some(names)}{what} {form}"
        hint = f"leave {which} out with `exclude` unless the model's own code reads {which}"
        yield warning("pickled_weights", names[0], message, hint)


def unread_weights(contents: Contents) -> Iterable[Finding]:
    """Weights only under names that Transformers does not look for: model.fp16.safetensors."""
    weights = [name for name in contents.present if role(name) is Role.WEIGHTS]
    if not weights or not contents.present.isdisjoint(_READ):
        return
    shards = {name for shards in contents.shards for name in shards.present}
    unread = sorted(n for n in weights if n not in shards and not n.startswith("consolidated"))
    indexes = sorted(name for name in contents.present if role(name) is Role.INDEX)
    if unread or indexes:
        message = f"{some(unread or indexes)}: Transformers does not look for such a name"
        hint = f"name it {_READ[0] if unread else _READ[1]}, as Transformers saves it"
        yield warning("unread_weights", (unread or indexes)[0], message, hint)


def small_shards(contents: Contents) -> Iterable[Finding]:
    """More than 30 shards of less than 1 GB on average: such a model failed to deploy."""
    sizes = {file.path: file.size_bytes for file in contents.folder.manifest.files}
    for shards in contents.shards:
        held = [sizes[name] for name in shards.present if name in sizes]
        if len(held) > _MANY and sum(held) < len(held) * _SMALL_BYTES:
            message = f"{len(held)} shards of {size(sum(held) / len(held))} on average: "
            message += "such a model is known to have failed at its deployment"
            hint = 'save it again with save_pretrained(…, max_shard_size="5GB")'
            yield warning("small_shards", shards.source, message, hint)
