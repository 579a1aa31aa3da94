"""Checks of the weights: whole files, one set of them, no tensor twice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from uploader.core.text import size
from uploader.model.finding import Finding, error, some, warning
from uploader.model.names import Role, role
from uploader.model.safetensors import WrongSize
from uploader.preflight.checks.index import WHOLE
from uploader.preflight.contents import Contents

_AGAIN = "download or save it again"
#: Sets of the same weights, as they are saved beside each other; the first one is to stay.
_SETS = (
    ("model*.safetensors", "pytorch_model*.bin*"),
    ("model*.safetensors", "consolidated*.safetensors"),
    ("model-*.safetensors", "model.safetensors"),
    ("pytorch_model-*.bin", "pytorch_model.bin"),
)


def no_weights(contents: Contents) -> Iterable[Finding]:
    """There are no weights: no *.safetensors, no *.bin; only consolidated* of Mistral's warns."""
    weights = [name for name in contents.present if role(name) is Role.WEIGHTS]
    if weights and all(fnmatchcase(name, "consolidated*") for name in weights):
        message = f"{some(sorted(weights))}: named as Mistral's own loader has it, no other"
        hint = "add the weights as Hugging Face names them: model*.safetensors"
        yield warning("no_weights", min(weights), message, hint)
    if contents.present and not weights:
        hint = "Fireworks reads *.safetensors and *.bin"
        inside = next(_folders_with_weights(contents.root), None)
        if inside is not None:
            hint = f"the folder {inside.name} has some: is that the model?"
        yield error("no_weights", None, f"{contents.root} holds no weights", hint)


def _folders_with_weights(root: Path) -> Iterator[Path]:
    for folder in sorted(root.glob("[!.]*/")):
        if any(role(path.name) is Role.WEIGHTS for path in folder.glob("*.*")):
            yield folder


def safetensors_size(contents: Contents) -> Iterable[Finding]:
    """A safetensors file is cut short, or goes on behind its last tensor."""
    return _broken(contents, "safetensors_size", wrong_size=True)


def safetensors_header(contents: Contents) -> Iterable[Finding]:
    """A header that the safetensors library refuses: offsets, overlaps, shapes, JSON."""
    return _broken(contents, "safetensors_header", wrong_size=False)


def _broken(contents: Contents, check: str, *, wrong_size: bool) -> Iterable[Finding]:
    for name, problem in contents.headerless.items():
        if isinstance(problem, WrongSize) is wrong_size:
            yield error(check, name, f"{name} {problem}", _AGAIN)


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
            message = f"{kept} and {surplus} are both there: the same weights twice?"
            hint = f"--exclude '{surplus}' sends {saved} less"
            yield warning("two_formats", weights[0], message, hint)


def _differ(contents: Contents, first: list[str], second: list[str]) -> bool:
    """Whether the headers of two sets tell of different tensors; other formats name them anew."""
    one, other = (
        {
            tensor
            for name in names
            if name in contents.headers
            for tensor in contents.headers[name].tensors
        }
        for names in (first, second)
    )
    return bool(one and other) and "consolidated" not in second[0] and one.isdisjoint(other)


def duplicate_tensor(contents: Contents) -> Iterable[Finding]:
    """A tensor in two files: refused where they are shards of one model and differ."""
    homes: dict[str, str] = {}
    for name, header in contents.headers.items():
        twice = sorted(homes.keys() & header.tensors.keys())
        if twice and not _variants(contents, homes[twice[0]], name):
            yield _duplicate(contents, twice, (homes[twice[0]], name))
        homes |= dict.fromkeys(header.tensors, name)


def _variants(contents: Contents, one: str, other: str) -> bool:
    """Whether two files are of sets with an index each, as variants of a model are."""
    sets = [index.shards.keys() for index in contents.indexes.values()]
    return any(one in s and other not in s for s in sets) and any(
        other in s and one not in s for s in sets
    )


def _duplicate(contents: Contents, tensors: list[str], files: tuple[str, str]) -> Finding:
    one, other = (contents.headers[file].tensors[tensors[0]] for file in files)
    shards = any(index.shards.keys() >= {*files} for index in contents.indexes.values())
    severity = error if one != other and shards else warning
    message = f"{files[0]} and {files[1]} both hold {some(tensors)}"
    return severity("duplicate_tensor", files[1], message, "leave one file out with --exclude")
