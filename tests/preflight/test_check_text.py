"""Tokenizer, chat template and fireworks.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.model.build import BASE, LORA, Brief, brief, check, without
from uploader.core.job import Kind
from uploader.preflight.checks import text as module
from uploader.preflight.registry import overrule

CONFIG, TOKENIZER, FIREWORKS = "tokenizer_config.json", "tokenizer.json", "fireworks.json"
W, E = "warning", "error"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
MUTE = {**BASE, CONFIG: b'{"model_max_length": 8192}'}
TEMPLATES = [
    {"name": "default", "template": "{{ messages }}"},
    {"name": "tool_use", "template": "{{ tools }}"},
]
OLDER = {"conversation_config": {"style": "jinja", "args": {"template": "{{ messages }}"}}}
#: Every key of the documentation, with its values as they are printed there.
DOCUMENTED = {
    "defaults": {
        "stop": ["<|im_end|>"],
        "max_tokens": 1024,
        "temperature": 0.7,
        "top_k": 50,
        "top_p": 1,
        "min_p": 0.0,
        "typical_p": 1.0,
        "frequency_penalty": 0.0,
        "presence_penalty": -0.5,
        "repetition_penalty": 1.0,
    },
    "model_arch": None,
    "model_config_name": None,
    "has_lora": True,
    "has_teft": False,
}


def fireworks(found: Any, base: dict[str, bytes] = BASE) -> dict[str, bytes]:
    return {**base, FIREWORKS: json.dumps(found).encode()}


def defaults(**entries: Any) -> dict[str, bytes]:
    return fireworks({"defaults": entries})


GOOD: dict[str, dict[str, bytes]] = {
    "whole": BASE,
    "sentencepiece": {**without(BASE, TOKENIZER), "tokenizer.model": b"x"},
    "tiktoken": {**without(BASE, TOKENIZER), "tiktoken.model": b"x"},
    "vocabulary and merges": {
        **without(BASE, TOKENIZER),
        "vocab.json": b'{"a": 1}',
        "merges.txt": b"x",
    },
    "named templates": {**BASE, CONFIG: json.dumps({"chat_template": TEMPLATES}).encode()},
    "template in both places": {**BASE, "chat_template.jinja": b"{{ messages }}"},
    **{
        f"tokenizer in {name}": {**without(BASE, TOKENIZER), name: b"x"}
        for name in (
            *("tokenizer.model.v3", "tekken.json", "qwen.tiktoken", "spiece.model", "vocab.txt"),
            *("sentencepiece.bpe.model", "source.spm"),
        )
        if name != "tekken.json"
    },
    "tokenizer of Mistral": {**without(BASE, TOKENIZER), "tekken.json": b"{}"},
    "tokenizer of bytes": {
        **without(BASE, TOKENIZER),
        CONFIG: b'{"tokenizer_class": "ByT5Tokenizer", "chat_template": "x"}',
    },
    "template in fireworks.json": fireworks(OLDER, MUTE),
    "fireworks as documented": fireworks(DOCUMENTED),
    "fireworks as documented before": fireworks(OLDER),
    "fireworks of nothing": fireworks({}),
    "fireworks of nulls": fireworks(
        {"defaults": dict.fromkeys(module.DEFAULTS), "conversation_config": None}
    ),
    "one word to stop at": defaults(stop="</s>"),
    "a whole number as a float": defaults(max_tokens=1024.0),
    "an adapter's": fireworks({"has_lora": True}, LORA),
}
BAD: dict[str, tuple[dict[str, bytes], Brief]] = {
    # "tokenizer file(s) such as tokenizer.model, tokenizer.json" (the vendor's list of what a
    # base model must have); what reads text into tokens is in none of these.
    "no tokenizer": (without(BASE, TOKENIZER, CONFIG), [("no_tokenizer", E, None)]),
    **{
        f"{name} for a tokenizer": (
            {**without(BASE, TOKENIZER), name: b"{}"},
            [("no_tokenizer", E, None)],
        )
        for name in (
            *("tokenizer.json.bak", "tokenizer_old.json", "tokenizer (1).json", "merges.txt"),
            *("special_tokens_map.json", "added_tokens.json", "tokenizer.json~"),
        )
    },
    "a tokenizer by code of its own": (
        {
            **without(BASE, TOKENIZER),
            "tokenization_x.py": b"x",
            CONFIG: b'{"auto_map": {"AutoTokenizer": ["tokenization_x.X", null]},'
            b' "chat_template": "x"}',
        },
        [("no_tokenizer", W, None)],
    ),
    "template in a file": (
        {**MUTE, "chat_template.jinja": b"{{ messages }}"},
        [("chat_template", W, "chat_template.jinja")],
    ),
    "template in an object": (
        {**MUTE, "chat_template.json": b'{"chat_template": "x"}'},
        [("chat_template", W, "chat_template.json")],
    ),
    "template of a processor": (
        {**MUTE, "processor_config.json": b'{"chat_template": "x"}'},
        [("chat_template", W, "processor_config.json")],
    ),
    "no template": (MUTE, [("chat_template", W, CONFIG)]),
    "no settings of a tokenizer": (without(BASE, CONFIG), [("chat_template", W, CONFIG)]),
    **{
        f"template {found}": (
            {**BASE, CONFIG: f'{{"chat_template": {found}}}'.encode()},
            [("chat_template", W, CONFIG)],
        )
        for found in ('""', "[]", "null")
    },
    "no template in fireworks.json": (fireworks(DOCUMENTED, MUTE), [("chat_template", W, CONFIG)]),
    "settings empty": ({**BASE, CONFIG: b""}, [("empty_file", E, CONFIG)]),
    "settings a pointer": ({**BASE, CONFIG: POINTER}, [("lfs_pointer", E, CONFIG)]),
    "settings cut": ({**BASE, CONFIG: b'{"chat'}, [("broken_json", E, CONFIG)]),
    "fireworks empty, so left out": ({**MUTE, FIREWORKS: b""}, [("chat_template", W, CONFIG)]),
    "fireworks a pointer": ({**MUTE, FIREWORKS: POINTER}, [("lfs_pointer", E, FIREWORKS)]),
    "fireworks cut": ({**BASE, FIREWORKS: b'{"defaults": '}, [("fireworks_json", E, FIREWORKS)]),
    "fireworks cut, no template": (
        {**MUTE, FIREWORKS: b'{"conv'},
        [("fireworks_json", E, FIREWORKS)],
    ),
    "fireworks no object": (fireworks([DOCUMENTED]), [("fireworks_json", E, FIREWORKS)]),
    "fireworks no JSON": (
        {**BASE, FIREWORKS: b"defaults: {}"},
        [("fireworks_json", E, FIREWORKS)],
    ),
    "an adapter's cut": ({**LORA, FIREWORKS: b"{"}, [("fireworks_json", E, FIREWORKS)]),
    **{
        f"fireworks {name}": (files, [("fireworks_json", W, FIREWORKS)])
        for name, files in {
            "unknown key": fireworks({"default": {}}),
            "several unknown keys": fireworks({"a": 1, "b\n": 2, "c": 3}),
            "default at the top": fireworks({"temperature": 1}),
            "unknown default": defaults(temprature=0.7),
            "unknown word of a conversation": fireworks({"conversation_config": {"stile": "x"}}),
            "long key": fireworks({"k" * 5000: 1}),
            "defaults no object": fireworks({"defaults": [1]}),
            "conversation no object": fireworks({"conversation_config": "jinja"}),
            "style no string": fireworks({"conversation_config": {"style": 1}}),
            "args no object": fireworks({"conversation_config": {"args": "x"}}),
            "arch no string": fireworks({"model_arch": 3}),
            "name no string": fireworks({"model_config_name": ["x"]}),
            "lora no flag": fireworks({"has_lora": "yes"}),
            "teft no flag": fireworks({"has_teft": 0}),
            "stop a number": defaults(stop=3),
            "stop with a number": defaults(stop=["x", 3]),
            "tokens no number": defaults(max_tokens="1024"),
            "tokens in parts": defaults(max_tokens=10.5),
            "a flag for a number": defaults(top_p=True),
            "a string for a number": defaults(temperature="0.7"),
            "a list for a number": defaults(repetition_penalty=[1.0]),
        }.items()
    },
    "fireworks tokens without end": (
        {**BASE, FIREWORKS: b'{"defaults": {"max_tokens": Infinity}}'},
        [("json_dialect", W, FIREWORKS), ("fireworks_json", W, FIREWORKS)],
    ),
    "fireworks wrong in three ways": (
        fireworks({"has_lora": 1, "defaults": {"top_k": "x", "topp": 1}}),
        [("fireworks_json", W, FIREWORKS)] * 3,
    ),
}


def test_only_a_base_model_chats(tmp_path: Path) -> None:
    for kind in (Kind.EMBEDDING, Kind.DRAFT):
        assert check(tmp_path / kind, MUTE, kind) == []


def test_an_adapter_and_a_draft_have_the_tokenizer_of_another_model(tmp_path: Path) -> None:
    files = without(BASE, TOKENIZER, CONFIG)
    assert check(tmp_path / "draft", files, Kind.DRAFT) == []
    assert check(tmp_path / "lora", LORA) == []
    embedding = check(tmp_path / "embedding", files, Kind.EMBEDDING)
    assert brief(embedding) == [("no_tokenizer", W, None)]


def test_a_base_model_without_a_tokenizer_can_be_allowed(tmp_path: Path) -> None:
    found = check(tmp_path, without(BASE, TOKENIZER))
    assert "only its settings" in found[0].message
    assert brief(overrule(found, {"no_tokenizer"})) == [("no_tokenizer", W, None)]


@pytest.mark.parametrize(
    ("files", "message", "hint"),
    [
        (
            defaults(temprature=0.7, zzz=1),
            "fireworks.json: defaults.temprature and 1 more is not a known key",
            "did you mean defaults.temperature?",
        ),
        (
            fireworks({"zzz": 1}),
            "fireworks.json: zzz is not a known key",
            f"the known keys are {', '.join(module.KEYS)}",
        ),
        (
            fireworks({"top_p": 0.9}),
            "fireworks.json: top_p is not a known key",
            "move it into defaults",
        ),
        (
            defaults(max_tokens="1024"),
            "fireworks.json: defaults.max_tokens is not a whole number",
            "fix it, or remove it: every key is optional",
        ),
    ],
)
def test_a_hint_names_the_nearest_key(
    tmp_path: Path, files: dict[str, bytes], message: str, hint: str
) -> None:
    found = check(tmp_path, files)
    assert [(finding.message, finding.hint) for finding in found] == [(message, hint)]
