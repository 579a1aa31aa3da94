from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from fireworks.types.base_model_details_param import BaseModelDetailsParam
from fireworks.types.model_param import ModelParam
from fireworks.types.peft_details_param import PeftDetailsParam
from pydantic import BaseModel
from pydantic.alias_generators import to_camel

from tests.model.test_create_body import EVERYTHING
from uploader.core.errors import NotFound, UsageError
from uploader.core.job import Kind
from uploader.model import fields
from uploader.model.fields import merged, read_fields

MODEL = "accounts/a/models/m"


def read(root: Path, raw: bytes) -> dict[str, Any]:
    (root / "fields.json").write_bytes(raw)
    return read_fields(root / "fields.json")


GOOD: dict[str, dict[str, Any]] = {
    "nothing": {},
    "everything": EVERYTHING,
    "longest names": {"displayName": "ä" * 63, "description": "d" * 999},
    "http": {"githubUrl": "http://localhost:8080/x"},
    "a year": {"deprecationDate": {"year": 2030}},
    "a month": {"deprecationDate": {"year": 2030, "month": 2, "day": 0}},
    "leap day": {"deprecationDate": {"year": 2028, "month": 2, "day": 29}},
    "style": {"conversationConfig": {"style": "llama-chat"}},
    "tokens without a draft": {"defaultDraftTokenCount": 1},
    "count": {"baseModelDetails": {"parameterCount": "9223372036854775807"}},
    "details": {
        "baseModelDetails": {
            "worldSize": 1,
            "checkpointFormat": "HUGGINGFACE",
            "huggingfaceFiles": ["a"],
            "moe": False,
            "tunable": True,
            "modelType": "llama",
            "supportsFireattention": True,
            "supportsMtp": False,
        }
    },
    "ranks": {"peftDetails": {"r": 64, "baseModel": MODEL, "targetModules": ["q_proj"]}},
    **{kind: {"kind": kind.remote} for kind in Kind},
}


@pytest.mark.parametrize("given", GOOD.values(), ids=GOOD)
def test_good_fields_stay_as_they_were_given(tmp_path: Path, given: dict[str, Any]) -> None:
    assert merged({}, read(tmp_path, json.dumps(given).encode())) == given


#: What is given, what the message has to name, what the hint says.
BAD: dict[str, tuple[Any, str, str]] = {
    "snake case": ({"display_name": "x"}, "display_name", "did you mean displayName?"),
    "misspelt": ({"huggingfaceUrl": "https://h/f"}, "huggingfaceUrl", "huggingFaceUrl?"),
    "misspelt files": (
        {"baseModelDetails": {"huggingFaceFiles": []}},
        "baseModelDetails.huggingFaceFiles",
        "baseModelDetails.huggingfaceFiles?",
    ),
    "on the wrong level": ({"worldSize": 2}, "worldSize", "baseModelDetails.worldSize?"),
    "unheard of": ({"zzz": 1}, "zzz", "no such field"),
    "the whole body": ({"model": {}}, "unknown field model", 'without "model" around'),
    "the id": ({"modelId": "x"}, "modelId", "`model_id`"),
    "a cluster": ({"cluster": "x"}, "cluster", "own storage"),
    "Fireworks' own": ({"state": "READY"}, "state", "only Fireworks sets it"),
    "its precision": (
        {"baseModelDetails": {"defaultPrecision": "FP16"}},
        "defaultPrecision",
        "only Fireworks sets it",
    ),
    "long name": ({"displayName": "x" * 64}, "displayName cannot be xxx", "63 characters"),
    "long text": ({"description": "x" * 1000}, "(1000 characters)", "999 characters"),
    "name no text": ({"displayName": 3}, "displayName cannot be 3", "string"),
    "no Unicode": ({"displayName": "\ud800"}, "displayName", "unicode"),
    "unknown kind": ({"kind": "base"}, "kind cannot be base", "HF_BASE_MODEL, HF_PEFT_ADDON"),
    "another's kind": ({"kind": "HF_TEFT_ADDON"}, "HF_TEFT_ADDON", "it may be"),
    "teft": ({"teftDetails": {}}, "teftDetails", "uploader does not create"),
    "no URL": ({"huggingFaceUrl": "org/name"}, "org/name", "write a whole URL"),
    "ftp": ({"githubUrl": "ftp://h/f"}, "githubUrl", "write a whole URL"),
    "URL with a space": ({"githubUrl": "https://h/a b"}, "githubUrl", "write a whole URL"),
    "URL with half a character": ({"githubUrl": "https://h/\ud800"}, "githubUrl", "whole URL"),
    "URL with a control character": ({"githubUrl": "https://h/\7"}, "githubUrl", "whole URL"),
    "broken URL": ({"githubUrl": "https://[h/"}, "githubUrl", "IPv6"),
    "public no bool": ({"public": "true"}, "public cannot be true", "boolean"),
    "public a number": ({"supportsTools": 1}, "supportsTools cannot be 1", "boolean"),
    "no style": ({"conversationConfig": {}}, "conversationConfig.style is missing", "needs it"),
    "empty style": ({"conversationConfig": {"style": ""}}, "conversationConfig.style", "at least"),
    "no object": ({"conversationConfig": "jinja"}, "conversationConfig cannot be jinja", "dict"),
    "context zero": ({"contextLength": 0}, "contextLength cannot be 0", "greater"),
    "context text": ({"contextLength": "8192"}, "contextLength", "integer"),
    "context half": ({"contextLength": 1.5}, "contextLength", "integer"),
    "context no int32": ({"trainingContextLength": 1 << 31}, "trainingContextLength", "less"),
    "draft no resource": (
        {"defaultDraftModel": "m", "defaultDraftTokenCount": 3},
        "defaultDraftModel cannot be m",
        "accounts/ACCOUNT/models/MODEL",
    ),
    "draft without tokens": (
        {"defaultDraftModel": MODEL},
        "needs defaultDraftTokenCount",
        "`default_draft_token_count`",
    ),
    "date no year": ({"deprecationDate": {"month": 3}}, "deprecationDate.year", "needs it"),
    "date text": ({"deprecationDate": "2030-01-01"}, "deprecationDate cannot be 2030", "dict"),
    "day no month": ({"deprecationDate": {"year": 2030, "day": 3}}, "deprecationDate", "month"),
    "no such day": (
        {"deprecationDate": {"year": 2030, "month": 2, "day": 29}},
        "deprecationDate",
        "day",
    ),
    "month 13": ({"deprecationDate": {"year": 2030, "month": 13}}, "deprecationDate.month", "12"),
    "snapshot": ({"snapshotType": "HALF"}, "snapshotType cannot be HALF", "FULL_SNAPSHOT"),
    "count a number": (
        {"baseModelDetails": {"parameterCount": 8}},
        "baseModelDetails.parameterCount cannot be 8",
        "string",
    ),
    "count of words": (
        {"baseModelDetails": {"parameterCount": "8B"}},
        "parameterCount cannot be 8B",
        "in quotes",
    ),
    "count no int64": ({"baseModelDetails": {"parameterCount": str(1 << 63)}}, "922", "in quotes"),
    "no GPU": ({"baseModelDetails": {"worldSize": 0}}, "baseModelDetails.worldSize", "greater"),
    "format": ({"baseModelDetails": {"checkpointFormat": "NATIVE"}}, "NATIVE", "HUGGINGFACE"),
    "rank 3": ({"peftDetails": {"r": 3}}, "peftDetails.r cannot be 3", "4"),
    "rank 65": ({"peftDetails": {"r": 65}}, "peftDetails.r cannot be 65", "64"),
    "base model": ({"peftDetails": {"baseModel": "x"}}, "peftDetails.baseModel", "resource name"),
    "no target": ({"peftDetails": {"targetModules": []}}, "targetModules", "at least 1"),
    "target no text": ({"peftDetails": {"targetModules": [3]}}, "targetModules.0", "string"),
}


@pytest.mark.parametrize(("given", "what", "hint"), BAD.values(), ids=BAD)
def test_a_bad_field_is_named(tmp_path: Path, given: Any, what: str, hint: str) -> None:
    found = read(tmp_path, json.dumps(given).encode())
    with pytest.raises(UsageError) as caught:
        merged({}, found)
    assert what in caught.value.message
    assert hint in caught.value.hint
    assert "\n" not in caught.value.message + caught.value.hint


@pytest.mark.parametrize(
    ("raw", "what"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"\xff\xfe\xff", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b'{"public": true, "public": false}', "public is there twice"),
        (b'{"baseModelDetails": {"moe": true, "moe": true}}', "moe is there twice"),
        (b"[]", "is not a JSON object"),
        (b"null", "is not a JSON object"),
        (b'{"description": "' + b"x" * 4_000_000 + b'"}', "is not JSON"),
        (b"{}" + b" " * 4_000_000, "is not a JSON object"),
    ],
)
def test_a_file_that_is_not_an_object(tmp_path: Path, raw: bytes, what: str) -> None:
    with pytest.raises(UsageError, match=what):
        read(tmp_path, raw)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no file"):
        read_fields(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        read_fields(tmp_path)


def test_null_is_not_given(tmp_path: Path) -> None:
    raw = b'\xef\xbb\xbf{"public": null, "baseModelDetails": {"worldSize": 2, "moe": null}}'
    assert read(tmp_path, raw) == {"baseModelDetails": {"worldSize": 2}}


def test_flags_and_file_may_agree() -> None:
    flags, file = {"displayName": "A", "public": True}, {"displayName": "A", "supportsTools": True}
    assert merged(flags, file) == {**flags, **file}
    halves = {"defaultDraftModel": MODEL}, {"defaultDraftTokenCount": 3}
    assert merged(*halves) == {**halves[0], **halves[1]}


@pytest.mark.parametrize(("flag", "file"), [("A", "B"), (True, False), (True, 1), (1, True)])
def test_flags_and_file_may_not_differ(flag: Any, file: Any) -> None:
    with pytest.raises(UsageError, match=f"`displayName` is {flag}, `model_json` says .* {file}"):
        merged({"displayName": flag}, {"displayName": file})


def test_a_bad_flag_is_called_by_its_name() -> None:
    with pytest.raises(UsageError, match=r"^`huggingFaceUrl` cannot be org/name$"):
        merged({"huggingFaceUrl": "org/name"}, {})


def test_the_sdk_has_no_field_that_cannot_be_given() -> None:
    pairs: list[tuple[type[BaseModel], Any]] = [
        (fields.Fields, ModelParam),
        (fields.BaseModelDetails, BaseModelDetailsParam),
        (fields.PeftDetails, PeftDetailsParam),
    ]
    for ours, theirs in pairs:
        names = {to_camel(name) for name in ours.model_fields}
        assert {to_camel(name) for name in get_type_hints(theirs)} <= names
