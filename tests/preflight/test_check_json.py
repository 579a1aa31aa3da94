"""JSON as loaders understand it: the encoding, the mark at its beginning, Python's own numbers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.model.build import BASE, INDEX, LORA, SHARDED, Brief, brief, check

W, E = "warning", "error"
MARK = b"\xef\xbb\xbf"
CONFIG, TOKENIZER, SETTINGS = "config.json", "tokenizer.json", "tokenizer_config.json"
ADAPTER_CONFIG = "adapter_config.json"
LONG = b'{"a": "' + b"x" * 4_000_000 + b'"}'


def marked(files: dict[str, bytes], name: str) -> dict[str, bytes]:
    return {**files, name: MARK + files[name]}


def endless(word: str) -> dict[str, bytes]:
    named = '{"architectures": ["LlamaForCausalLM"], "time_step_limit": [0.0, %s]}'
    return {**BASE, CONFIG: (named % word).encode()}


GOOD: dict[str, dict[str, bytes]] = {
    "a mark nobody reads": {**BASE, "results.json": MARK + b"{}"},
    "copies that nobody reads": {
        **BASE,
        "tokenizer_old.json": MARK + b"{",
        "tokenizer (1).json": BASE[TOKENIZER].decode().encode("utf-16"),
        "tokenizer_2.json": b"",
    },
    "a NaN nobody reads": {**BASE, "results.json": b'{"a": NaN}'},
    "the words in a string": {
        **BASE,
        CONFIG: b'{"architectures": ["LlamaForCausalLM"], "a": "NaN Infinity"}',
    },
}
BAD: dict[str, tuple[dict[str, bytes], Brief]] = {
    **{
        f"a mark in {name}": (marked(files, name), [("json_dialect", E, name)])
        for name, files in {
            CONFIG: BASE,
            TOKENIZER: BASE,
            SETTINGS: BASE,
            "generation_config.json": BASE,
            INDEX: SHARDED,
            ADAPTER_CONFIG: LORA,
        }.items()
    },
    "a mark in a long file": ({**BASE, TOKENIZER: MARK + LONG}, [("json_dialect", E, TOKENIZER)]),
    "a mark in the service's own file": (
        {**BASE, "fireworks.json": MARK + b'{"defaults": {}}'},
        [("json_dialect", W, "fireworks.json")],
    ),
    **{
        f"{word} in the config": (endless(word), [("json_dialect", W, CONFIG)])
        for word in ("NaN", "Infinity", "-Infinity")
    },
    "NaN in the settings": (
        {**BASE, SETTINGS: b'{"chat_template": "x", "model_max_length": NaN}'},
        [("json_dialect", W, SETTINGS)],
    ),
    **{
        f"{encoding} in the config": (
            {**BASE, CONFIG: BASE[CONFIG].decode().encode(encoding)},
            [("config_json", E, CONFIG)],
        )
        for encoding in ("utf-16", "utf-16-le", "utf-16-be")
    },
    "UTF-16 in the settings": (
        {**BASE, SETTINGS: BASE[SETTINGS].decode().encode("utf-16")},
        [("broken_json", E, SETTINGS)],
    ),
    "UTF-16 in a long file": (
        {**BASE, TOKENIZER: LONG.decode().encode("utf-16")},
        [("broken_json", E, TOKENIZER)],
    ),
}


def test_the_parser_of_the_loaders_refuses_a_mark(tmp_path: Path) -> None:
    """The evidence: Transformers and PEFT open with encoding="utf-8" and call json.loads."""
    path = tmp_path / CONFIG
    path.write_bytes(MARK + b"{}")
    with path.open(encoding="utf-8") as file, pytest.raises(json.JSONDecodeError, match="BOM"):
        json.loads(file.read())


def test_utf_16_is_called_by_its_name(tmp_path: Path) -> None:
    (finding,) = check(tmp_path, {**BASE, CONFIG: BASE[CONFIG].decode().encode("utf-16")})
    assert finding.message == "config.json is UTF-16: loaders read UTF-8 only"


def test_a_config_of_more_than_ten_megabytes_is_not_parsed(tmp_path: Path) -> None:
    files = {**BASE, CONFIG: b'{"a": "' + b"x" * 10_000_000 + b'"}'}
    (finding,) = check(tmp_path, files)
    assert brief([finding]) == [("config_json", E, CONFIG)]
    assert "longer than any file of its kind (10 MB)" in finding.message


def test_a_long_list_is_only_looked_at_from_both_ends(tmp_path: Path) -> None:
    body = b'{"a": [' + b"0," * 300_000
    (finding,) = check(tmp_path, {**BASE, "tokenizer.json": body})
    assert finding.message == "tokenizer.json is cut short"
    assert not check(tmp_path / "whole", {**BASE, "tokenizer.json": body + b"0]}"})
