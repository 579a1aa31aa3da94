from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.model.build import (
    BASE,
    INDEX,
    LORA,
    SHARDED,
    SHARDS,
    cache_snapshot,
    folder,
    safetensors,
)
from uploader.core.job import Kind
from uploader.model.finding import Finding
from uploader.model.folder import scan
from uploader.model.kinds import detect_kind
from uploader.model.preflight import CHECKS, findings

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
BIN_INDEX = json.dumps({"weight_map": {"a": "pytorch_model-00001-of-00001.bin"}}).encode()


def preflight(root: Path, files: dict[str, bytes]) -> list[Finding]:
    found = scan(folder(root, files))
    return findings(found, detect_kind(found))


def brief(found: list[Finding]) -> list[tuple[str, str, str | None]]:
    return [(finding.check, finding.severity, finding.file) for finding in found]


def config(**entries: Any) -> dict[str, bytes]:
    return {"config.json": json.dumps(entries).encode()}


def adapter(**entries: Any) -> dict[str, bytes]:
    whole = json.loads(LORA["adapter_config.json"]) | entries
    return {"adapter_config.json": json.dumps(whole).encode()}


def without(files: dict[str, bytes], *names: str) -> dict[str, bytes]:
    return {name: body for name, body in files.items() if name not in names}


VALID = {
    "base": BASE,
    "sharded": SHARDED,
    "bin": {**without(BASE, "model.safetensors"), "pytorch_model.bin": b"PK"},
    "sentencepiece": {**without(BASE, "tokenizer.json"), "tokenizer.model": b"x"},
    "null quantization": {**BASE, **config(quantization_config=None)},
    "byte order mark": {**BASE, "config.json": b"\xef\xbb\xbf{}"},
    "foreign index": {**BASE, "faiss.index.json": b"[]"},
    "lora": LORA,
    "lora with extras": {**LORA, "README.md": b"x", "tokenizer.json": b"", "config.json": b"?"},
    "lora bin": {**without(LORA, "adapter_model.safetensors"), "adapter_model.bin": b"PK"},
    "lora pattern": {**LORA, **adapter(target_modules="all-linear")},
    "lora ranks": {**LORA, **adapter(r=4)},
    "lora rank 64": {**LORA, **adapter(r=64)},
}


@pytest.mark.parametrize("files", VALID.values(), ids=VALID)
def test_a_valid_model_has_no_finding(tmp_path: Path, files: dict[str, bytes]) -> None:
    assert preflight(tmp_path, files) == []


def test_a_valid_cache_snapshot_has_no_finding(tmp_path: Path) -> None:
    assert findings(scan(cache_snapshot(tmp_path, SHARDED)), Kind.BASE) == []


W, E = "warning", "error"
ST, AC = "model.safetensors", "adapter_config.json"
BROKEN: dict[str, tuple[dict[str, bytes], list[tuple[str, str, str | None]]]] = {
    "empty": ({}, [("empty_folder", E, None)]),
    "no config": (without(BASE, "config.json"), [("config_json", E, "config.json")]),
    "config no JSON": ({**BASE, "config.json": b"{"}, [("config_json", E, "config.json")]),
    "config no object": ({**BASE, "config.json": b"[]"}, [("config_json", E, "config.json")]),
    "config empty": ({**BASE, "config.json": b""}, [("empty_file", E, "config.json")]),
    "config pointer": ({**BASE, "config.json": POINTER}, [("lfs_pointer", E, "config.json")]),
    "no weights": (without(BASE, ST), [("no_weights", E, None)]),
    "weights empty": ({**BASE, ST: b""}, [("empty_file", E, ST)]),
    "weights pointer": ({**BASE, ST: POINTER}, [("lfs_pointer", E, ST)]),
    "weights cut": ({**BASE, ST: safetensors({"a": 9}, missing=1)}, [("safetensors", E, ST)]),
    "no tokenizer": (
        without(BASE, "tokenizer.json", "tokenizer_config.json"),
        [("no_tokenizer", W, None)],
    ),
    "shard missing": (without(SHARDED, SHARDS[1]), [("missing_shard", E, INDEX)]),
    "index no JSON": ({**SHARDED, INDEX: b"{"}, [("missing_shard", E, INDEX)]),
    "index no map": ({**SHARDED, INDEX: b"{}"}, [("missing_shard", E, INDEX)]),
    "index odd map": (
        {**SHARDED, INDEX: b'{"weight_map": {"a": 3}}'},
        [("missing_shard", E, INDEX)],
    ),
    "index empty": ({**SHARDED, INDEX: b""}, [("empty_file", E, INDEX)]),
    "index pointer": ({**SHARDED, INDEX: POINTER}, [("lfs_pointer", E, INDEX)]),
    "other format's index": (
        {**SHARDED, "pytorch_model.bin.index.json": BIN_INDEX},
        [("missing_shard", W, "pytorch_model.bin.index.json")],
    ),
    "index beside a whole file": (
        {**BASE, INDEX: SHARDED[INDEX]},
        [("missing_shard", W, INDEX)],
    ),
    **{
        f"quantized by {method}": (
            {**BASE, **config(quantization_config={"quant_method": method})},
            [("quantization", severity, "config.json")],
        )
        for method, severity in {
            "gptq": E,
            "awq": E,
            "bitsandbytes": E,
            "bitsandbytes_4bit": E,
            "fp8": W,
            "mxfp4": W,
            "compressed-tensors": W,
        }.items()
    },
    "quantized by flag": (
        {**BASE, **config(quantization_config={"load_in_4bit": True})},
        [("quantization", E, "config.json")],
    ),
    "quantized oddly": (
        {**BASE, **config(quantization_config="yes")},
        [("quantization", W, "config.json")],
    ),
    **{
        f"rank {rank!r}": ({**LORA, **adapter(r=rank)}, [("lora_rank", E, AC)])
        for rank in (3, 65, None, "16", True, 16.0)
    },
    "targets": ({**LORA, **adapter(target_modules=[])}, [("lora_targets", E, AC)]),
    "adapter no JSON": ({**LORA, AC: b"{"}, [("adapter_config", E, AC)]),
    "adapter without weights": ({AC: LORA[AC]}, [("adapter_weights", E, None)]),
    "adapter weights cut": (
        {**LORA, "adapter_model.safetensors": b"cut"},
        [("safetensors", E, "adapter_model.safetensors")],
    ),
    "everything at once": (
        {"config.json": b"", "a.safetensors": POINTER},
        [
            ("empty_file", E, "config.json"),
            ("lfs_pointer", E, "a.safetensors"),
            ("no_tokenizer", W, None),
        ],
    ),
}


@pytest.mark.parametrize(("files", "expected"), BROKEN.values(), ids=BROKEN)
def test_what_is_wrong_is_said_once_and_all_at_once(
    tmp_path: Path, files: dict[str, bytes], expected: list[tuple[str, str, str | None]]
) -> None:
    found = preflight(tmp_path, files)
    assert brief(found) == expected
    for finding in found:
        assert finding.hint
        assert "\n" not in finding.message + finding.hint
        assert set(finding.as_json()) == {"check", "severity", "file", "message", "hint"}


def test_every_check_is_named_as_its_findings() -> None:
    seen = {check for _, expected in BROKEN.values() for check, _, _ in expected}
    assert seen == {check.__name__ for checks in CHECKS.values() for check in checks}


def test_what_the_scan_found_is_said_too_and_nothing_twice(tmp_path: Path) -> None:
    snapshot = cache_snapshot(tmp_path, BASE)
    for name in ("config.json", ST):
        (snapshot / name).resolve().unlink()
    found = brief(findings(scan(snapshot), Kind.BASE))
    assert found == [("dangling_link", E, "config.json"), ("dangling_link", E, ST)]


def test_an_adapter_without_a_config(tmp_path: Path) -> None:
    found = findings(scan(folder(tmp_path, without(LORA, AC))), Kind.LORA)
    assert brief(found) == [("adapter_config", E, AC)]


def test_a_file_that_goes_away_after_the_scan(tmp_path: Path) -> None:
    found = scan(folder(tmp_path, SHARDED))
    for file in tmp_path.iterdir():
        file.unlink()
    checks = {finding.check for finding in findings(found, Kind.BASE)}
    assert checks == {"config_json", "missing_shard", "safetensors"}
