"""Bodies of `POST models`, each judged by the sandbox's own reading of the contract too."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.model.build import BASE, LORA, folder
from uploader.core.errors import UsageError
from uploader.core.job import Kind
from uploader.model.folder import Folder, scan
from uploader.model.kinds import create_body
from uploader.sandbox.creation import check_create_body

QWEN = "accounts/fireworks/models/qwen3-4b"


def adapter(root: Path, **entries: Any) -> Folder:
    return scan(folder(root, {**LORA, "adapter_config.json": json.dumps(entries).encode()}))


def test_a_base_model(tmp_path: Path) -> None:
    found = scan(folder(tmp_path, BASE))
    body = create_body(found, Kind.BASE, "tiny", fields={"huggingFaceUrl": "https://hf.co/a/b"})
    assert body == {
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
    check_create_body(body)


def test_an_adapter_says_what_the_body_needs(tmp_path: Path) -> None:
    found = scan(folder(tmp_path, LORA))
    said = {"displayName": "Tuned", "description": "by us"}
    body = create_body(found, Kind.LORA, "tuned", fields=said)
    assert body == {
        "modelId": "tuned",
        "model": {
            "kind": "HF_PEFT_ADDON",
            "displayName": "Tuned",
            "description": "by us",
            "peftDetails": {"baseModel": QWEN, "r": 16, "targetModules": ["q_proj", "v_proj"]},
        },
    }
    check_create_body(body)


@pytest.mark.parametrize(
    ("kind", "remote"), [(Kind.EMBEDDING, "EMBEDDING_MODEL"), (Kind.DRAFT, "DRAFT_ADDON")]
)
def test_other_kinds_have_no_details(tmp_path: Path, kind: Kind, remote: str) -> None:
    found = scan(folder(tmp_path, BASE))
    body = create_body(found, kind, "m", fields={"kind": remote, "public": True})
    assert body == {"modelId": "m", "model": {"kind": remote, "public": True}}
    check_create_body(body)


EVERYTHING: dict[str, Any] = {
    "displayName": "Tuned",
    "description": "by us",
    "githubUrl": "https://github.com/a/b",
    "huggingFaceUrl": "https://huggingface.co/a/b",
    "public": True,
    "conversationConfig": {"style": "jinja", "system": "be brief", "template": "{{ x }}"},
    "contextLength": 131072,
    "trainingContextLength": 8192,
    "supportsImageInput": False,
    "supportsTools": True,
    "supportsLora": True,
    "useHfApplyChatTemplate": True,
    "defaultDraftModel": "accounts/a/models/draft",
    "defaultDraftTokenCount": 4,
    "deprecationDate": {"year": 2030, "month": 2, "day": 28},
    "snapshotType": "FULL_SNAPSHOT",
}


@pytest.mark.parametrize("kind", Kind)
def test_every_field_reaches_the_body_of_every_kind(tmp_path: Path, kind: Kind) -> None:
    found = scan(folder(tmp_path, LORA if kind is Kind.LORA else BASE))
    body = create_body(found, kind, "m", fields=EVERYTHING)
    assert body["model"].items() >= EVERYTHING.items()
    check_create_body(body)


def test_details_are_merged(tmp_path: Path) -> None:
    found = scan(folder(tmp_path / "base", BASE))
    given = {"worldSize": 8, "parameterCount": "8030261248", "moe": True}
    same = {"checkpointFormat": "HUGGINGFACE", "huggingfaceFiles": sorted(found.names)}
    body = create_body(found, Kind.BASE, "m", fields={"baseModelDetails": {**given, **same}})
    details = body["model"]["baseModelDetails"]
    assert details == {**given, **same, "huggingfaceFiles": list(found.names)}
    check_create_body(body)
    tuned = scan(folder(tmp_path / "lora", LORA))
    peft = {"baseModel": "accounts/a/models/b", "r": 16, "targetModules": ["v_proj", "q_proj"]}
    merge = {"mergeAddonModelName": "accounts/a/models/c"}
    body = create_body(tuned, Kind.LORA, "m", fields={"peftDetails": {**peft, **merge}})
    assert body["model"]["peftDetails"] == {
        **peft,
        **merge,
        "targetModules": ["q_proj", "v_proj"],
    }
    check_create_body(body)


#: What a user may say that the folder, or another word of his, contradicts.
CONTRADICTIONS: dict[str, tuple[Kind, str | None, dict[str, Any], str]] = {
    "kind": (Kind.BASE, None, {"kind": "DRAFT_ADDON"}, "`kind` base .* says kind DRAFT_ADDON"),
    "files": (
        Kind.BASE,
        None,
        {"baseModelDetails": {"huggingfaceFiles": ["config.json"]}},
        "baseModelDetails.huggingfaceFiles is not what the folder says: config.json, not",
    ),
    "rank": (Kind.LORA, None, {"peftDetails": {"r": 8}}, "peftDetails.r .*: 8, not 16"),
    "targets": (
        Kind.LORA,
        None,
        {"peftDetails": {"targetModules": ["q_proj"]}},
        "targetModules .*: q_proj, not q_proj, v_proj",
    ),
    "base model": (
        Kind.LORA,
        QWEN,
        {"peftDetails": {"baseModel": "accounts/a/models/b"}},
        f"`base_model` is {QWEN}, .* accounts/a/models/b",
    ),
    "details of a base": (
        Kind.EMBEDDING,
        None,
        {"baseModelDetails": {"worldSize": 2}},
        "kind embedding has no baseModelDetails",
    ),
    "details of an adapter": (
        Kind.BASE,
        None,
        {"peftDetails": {"mergeAddonModelName": "accounts/a/models/b"}},
        "kind base has no peftDetails",
    ),
    **{
        f"{kind} of a base": (kind, QWEN, {}, "for adapters")
        for kind in (Kind.BASE, Kind.EMBEDDING, Kind.DRAFT)
    },
}


@pytest.mark.parametrize(
    ("kind", "base_model", "said", "why"), CONTRADICTIONS.values(), ids=CONTRADICTIONS
)
def test_a_contradiction_names_both(
    tmp_path: Path, kind: Kind, base_model: str | None, said: dict[str, Any], why: str
) -> None:
    found = scan(folder(tmp_path, LORA if kind is Kind.LORA else BASE))
    with pytest.raises(UsageError, match=why) as caught:
        create_body(found, kind, "m", base_model=base_model, fields=said)
    assert caught.value.hint


@pytest.mark.parametrize("named", ["Qwen/Qwen3-4B", "/data/qwen", None, 3, "accounts/a/models/"])
def test_a_base_model_is_asked_for_unless_the_adapter_names_one(tmp_path: Path, named: Any) -> None:
    found = adapter(tmp_path, r=8, target_modules=["q_proj"], base_model_name_or_path=named)
    with pytest.raises(UsageError, match="needs `base_model`") as caught:
        create_body(found, Kind.LORA, "m")
    assert "`base_model` accounts/fireworks/models/" in caught.value.hint
    body = create_body(found, Kind.LORA, "m", base_model=QWEN)
    assert body["model"]["peftDetails"]["baseModel"] == QWEN


def test_a_given_base_model_has_to_be_a_resource_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a resource name"):
        create_body(scan(folder(tmp_path, LORA)), Kind.LORA, "m", base_model="qwen3-4b")


def test_a_pattern_becomes_a_list(tmp_path: Path) -> None:
    found = adapter(tmp_path, r=8, target_modules="all-linear")
    body = create_body(found, Kind.LORA, "m", base_model=QWEN)
    assert body["model"]["peftDetails"]["targetModules"] == ["q_proj", "v_proj"]


#: In an adapter_model.bin, which nobody reads.
UNANSWERED: tuple[Any, ...] = ("all-linear", r".*layers\.[0-9]\..*_proj", [], None)


@pytest.mark.parametrize("targets", UNANSWERED)
def test_targets_that_the_folder_cannot_say_may_be_given(tmp_path: Path, targets: Any) -> None:
    found = adapter(tmp_path, r=8, target_modules=targets)
    (tmp_path / "adapter_model.safetensors").rename(tmp_path / "adapter_model.bin")
    found = scan(tmp_path)
    peft = {"targetModules": ["v_proj", "q_proj"]}
    body = create_body(found, Kind.LORA, "m", base_model=QWEN, fields={"peftDetails": peft})
    assert body["model"]["peftDetails"] == {"baseModel": QWEN, "r": 8, **peft}
    check_create_body(body)
    with pytest.raises(UsageError, match="is not a list of module names") as caught:
        create_body(found, Kind.LORA, "m", base_model=QWEN)
    assert "`model_json` with peftDetails.targetModules" in caught.value.hint


def test_weights_that_are_left_out_answer_no_pattern(tmp_path: Path) -> None:
    adapter(tmp_path, r=8, target_modules="all-linear")
    (tmp_path / "adapter_model.bin").write_bytes(b"PK")
    found = scan(tmp_path, exclude=["*.safetensors"])
    with pytest.raises(UsageError, match="is not a list of module names"):
        create_body(found, Kind.LORA, "m", base_model=QWEN)


@pytest.mark.timeout(10)
@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_a_pipe_is_never_opened(tmp_path: Path, name: str) -> None:
    adapter(tmp_path, r=8, target_modules="all-linear")
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    with pytest.raises(UsageError, match=r"adapter_config\.json"):
        create_body(scan(tmp_path), Kind.LORA, "m", base_model=QWEN)


@pytest.mark.parametrize("rank", [None, "16", True, 16.0])
def test_no_body_without_a_rank(tmp_path: Path, rank: Any) -> None:
    found = adapter(tmp_path, r=rank, target_modules=["q_proj"])
    with pytest.raises(UsageError, match="not a number"):
        create_body(found, Kind.LORA, "m", base_model=QWEN)


def test_a_config_that_is_not_json(tmp_path: Path) -> None:
    found = scan(folder(tmp_path, {**LORA, "adapter_config.json": b"{"}))
    with pytest.raises(UsageError, match=r"adapter_config.json is not JSON"):
        create_body(found, Kind.LORA, "m", base_model=QWEN)
