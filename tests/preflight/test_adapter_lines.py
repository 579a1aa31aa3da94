"""However long the values of an adapter are: what is said of them stays one short line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.model.build import LORA, check, folder
from tests.preflight.adapters import CONFIG, WEIGHTS, adapter, base_weights, lora, paths, plain
from uploader.core.errors import UsageError
from uploader.core.job import Kind
from uploader.model.adapter import brief, quoted
from uploader.model.folder import scan
from uploader.model.kinds import create_body, detect_kind
from uploader.preflight.registry import findings

LONG = "x\n" * 3000
LONG_LIST = ["q" * 5000, "v\n" * 5000, *"abcdefgh"]
ONE = lora(paths("q_proj"))
LONG_PATH = f"model.layers.0.{LONG}.q_proj"
A0 = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("q_proj", "q_proj"),
        ("", ""),
        ("two\nlines \ud800", "two\\nlines \\ud800"),
        ("a" * 60, "a" * 60),
        ("a" * 30 + "b" * 31, "a" * 29 + "…" + "b" * 30),
        ("a" * 9999 + "z", "a" * 29 + "…" + "a" * 29 + "z"),
    ],
)
def test_text_becomes_part_of_a_line(text: str, line: str) -> None:
    assert brief(text) == line


@pytest.mark.parametrize(
    "value", ["\n" * 9999, [*range(9999)], ["x" * 9999] * 9999, {"x": ["x" * 9999]}, 10**4000]
)
def test_a_value_becomes_part_of_a_line(value: Any) -> None:
    assert quoted(value).isprintable()
    assert len(quoted(value)) <= 60


def test_a_short_value_is_quoted_whole() -> None:
    assert quoted(["q_proj", 3, None, {"x": "y"}]) == "['q_proj', 3, None, {'x': 'y'}]"
    nested: list[Any] = []
    for _ in range(900):
        nested = [nested]
    assert quoted(nested).startswith("[[[")


#: By the checks that are to refuse them.
FOLDERS: dict[str, tuple[dict[str, bytes], set[str]]] = {
    "rank": (plain("q_proj", r=LONG), {"lora_rank"}),
    "ranks": (plain("q_proj", r=[[LONG] * 9] * 9), {"lora_rank"}),
    "method": (plain("q_proj", peft_type=LONG), {"peft_type"}),
    "methods": (plain("q_proj", peft_type=LONG_LIST), {"peft_type"}),
    "targets": (adapter([[LONG]], ONE), {"lora_targets"}),
    "target": (adapter([LONG], ONE), {"lora_targets"}),
    "few targets": (adapter([f"{n}{LONG}" for n in range(4)], ONE), {"lora_targets"}),
    "many targets": (adapter(["wte", *(f"x{n}" for n in range(9999))], ONE), {"lora_targets"}),
    "modules": (adapter(["q_proj"], lora([LONG_PATH], 8)), {"lora_tensors"}),
    "axes": (adapter(["q_proj"], ONE | {A0: (1,) * 60}), {"lora_tensors"}),
    "countless axes": (adapter(["q_proj"], ONE | {A0: (1,) * 3000}), {"safetensors_header"}),
}


@pytest.mark.parametrize(("files", "refused"), FOLDERS.values(), ids=FOLDERS)
def test_a_finding_is_one_short_line(
    tmp_path: Path, files: dict[str, bytes], refused: set[str]
) -> None:
    found = check(tmp_path, files)
    assert {finding.check for finding in found if finding.severity == "error"} == refused
    for finding in found:
        assert len(finding.message) < 200
        assert finding.message.isprintable()


@pytest.mark.parametrize("path", [LONG_PATH, f"model.layers.0.{'x.' * 999}q_proj"])
def test_a_misfit_is_reported_in_one_short_line(tmp_path: Path, path: str) -> None:
    base = scan(folder(tmp_path / "base", base_weights([path]) | {CONFIG: b"{}"}))
    wider = lora([path]) | {f"base_model.model.{path}.lora_B.weight": (48, 16)}
    seen = scan(folder(tmp_path / "adapter", adapter(["q_proj"], wider)))
    found = findings(seen, Kind.LORA, base)
    assert [finding.check for finding in found] == ["lora_base"]
    assert all(len(f.message) < 200 and f.message.isprintable() for f in found)


#: What is wrong in an adapter's config, or in what the user says besides.
REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "rank": ({"r": "8" * 5000}, {}),
    "ranks": ({"r": [*range(5000)]}, {}),
    "rank of ranks": ({"r": {str(n): {"x": "\n" * 99} for n in range(5000)}}, {}),
    "targets": ({"target_modules": {"x": LONG_LIST}}, {}),
    "expression": ({"target_modules": "(" * 5000}, {}),
    "given targets": ({}, {"targetModules": LONG_LIST}),
    "own targets": ({"target_modules": LONG_LIST}, {"targetModules": ["q_proj"]}),
    "base": ({"base_model_name_or_path": LONG}, {}),
    "bases": ({"base_model_name_or_path": LONG_LIST}, {}),
}


@pytest.mark.parametrize(("entries", "peft"), REFUSED.values(), ids=REFUSED)
def test_a_refusal_is_one_short_line(
    tmp_path: Path, entries: dict[str, Any], peft: dict[str, Any]
) -> None:
    whole = {"r": 8, "target_modules": ["q_proj"], **entries}
    seen = scan(folder(tmp_path, {CONFIG: json.dumps(whole).encode(), WEIGHTS: b"cut"}))
    with pytest.raises(UsageError) as caught:
        create_body(seen, Kind.LORA, "m", fields={"peftDetails": peft})
    assert len(caught.value.message) < 200
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("base", ["x" * 5000, "x\n" * 5000])
def test_a_wrong_flag_is_reported_in_one_short_line(tmp_path: Path, base: str) -> None:
    with pytest.raises(UsageError, match="is not a resource name") as caught:
        create_body(scan(folder(tmp_path, LORA)), Kind.LORA, "m", base_model=base)
    assert len(caught.value.message) < 160
    assert caught.value.message.isprintable()


def test_the_reason_for_a_kind_is_one_short_line(tmp_path: Path) -> None:
    named = json.dumps({"architectures": [f"Class{n}\n" for n in range(999)]})
    because = detect_kind(scan(folder(tmp_path, {"config.json": named.encode()})))[1]
    assert len(because) < 100
    assert because.isprintable()
