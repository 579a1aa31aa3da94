"""What to do about a path that is not on this machine but names a model elsewhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

_USUAL = "check the path: give the folder that contains config.json or adapter_config.json"
#: An address; a path has lost one of its two slashes.
_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]*):/+(.+)", re.IGNORECASE)
_ON_THE_HUB = re.compile(r"(?:(?:www\.)?huggingface\.co|hf\.co)/([\w.-]+/[\w.-]+)(?:/.*)?")
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
#: By the kind of address: the command that fetches what it names into a folder.
_FETCHED_BY = {
    "s3": "`aws s3 sync {source} {folder}`",
    "gs": "`gcloud storage rsync --recursive {source} {folder}`",
    "az": "`az storage blob download-batch --source {source} --destination {folder}`",
}


def as_given(path: Path) -> str:
    """``path`` as it was typed: an address has its slashes again."""
    return _ADDRESS.sub(r"\1://\2", str(path), count=1)


def advice(path: Path) -> str:
    """What to do about ``path``, which is not there."""
    text = str(path)
    if address := _ADDRESS.fullmatch(text):
        return _of_address(address[1].lower(), address[2])
    if _REPOSITORY.fullmatch(text) and not path.parent.exists():
        return f"{_USUAL}; if it is a model of the Hugging Face Hub, {_from_hub(text)}"
    return _USUAL


def _of_address(kind: str, rest: str) -> str:
    taken = "uploader takes a folder of this machine"
    hub = _ON_THE_HUB.fullmatch(rest)
    if kind == "file":
        return f"{taken}: give its path, {shlex.quote(f'/{rest}')}"
    if kind == "hf" or hub:
        name = hub[1] if hub else "/".join(rest.removeprefix("models/").split("/")[:2])
        return f"{taken}: {_from_hub(name)}"
    if kind not in _FETCHED_BY:
        return f"{taken}: download the model first"
    folder = _folder(rest)
    source = shlex.quote(f"{kind}://{rest}")
    fetch = _FETCHED_BY[kind].format(source=source, folder=folder)
    return f"{taken}: {fetch}, then `uploader enqueue {folder}`"


def _from_hub(name: str) -> str:
    folder = _folder(name)
    fetch = f"`hf download {shlex.quote(name)} --local-dir {folder}`"
    return f"{fetch}, then `uploader enqueue {folder}`"


def _folder(name: str) -> str:
    return shlex.quote(f"./{name.rstrip('/').rpartition('/')[2]}")
