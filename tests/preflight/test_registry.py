"""What preflight is as a whole; each check has its cases in test_check_*.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.model.build import (
    BASE,
    LORA,
    SHARDED,
    brief,
    cache_snapshot,
    check,
    folder,
    without,
    zipped,
)
from uploader.core.errors import UsageError
from uploader.core.job import Kind
from uploader.model.folder import scan
from uploader.preflight.registry import check_names, findings, overrule, render_table

W, E = "warning", "error"
VALID = {
    "base": BASE,
    "sharded": SHARDED,
    "bin": {**without(BASE, "model.safetensors"), "pytorch_model.bin": zipped({"w": 8})},
    "sentencepiece": {**without(BASE, "tokenizer.json"), "tokenizer.model": b"x"},
    "foreign index": {**BASE, "faiss.index.json": b"[]"},
    "lora": LORA,
    "lora with extras": {**LORA, "README.md": b"x", "tokenizer.json": b"", "config.json": b"?"},
    "lora bin": {
        **without(LORA, "adapter_model.safetensors"),
        "adapter_model.bin": zipped({"w": 8}),
    },
}


@pytest.mark.parametrize("files", VALID.values(), ids=VALID)
def test_a_valid_model_has_no_finding(tmp_path: Path, files: dict[str, bytes]) -> None:
    assert check(tmp_path, files) == []


@pytest.mark.parametrize("kind", [Kind.BASE, Kind.EMBEDDING, Kind.DRAFT])
def test_a_model_is_valid_as_any_kind(tmp_path: Path, kind: Kind) -> None:
    assert check(tmp_path, SHARDED, kind) == []


def test_a_valid_cache_snapshot_has_no_finding(tmp_path: Path) -> None:
    assert findings(scan(cache_snapshot(tmp_path, SHARDED)), Kind.BASE) == []


def test_everything_is_reported_at_once_and_errors_first(tmp_path: Path) -> None:
    found = check(tmp_path, {"config.json": b"", "a.safetensors": b"cut"})
    assert brief(found) == [
        ("empty_file", E, "config.json"),
        ("no_tokenizer", E, None),
        ("safetensors_size", E, "a.safetensors"),
        ("unread_weights", W, "a.safetensors"),
    ]


def test_what_the_scan_found_is_reported_too_and_nothing_twice(tmp_path: Path) -> None:
    snapshot = cache_snapshot(tmp_path, BASE)
    for name in ("config.json", "model.safetensors"):
        (snapshot / name).resolve().unlink()
    found = brief(findings(scan(snapshot), Kind.BASE))
    assert found == [("dangling_link", E, "config.json"), ("dangling_link", E, "model.safetensors")]


def test_a_file_that_goes_away_after_the_scan_ends_no_check(tmp_path: Path) -> None:
    found = scan(folder(tmp_path, SHARDED))
    for file in tmp_path.iterdir():
        file.unlink()
    checks = {finding.check for finding in findings(found, Kind.BASE)}
    assert {"config_json", "index_json", "safetensors_header"} <= checks


def test_an_allowed_check_warns_instead_of_refusing(tmp_path: Path) -> None:
    found = check(tmp_path, without(BASE, "config.json", "model.safetensors"))
    assert brief(overrule(found, {"config_json"})) == [
        ("no_weights", E, None),
        ("config_json", W, "config.json"),
    ]


def test_nothing_to_send_cannot_be_allowed(tmp_path: Path) -> None:
    found = check(tmp_path, {})
    assert overrule(found, {"empty_folder"}) == found


def test_an_unknown_check_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UsageError) as refused:
        overrule([], {"config_jsn"})
    assert refused.value.hint == "did you mean config_json?"
    with pytest.raises(UsageError) as refused:
        overrule([], {"xyzzy"})
    assert "lfs_pointer" in refused.value.hint


def test_every_check_has_a_name_of_its_own_and_a_sentence() -> None:
    assert len(set(check_names())) == len(check_names())
    rows = render_table().splitlines()[2:]
    assert len(rows) == len(check_names())
    for row in rows:
        _, name, kinds, effect, about, _ = (cell.strip() for cell in row.split("|"))
        assert name.strip("`") in check_names()
        assert kinds
        assert effect in {"refuses", "warns", "refuses or warns"}
        assert about.endswith(".")
