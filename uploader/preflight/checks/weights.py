"""Checks of the weights: complete files, only one set of them, no tensor twice."""

from __future__ import annotations

import shlex
from array import array
from collections.abc import Iterable, Iterator, MutableSequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from uploader.core.text import size, some
from uploader.model.finding import Finding, error, warning
from uploader.model.hashes import Hashes, disjoint, place, repeated
from uploader.model.meant import meant
from uploader.model.names import Role, leftover, role
from uploader.model.reading import TooLong
from uploader.model.safetensors import WrongSize
from uploader.model.tensors import Tensor
from uploader.preflight.checks.index import WHOLE
from uploader.preflight.contents import Contents

_REFUSED = (error, "download or save it again")
#: Names of the same weights when they are saved twice; the first set is to be kept.
_SETS = (
    ("model*.safetensors", "pytorch_model*.bin*"),
    ("model*.safetensors", "consolidated*.safetensors"),
    ("model-*.safetensors", "model.safetensors"),
    ("pytorch_model-*.bin", "pytorch_model.bin"),
)

#: By the suffix of weights that are not sent: what they are, and how to convert them.
_CURES = {
    "gguf": "GGUF, made from weights that should be uploaded instead",
    "onnx": "ONNX, exported from weights that should be uploaded instead",
    "h5": "TensorFlow's: load it with from_tf=True and save_pretrained",
    "msgpack": "Flax's: load it with from_flax=True and save_pretrained",
    "ckpt": "a training checkpoint: save it with save_pretrained",
    "pth": "in PyTorch's own format: convert it with the model's conversion script",
    "pt": "in PyTorch's own format: save it with save_pretrained",
    "distcp": "a sharded checkpoint: merge it (accelerate merge-weights)",
}


def no_weights(contents: Contents) -> Iterable[Finding]:
    """There are no weights (*.safetensors, *.bin); Mistral's consolidated* only warns."""
    weights = [name for name in contents.present if role(name) is Role.WEIGHTS]
    if weights and all(fnmatchcase(name, "consolidated*") for name in weights):
        message = f"{some(sorted(weights))}: only Mistral's own loader reads such names"
        hint = "add the weights as Hugging Face names them: model*.safetensors"
        yield warning("no_weights", min(weights), message, hint)
    if contents.present and not weights:
        hint = str(meant(contents.root) or _cure(contents))
        yield error("no_weights", None, f"{contents.root} contains no weights", hint)


def _cure(contents: Contents) -> str:
    """How to make weights that Fireworks reads from those that are there."""
    formats = {left.path: left.path.rpartition(".")[2] for left in contents.folder.left_out}
    for name, suffix in formats.items():
        if suffix in _CURES and leftover(name):
            return (
                f"{shlex.quote(name)} is {_CURES[suffix]}; Fireworks reads *.safetensors and *.bin"
            )
    return "Fireworks reads *.safetensors and *.bin"


def safetensors_size(contents: Contents) -> Iterable[Finding]:
    """A safetensors file is cut short, or goes on after its last tensor."""
    return _broken(contents, "safetensors_size", wrong_size=True)


def safetensors_header(contents: Contents) -> Iterable[Finding]:
    """A header that the library refuses (offsets, shapes, JSON); one too long only warns."""
    return _broken(contents, "safetensors_header", wrong_size=False)


def _broken(contents: Contents, check: str, *, wrong_size: bool) -> Iterable[Finding]:
    for name, problem in contents.headerless.items():
        if isinstance(problem, WrongSize) is wrong_size:
            unread = isinstance(problem, TooLong)
            severity, hint = (warning, "its tensors were not checked") if unread else _REFUSED
            yield severity(check, name, f"{name} {problem}", hint)


def two_formats(contents: Contents) -> Iterable[Finding]:
    """The same weights twice: in two formats, or whole and in shards."""
    sizes = {file.path: file.size_bytes for file in contents.folder.manifest.files}
    complete = [shards.present for shards in contents.shards if not shards.missing]
    whole = WHOLE.union(*complete) & sizes.keys()
    for kept, surplus in _SETS:
        first = [name for name in sizes if fnmatchcase(name, kept) and name in whole]
        double = [name for name in sizes if fnmatchcase(name, surplus)]
        weights = [name for name in double if role(name) is Role.WEIGHTS]
        if first and weights and not _differ(contents, first, weights):
            saved = size(sum(sizes[name] for name in double))
            message = f"{kept} and {surplus} are both there and may be the same weights"
            hint = f"`exclude` '{surplus}' sends {saved} less"
            yield warning("two_formats", weights[0], message, hint)


def _differ(contents: Contents, first: list[str], second: list[str]) -> bool:
    """Whether two sets have different tensors by their headers; other formats rename them."""
    one, other = (
        [contents.headers[name].tensors.names.hashes for name in names if name in contents.headers]
        for names in (first, second)
    )
    known = any(one) and any(other)
    return known and "consolidated" not in second[0] and disjoint(one, other)


def duplicate_tensor(contents: Contents) -> Iterable[Finding]:
    """A tensor in two files: refused if they are shards of one model and differ."""
    found = [*_twice(contents)]
    wanted: dict[str, set[str]] = {}
    for one in found:
        wanted.setdefault(one.home, set()).add(one.name)
    kinds = {
        (home, name): tensor
        for home, names in wanted.items()
        for name, tensor in contents.headers[home].tensors.items()
        if name in names
    }
    for one in found:
        yield _duplicate(contents, one, kinds[one.home, one.name])


class _Twice(NamedTuple):
    """The first of ``total`` tensors of ``file`` that were there before: it was in ``home``."""

    name: str
    tensor: Tensor
    total: int
    file: str
    home: str


def _twice(contents: Contents) -> Iterator[_Twice]:
    """In one pass over the names of each file: thousands may have tensors of one large file."""
    again = repeated([header.tensors.names.hashes for header in contents.headers.values()])
    files = [*contents.headers] if again else []
    #: For each of ``again``, the file that has it first, counted from 1.
    homes = array("I", bytes(array("I").itemsize * len(again)))
    for number, file in enumerate(files, 1):
        tensors = contents.headers[file].tensors
        known = _seen_before(tensors.names.hashes, again, homes, number)
        if known:
            both = ((name, tensor) for name, tensor in tensors.items() if hash(name) in known)
            name, tensor = min(both)
            home = files[known[hash(name)] - 1]
            if not _variants(contents, home, file):
                yield _Twice(name, tensor, len(known), file, home)


def _seen_before(
    hashes: Hashes, again: Hashes, homes: MutableSequence[int], number: int
) -> dict[int, int]:
    """Those that were seen before, with their homes; ``homes`` is kept up."""
    found = {}
    for one in hashes:
        at = place(again, one)
        if at is not None:
            if homes[at]:
                found[one] = homes[at]
            else:
                homes[at] = number
    return found


def _variants(contents: Contents, one: str, other: str) -> bool:
    """Whether two files belong to sets with an index each, like variants of a model."""
    sets = [index.shards.keys() for index in contents.indexes.values()]
    return any(one in s and other not in s for s in sets) and any(
        other in s and one not in s for s in sets
    )


def _duplicate(contents: Contents, one: _Twice, there: Tensor) -> Finding:
    shards = any(index.shards.keys() >= {one.home, one.file} for index in contents.indexes.values())
    severity = error if one.tensor != there and shards else warning
    message = f"{one.home} and {one.file} both contain {some([one.name], of=one.total)}"
    return severity("duplicate_tensor", one.file, message, "leave one file out with `exclude`")
