from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.model.build import BASE, LORA, folder
from uploader.core.errors import UsageError
from uploader.core.job import Kind
from uploader.model.folder import Folder, scan
from uploader.model.kinds import create_body, detect_kind, narrow

QWEN = "accounts/fireworks/models/qwen3-4b"


def adapter(root: Path, *, weights: bool = True, **config: Any) -> Folder:
    files = {**LORA, "adapter_config.json": json.dumps(config).encode()}
    if not weights:
        files["adapter_model.bin"] = files.pop("adapter_model.safetensors")
    return scan(folder(root, files))


def test_a_base_model(tmp_path: Path) -> None:
    found = scan(folder(tmp_path, BASE))
    assert detect_kind(found) is Kind.BASE
    assert narrow(found, Kind.BASE) is found
    assert create_body(found, Kind.BASE, "tiny", hugging_face_url="https://hf.co/a/b") == {
        "modelId": "tiny",
        "model": {
            "kind": "HF_BASE_MODEL",
            "huggingFaceUrl": "https://hf.co/a/b",
            "baseModelDetails": {
                "checkpointFormat": "HUGGINGFACE",
                "worldSize": 1,
                "huggingfaceFiles": list(found.names),
            },
        },
    }


def test_an_adapter_says_what_the_body_needs(tmp_path: Path) -> None:
    found = scan(folder(tmp_path, LORA))
    assert detect_kind(found) is Kind.LORA
    body = create_body(found, Kind.LORA, "tuned", display_name="Tuned", description="by us")
    assert body == {
        "modelId": "tuned",
        "model": {
            "kind": "HF_PEFT_ADDON",
            "displayName": "Tuned",
            "description": "by us",
            "peftDetails": {"baseModel": QWEN, "r": 16, "targetModules": ["q_proj", "v_proj"]},
        },
    }


def test_an_adapter_whose_config_is_refused_is_an_adapter_still(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").symlink_to("nowhere")
    assert detect_kind(scan(tmp_path)) is Kind.LORA


def test_an_adapter_sends_its_own_files_only(tmp_path: Path) -> None:
    extras = {"README.md": b"x", "tokenizer.json": b"", "adapter_model.bin": b"x"}
    found = scan(folder(tmp_path, {**LORA, **extras, "fireworks.json": b"{}"}))
    narrowed = narrow(found, Kind.LORA)
    assert set(narrowed.names) == {*LORA, "fireworks.json"}
    assert {left.path: left.why for left in narrowed.left_out} == {
        "README.md": "not a file of an adapter",
        "tokenizer.json": "not a file of an adapter",
        "adapter_model.bin": "adapter_model.safetensors has the same weights",
    }
    assert narrow(narrowed, Kind.LORA) == narrowed


def test_a_problem_of_a_file_that_is_not_sent_is_none(tmp_path: Path) -> None:
    (folder(tmp_path, LORA) / "tokenizer.json").symlink_to("nowhere")
    found = scan(tmp_path)
    assert found.findings
    assert narrow(found, Kind.LORA).findings == ()


@pytest.mark.parametrize("named", ["Qwen/Qwen3-4B", "/data/qwen", None, 3, "accounts/a/models/"])
def test_a_base_model_is_asked_for_unless_the_adapter_names_one(tmp_path: Path, named: Any) -> None:
    found = adapter(tmp_path, r=8, target_modules=["q_proj"], base_model_name_or_path=named)
    with pytest.raises(UsageError, match="needs --base-model") as caught:
        create_body(found, Kind.LORA, "m")
    assert "--base-model accounts/fireworks/models/" in caught.value.hint
    body = create_body(found, Kind.LORA, "m", base_model=QWEN)
    assert body["model"]["peftDetails"]["baseModel"] == QWEN


def test_a_given_base_model_has_to_be_a_resource_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no resource name"):
        create_body(scan(folder(tmp_path, LORA)), Kind.LORA, "m", base_model="qwen3-4b")


def test_a_base_model_has_no_base_model(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="for adapters"):
        create_body(scan(folder(tmp_path, BASE)), Kind.BASE, "m", base_model=QWEN)


PLAIN = [
    ("q_proj", ["q_proj"]),
    ("q_proj|v_proj", ["q_proj", "v_proj"]),
    ("(q_proj|v_proj)", ["q_proj", "v_proj"]),
    (r".*\.(q_proj|v_proj)$", ["q_proj", "v_proj"]),
    (r"^.*?\.(?:q_proj|v_proj)", ["q_proj", "v_proj"]),
    (".*(q_proj|v_proj)", ["q_proj", "v_proj"]),
]
PATTERNS = ["all-linear", r"model\.layers\.\d+\..*_proj", ".*_proj"]


@pytest.mark.parametrize(("pattern", "names"), PLAIN)
def test_a_plain_pattern_is_a_list_of_names(tmp_path: Path, pattern: str, names: list[str]) -> None:
    found = adapter(tmp_path, weights=False, r=8, target_modules=pattern)
    body = create_body(found, Kind.LORA, "m", base_model=QWEN)
    assert body["model"]["peftDetails"]["targetModules"] == names


@pytest.mark.parametrize("pattern", [*PATTERNS, "q_proj"])
def test_the_tensors_answer_any_pattern(tmp_path: Path, pattern: str) -> None:
    found = adapter(tmp_path, r=8, target_modules=pattern)
    body = create_body(found, Kind.LORA, "m", base_model=QWEN)
    assert body["model"]["peftDetails"]["targetModules"] == ["k_proj"]


@pytest.mark.parametrize("targets", [*PATTERNS, "", None, [], [3], {}])
def test_targets_nobody_can_name(tmp_path: Path, targets: Any) -> None:
    found = adapter(tmp_path, weights=False, r=8, target_modules=targets)
    with pytest.raises(UsageError, match="target_modules") as caught:
        create_body(found, Kind.LORA, "m", base_model=QWEN)
    assert "as a list" in caught.value.hint


def test_a_config_that_is_no_json(tmp_path: Path) -> None:
    found = scan(folder(tmp_path, {**LORA, "adapter_config.json": b"{"}))
    with pytest.raises(UsageError, match=r"adapter_config.json is not JSON"):
        create_body(found, Kind.LORA, "m", base_model=QWEN)


@pytest.mark.parametrize(("option", "most"), [("display_name", 63), ("description", 999)])
def test_words_have_a_length(tmp_path: Path, option: str, most: int) -> None:
    found = scan(folder(tmp_path, BASE))
    words: dict[str, Any] = {option: "x" * most}
    assert create_body(found, Kind.BASE, "m", **words)
    with pytest.raises(UsageError, match=f"{most + 1} characters"):
        create_body(found, Kind.BASE, "m", **{option: "x" * (most + 1)})
