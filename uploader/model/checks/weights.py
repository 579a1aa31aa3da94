"""Checks of the weights: whole files, one set of them, no tensor twice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from uploader.core.words import size
from uploader.model.contents import Contents
from uploader.model.finding import Finding, error, warning
from uploader.model.names import Role, role
from uploader.model.safetensors import WrongSize

_AGAIN = "download or save it again"
#: Sets of the same weights, as they are saved beside each other; the first one is to stay.
_SETS = (
    ("model*.safetensors", "pytorch_model*.bin*"),
    ("model*.safetensors", "consolidated*.safetensors"),
    ("model-*.safetensors", "model.safetensors"),
    ("pytorch_model-*.bin", "pytorch_model.bin"),
)


def no_weights(contents: Contents) -> Iterable[Finding]:
    """There are no weights: no *.safetensors, no *.bin."""
    if contents.present and not any(role(name) is Role.WEIGHTS for name in contents.present):
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
    for kept, surplus in _SETS:
        double = [name for name in sizes if fnmatchcase(name, surplus)]
        weights = [name for name in double if role(name) is Role.WEIGHTS]
        if weights and any(fnmatchcase(name, kept) for name in sizes):
            saved = size(sum(sizes[name] for name in double))
            message = f"{kept} and {surplus} are both there: the same weights twice?"
            hint = f"--exclude '{surplus}' sends {saved} less"
            yield warning("two_formats", weights[0], message, hint)


def duplicate_tensor(contents: Contents) -> Iterable[Finding]:
    """A tensor in two files: refused where they are shards of one model and differ."""
    shards = {shard for index in contents.indexes.values() for shard in index.shards}
    homes: dict[str, str] = {}
    for name, header in contents.headers.items():
        twice = sorted(homes.keys() & header.tensors.keys())
        if twice:
            yield _duplicate(contents, twice, (homes[twice[0]], name), shards)
        homes |= dict.fromkeys(header.tensors, name)


def _duplicate(
    contents: Contents, tensors: list[str], files: tuple[str, str], shards: set[str]
) -> Finding:
    one, other = (contents.headers[file].tensors[tensors[0]] for file in files)
    severity = error if one != other and shards.issuperset(files) else warning
    more = f" and {len(tensors) - 1} more" if len(tensors) > 1 else ""
    message = f"{files[0]} and {files[1]} both hold {tensors[0]}{more}"
    return severity("duplicate_tensor", files[1], message, "leave one file out with --exclude")
