"""Small model folders, valid unless a test breaks them."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

from tests.preflight.adapters import plain
from uploader.core.job import Kind
from uploader.model.finding import Finding
from uploader.model.folder import scan
from uploader.model.kinds import detect_kind
from uploader.preflight.registry import findings


def safetensors(tensors: dict[str, int], *, missing: int = 0, surplus: int = 0) -> bytes:
    """A file with the named tensors of so many bytes, cut or prolonged at its end."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    stop = 0
    for name, length in tensors.items():
        header[name] = {"dtype": "U8", "shape": [length], "data_offsets": [stop, stop + length]}
        stop += length
    raw = json.dumps(header).encode()
    body = len(raw).to_bytes(8, "little") + raw + b"\7" * stop
    return body[: len(body) - missing] + b"\0" * surplus


def zipped(tensors: dict[str, int], *, cut: int = 0) -> bytes:
    """A .bin as torch.save writes it, without a pickle that anybody could load."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("archive/data.pkl", b"never unpickled: " + " ".join(tensors).encode())
        file.writestr("archive/byteorder", b"little")
        for number, length in enumerate(tensors.values()):
            file.writestr(f"archive/data/{number}", b"\7" * length)
        file.writestr("archive/version", b"3\n")
    body = archive.getvalue()
    return body[: len(body) - cut]


BASE: dict[str, bytes] = {
    "config.json": b'{"architectures": ["LlamaForCausalLM"]}',
    "generation_config.json": b"{}",
    "tokenizer.json": b"{}",
    "tokenizer_config.json": b'{"chat_template": "{{ messages }}"}',
    "model.safetensors": safetensors({"lm_head.weight": 2048}),
    "README.md": b"# A model\n",
}

SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
INDEX = "model.safetensors.index.json"
SHARDED: dict[str, bytes] = {
    **{name: body for name, body in BASE.items() if name != "model.safetensors"},
    SHARDS[0]: safetensors({"a": 8}),
    SHARDS[1]: safetensors({"b": 8}),
    INDEX: json.dumps({"weight_map": {"a": SHARDS[0], "b": SHARDS[1]}}).encode(),
}

LORA = plain("q_proj", "v_proj")


def without(files: dict[str, bytes], *names: str) -> dict[str, bytes]:
    return {name: body for name, body in files.items() if name not in names}


Brief = list[tuple[str, str, str | None]]


def brief(found: list[Finding]) -> Brief:
    return [(finding.check, finding.severity, finding.file) for finding in found]


def check(root: Path, files: dict[str, bytes], kind: Kind | None = None) -> list[Finding]:
    """What preflight has to say about the files, written below ``root``."""
    found = scan(folder(root, files))
    lora = detect_kind(found)[0] is Kind.LORA
    return findings(found, kind or (Kind.LORA if lora else Kind.BASE))


def folder(root: Path, files: dict[str, bytes]) -> Path:
    """The files, written below ``root``."""
    root.mkdir(parents=True, exist_ok=True)
    for name, body in files.items():
        (root / name).write_bytes(body)
    return root


def cache_snapshot(root: Path, files: dict[str, bytes]) -> Path:
    """The files as Hugging Face's cache keeps them: links from a snapshot into blobs."""
    repository = root / "models--acme--Llama-3.1-8B"
    snapshot, blobs = repository / "snapshots" / "0e9e39f", repository / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, (name, body) in enumerate(files.items()):
        (blobs / str(number)).write_bytes(body)
        (snapshot / name).symlink_to(Path("../..") / "blobs" / str(number))
    return snapshot
