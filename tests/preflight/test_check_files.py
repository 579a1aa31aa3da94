from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path

import pytest

from tests.model.build import (
    BASE,
    LORA,
    Brief,
    brief,
    cache_snapshot,
    check,
    folder,
    without,
    zipped,
)
from uploader.core.job import Kind
from uploader.files import has_writer
from uploader.model.folder import scan
from uploader.preflight.checks import files as module
from uploader.preflight.registry import findings

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
W, E = "warning", "error"
ST = "model.safetensors"
LONG = b'{"a": "' + b"x" * 4_000_000 + b'"'

GOOD: dict[str, dict[str, bytes]] = {
    "download of a leftover": {**BASE, "optimizer.pt.tmp": b"x", "model.gguf.part": b"x"},
    "download of a note": {**BASE, "notes.tmp": b"x"},
    "download beside an adapter": {**LORA, "tokenizer.json.incomplete": b"x"},
    "long tokenizer in white space": {
        **BASE,
        "tokenizer.json": b" " * 99 + LONG + b"}" + b"\n" * 99,
    },
    "long tokenizer": {**BASE, "tokenizer.json": LONG + b"}\n"},
    "other JSON": {**BASE, "results.json": b"[1", "vocab.txt": b"x"},
    "names that differ": {**BASE, "readme.txt": b"x"},
    "empty extra": {**BASE, "NOTES": b""},
    "names that only sound like keys": {
        **BASE,
        "secrets-00001-of-00001.bin": zipped({"w": 8}),
        "keys.md": b"x",
        "tokens.txt": b"x",
        ".env": b"KEY=x",
    },
    "text about LFS": {**BASE, "README.md": b"# version https://git-lfs.github.com/spec/v1"},
}
BAD: dict[str, tuple[dict[str, bytes], Brief]] = {
    "nothing": ({}, [("empty_folder", E, None)]),
    "only leftovers": ({"optimizer.pt": b"x"}, [("empty_folder", E, None)]),
    "the config of an adapter that is merged": (
        {**BASE, "adapter_config.json": LORA["adapter_config.json"]},
        [("stray_adapter", W, "adapter_config.json")],
    ),
    "no config": (without(BASE, "config.json"), [("config_json", E, "config.json")]),
    "config no JSON": ({**BASE, "config.json": b"{"}, [("config_json", E, "config.json")]),
    "config no object": ({**BASE, "config.json": b"[]"}, [("config_json", E, "config.json")]),
    "config no UTF-8": (
        {**BASE, "config.json": b'{"\xff": 1}'},
        [("config_json", E, "config.json")],
    ),
    "config empty": ({**BASE, "config.json": b""}, [("empty_file", E, "config.json")]),
    "config pointer": ({**BASE, "config.json": POINTER}, [("lfs_pointer", E, "config.json")]),
    "weights empty": ({**BASE, ST: b""}, [("empty_file", E, ST)]),
    "weights pointer": ({**BASE, ST: POINTER}, [("lfs_pointer", E, ST)]),
    "tokenizer pointer": (
        {**BASE, "tokenizer.json": POINTER},
        [("lfs_pointer", E, "tokenizer.json")],
    ),
    "tokenizer empty": ({**BASE, "tokenizer.json": b""}, [("empty_file", E, "tokenizer.json")]),
    "tokenizer cut": (
        {**BASE, "tokenizer.json": b'{"a": '},
        [("broken_json", E, "tokenizer.json")],
    ),
    "long tokenizer cut": (
        {**BASE, "tokenizer.json": LONG},
        [("broken_json", E, "tokenizer.json")],
    ),
    "long tokenizer headless": (
        {**BASE, "tokenizer.json": LONG[1:] + b"}"},
        [("broken_json", E, "tokenizer.json")],
    ),
    "generation no JSON": (
        {**BASE, "generation_config.json": b"temperature: 1"},
        [("broken_json", E, "generation_config.json")],
    ),
    "processor cut": (
        {**BASE, "preprocessor_config.json": b"["},
        [("broken_json", E, "preprocessor_config.json")],
    ),
    "processor no object": (
        {**BASE, "preprocessor_config.json": b"[]"},
        [("broken_json", W, "preprocessor_config.json")],
    ),
    "a pointer that nobody reads": (
        {**BASE, "paper.pdf": POINTER},
        [("lfs_pointer", W, "paper.pdf")],
    ),
    "a pointer to settings": (
        {**BASE, "fireworks.json": POINTER},
        [("lfs_pointer", E, "fireworks.json")],
    ),
    "download under way": (
        {**without(BASE, ST), f"{ST}.incomplete": b"x", "a.safetensors.lock": b""},
        [("partial_download", E, f"{ST}.incomplete"), ("no_weights", E, None)],
    ),
    "browser's download": (
        {**BASE, "extra.bin.crdownload": b"x"},
        [("partial_download", E, "extra.bin.crdownload")],
    ),
    "adapter's download": (
        {**LORA, "adapter_model.bin.part": b"x"},
        [("partial_download", E, "adapter_model.bin.part")],
    ),
    "old download": ({**BASE, f"{ST}.part": b"x"}, [("partial_download", W, f"{ST}.part")]),
    "case collision": ({**BASE, "Config.json": b"{}"}, [("name_collision", W, "Config.json")]),
    **{
        f"a key named {name}": ({**BASE, name: b"x"}, [("key_file", W, name)])
        for name in (
            *("server.pem", "tls.key", "id_rsa", "id_ed25519.pub", "Credentials.json", "auth.ini"),
            *("aws_credentials", "prod.env", "kaggle.json", "service-account-1.json", "hf_token"),
        )
    },
    "accents collision": (
        {
            **BASE,
            "e\N{COMBINING ACUTE ACCENT}.txt": b"x",
            "\N{LATIN SMALL LETTER E WITH ACUTE}.txt": b"x",
        },
        [("name_collision", W, "\N{LATIN SMALL LETTER E WITH ACUTE}.txt")],
    ),
    "adapter config no JSON": (
        {**LORA, "adapter_config.json": b"{"},
        [("adapter_config", E, "adapter_config.json")],
    ),
    "adapter pointer": (
        {**LORA, "adapter_model.safetensors": POINTER},
        [("lfs_pointer", E, "adapter_model.safetensors")],
    ),
}


def test_an_adapter_without_a_config(tmp_path: Path) -> None:
    found = check(tmp_path, without(LORA, "adapter_config.json"), Kind.LORA)
    assert brief(found) == [("adapter_config", E, "adapter_config.json")]


def test_an_adapter_does_not_care_for_a_tokenizer_it_does_not_send(tmp_path: Path) -> None:
    assert check(tmp_path, {**LORA, "tokenizer.json": b"{", "config.json": b""}) == []


@pytest.mark.parametrize("name", ["a'; id; '.key", "$(id).pem", "a b.key"])
def test_a_hint_quotes_a_strangers_name_for_the_shell(tmp_path: Path, name: str) -> None:
    index = f"{name}.safetensors.index.json"
    found = check(tmp_path, {**BASE, name: b"x", index: b"\xef\xbb\xbf{}"})
    hints = {one.check: one.hint for one in found}
    assert hints["key_file"] == f"`exclude` {shlex.quote(name)}"
    assert shlex.split(hints["json_dialect"].partition("mark: ")[2])[-1] == f"./{index}"


def test_no_hint_holds_a_strangers_name_that_a_shell_would_run(tmp_path: Path) -> None:
    """Hints are copied. In single quotes, a shell runs nothing."""
    evil = "$(id)`id`"
    files = {
        f"{evil}-00001-of-00002.safetensors": b"x",
        f"{evil}.safetensors.index.json": b'{"weight_map": {"a": "b.safetensors"}}',
        f"{evil}.pem": b"x",
        f"{evil}.bin": b"x",
        f"{evil}.tiktoken.part": b"x",
        f"tokenizer.model.v1{evil}.gguf": b"x",
    }
    found = [*check(tmp_path / "model", {**BASE, **files})]
    found += check(tmp_path / "gguf", {"config.json": b"{}", f"{evil}.gguf": b"x"})
    inner = folder(tmp_path / "outer" / evil, BASE)
    found += check(inner.parent, {})
    hints = [one.hint for one in found if evil in one.hint]
    assert {one.check for one in found if evil in one.hint} >= {
        *("missing_shard", "key_file", "partial_download", "empty_folder", "no_weights"),
    }
    assert not [hint for hint in hints if evil in re.sub(r"'[^']*'", "", hint)]


def test_unfinished_downloads_of_hugging_face_are_warned_of(tmp_path: Path) -> None:
    hidden = tmp_path / ".cache" / "huggingface" / "download"
    hidden.mkdir(parents=True)
    (hidden / "abc.123.incomplete").touch()
    found = check(tmp_path, BASE)
    assert brief(found) == [("partial_download", W, None)]
    assert "has 1 unfinished download" in found[0].message


def test_unfinished_blobs_of_the_shared_cache_are_warned_of(tmp_path: Path) -> None:
    snapshot = cache_snapshot(tmp_path, BASE)
    (snapshot.parent.parent / "blobs" / "4d7a.incomplete").touch()
    assert brief(findings(scan(snapshot), Kind.BASE)) == [("partial_download", W, None)]


def test_places_that_may_not_be_entered_hold_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> list[str]:
        raise PermissionError(13, "Permission denied")

    found = scan(folder(tmp_path, BASE))
    monkeypatch.setattr(os, "scandir", refuse)
    assert findings(found, Kind.BASE) == []


def test_a_file_that_no_object_can_hold(tmp_path: Path) -> None:
    (tmp_path / "huge.bin").touch()
    try:
        os.truncate(tmp_path / "huge.bin", module.MAX_FILE_BYTES + 1)
    except OSError:
        pytest.skip("this file system has no files of 5 TiB")
    found = check(tmp_path, without(BASE, ST))
    assert brief(found)[0] == ("huge_file", E, "huge.bin")


def test_small_files_are_parsed_whole(tmp_path: Path) -> None:
    almost = json.dumps({"a": "x" * 3_000_000}).encode()
    broken = almost[:-20] + b"\x00" + almost[-19:]
    assert brief(check(tmp_path, {**BASE, "tokenizer.json": broken})) == [
        ("broken_json", E, "tokenizer.json")
    ]


def test_a_file_that_a_program_has_open_for_writing_is_warned_of(tmp_path: Path) -> None:
    model = folder(tmp_path / "model", BASE)
    with (model / "model.safetensors").open("r+b") as file:
        if not has_writer(file.fileno()):
            pytest.skip("this kernel or this file system has no leases")
        found = findings(scan(model), Kind.BASE)
    assert brief(found) == [("open_for_writing", W, "model.safetensors")]
    assert findings(scan(model), Kind.BASE) == []
