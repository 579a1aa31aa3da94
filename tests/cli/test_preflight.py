from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from itertools import groupby
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.cli.test_process import in_terminal
from tests.model.build import BASE, LORA, SHARDED, SHARDS, folder, safetensors, without
from tests.preflight import adapters

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
#: Ten faults and more; leftovers too.
RUIN: dict[str, bytes] = {
    "config.json": b'{"quantization_config": {"quant_method": "gptq"}}',
    "generation_config.json": b"[]",
    "tokenizer.json": b"",
    "tokenizer_config.json": b"{",
    "special_tokens_map.json": b"{]",
    "model-00001-of-00004.safetensors": safetensors({"a": 9}, missing=1),
    "model-00002-of-00004.safetensors": POINTER,
    "model-00003-of-00004.safetensors": b"\x10\0\0\0\0\0\0\0not json at all!",
    "pytorch_model.bin.index.json": b"{}",
    "model-00009.safetensors.incomplete": b"x",
    "README.md": b"x",
    "Readme.md": b"x",
    **{f"rng_state_{number}.pth": b"x" * 512 for number in range(8)},
}


@pytest.fixture
def ruin(home: Path) -> Path:
    return folder(home / "ruin", RUIN)


def test_findings_are_columns_when_piped(uploader: Command, model: Path) -> None:
    (model / "tokenizer.json").unlink()
    (model / "tokenizer_config.json").unlink()
    answer = uploader("preflight", model, "--allow", "no_tokenizer")
    assert answer.code == 0
    rows = [line.split("\t") for line in answer.out.splitlines()]
    assert rows[0][:3] == ["no_tokenizer", "warning", ""]
    assert all(len(row) == 5 for row in rows)
    summary = f"{model} can become a base model (architectures: LlamaForCausalLM): 4 files, "
    assert summary in answer.err
    assert answer.err.endswith("warning\n" if len(rows) == 1 else "warnings\n")


def test_findings_are_sentences_on_a_terminal(
    uploader: Command, ruin: Path, terminal: Callable[[int], None]
) -> None:
    terminal(80)
    answer = uploader("preflight", ruin)
    assert answer.code == 6
    lines = answer.out.splitlines()
    assert all(line and len(line) <= 80 for line in lines)
    leads = [line.split(":")[0] for line in lines if line[:1] != " "]
    assert [lead for lead, _ in groupby(leads)] == ["error", "warning", "left out"]
    assert answer.err.splitlines()[0].startswith(f"error: {ruin} cannot become a base model: ")


def test_what_is_left_out_is_summed_by_its_reason(uploader: Command, ruin: Path) -> None:
    answer = uploader("preflight", ruin)
    leftovers = "rng_state_0.pth, rng_state_1.pth, rng_state_2.pth and 5 more"
    assert f"left out: {leftovers} (a leftover of training), 4.0 KiB\n" in answer.err


def test_the_last_words_are_the_counts(uploader: Command, ruin: Path) -> None:
    answer = uploader("preflight", ruin)
    what, hint = answer.err.splitlines()[-2:]
    severities = [line.split("\t")[1] for line in answer.out.splitlines()]
    errors, warnings = severities.count("error"), severities.count("warning")
    assert what.endswith(f": {errors} errors, {warnings} warning" + "s" * (warnings > 1))
    assert errors >= 10
    assert hint == "hint: fix it, --exclude files, or overrule a check with --allow CHECK"


@pytest.mark.usefixtures("store")
def test_a_real_terminal_is_wrapped_on_both_streams(ruin: Path) -> None:
    for verb in ("preflight", "enqueue"):
        code, printed = in_terminal(verb, str(ruin))
        assert code == 6
        lines = printed.replace("\r\n", "\n").splitlines()
        assert "       itself (lfs_pointer)" in lines
        assert all(len(line) <= 80 or len(line.split()) <= 2 for line in lines)


def test_the_document(uploader: Command, ruin: Path) -> None:
    answer = uploader("preflight", ruin, "--json")
    assert answer.code == 6
    found = answer.json
    assert found["schema"] == "uploader.preflight/1"
    assert found.keys() >= {"path", "kind", "kind_because", "files_total", "bytes_total", "files"}
    assert {"path": "rng_state_0.pth", "why": "a leftover of training", "size_bytes": 512} in found[
        "left_out"
    ]
    fields = {"check", "severity", "file", "message", "hint"}
    assert all(finding.keys() == fields for finding in found["findings"])


def test_an_empty_folder_has_its_document_too(uploader: Command, home: Path) -> None:
    (home / "empty").mkdir()
    answer = uploader("preflight", "empty", "--json")
    assert answer.code == 6
    assert answer.json["findings"][0]["check"] == "empty_folder"
    assert "--allow" not in answer.err


def test_allowed_errors_are_warnings(uploader: Command, model: Path) -> None:
    (model / "model.safetensors").unlink()
    assert uploader("preflight", model).code == 6
    answer = uploader("preflight", model, "--allow", "no_weights", "--json")
    assert answer.code == 0
    assert answer.json["findings"][0]["severity"] == "warning"


def test_patterns_are_those_of_enqueue(uploader: Command, model: Path) -> None:
    (model / "weights.gguf").write_text("x")
    words = ("--include", "*.gguf", "--exclude", "README.md", "--json")
    found = uploader("preflight", model, *words).json
    names = {file["path"] for file in found["files"]}
    assert names == {*BASE, "weights.gguf"} - {"README.md"}
    assert found["left_out"] == [
        {"path": "README.md", "why": "--exclude", "size_bytes": len(BASE["README.md"])}
    ]


def test_kinds_are_named_and_forced(uploader: Command, model: Path, home: Path) -> None:
    found = uploader("preflight", folder(home / "tuned", LORA), "--json").json
    assert (found["kind"], found["kind_because"]) == ("lora", "there is an adapter_config.json")
    found = uploader("preflight", model, "--kind", "embedding", "--json").json
    assert (found["kind"], found["kind_because"]) == ("embedding", "--kind embedding")
    assert "an embedding model" in uploader("preflight", model, "--kind", "embedding").err


#: What enqueue refuses with exit 2, found before.
MISUSE: dict[str, tuple[str, ...]] = {
    "illegal id": ("--model-id", "No_Id"),
    "illegal account": ("--account", "a@b.c"),
    "unknown check": ("--allow", "no_weigths"),
    "unknown kind": ("--kind", "flumina"),
    "base model of a base": ("--base-model", "accounts/a/models/b"),
    "unknown field": ("--model-json", "unknown.json"),
    "files that differ": ("--model-json", "files.json"),
    "no object": ("--model-json", "list.json"),
}


@pytest.mark.parametrize("verb", ["preflight", "enqueue"])
@pytest.mark.parametrize("words", MISUSE.values(), ids=MISUSE)
def test_misuse_is_found_by_both(
    verb: str, words: tuple[str, ...], uploader: Command, model: Path, home: Path
) -> None:
    (home / "unknown.json").write_text('{"contextLenght": 3}')
    (home / "files.json").write_text('{"baseModelDetails": {"huggingfaceFiles": ["x"]}}')
    (home / "list.json").write_text("[]")
    answer = uploader(verb, model, *words)
    assert (answer.code, answer.out) == (2, "")
    assert not (home / "state").exists()


def test_the_nearest_name_is_hinted(uploader: Command, model: Path, home: Path) -> None:
    (home / "fields.json").write_text('{"contextLenght": 3}')
    answer = uploader("preflight", model, "--model-json", "fields.json")
    assert answer.err.splitlines() == [
        "error: --model-json: unknown field contextLenght",
        "hint: did you mean contextLength?",
    ]
    answer = uploader("preflight", model, "--allow", "no_weigths")
    assert answer.err.endswith("hint: did you mean no_weights?\n")


def test_a_missing_file_of_fields(uploader: Command, model: Path) -> None:
    for verb in ("preflight", "enqueue"):
        answer = uploader(verb, model, "--model-json", "nowhere.json")
        assert answer.code == 4
        assert "error: --model-json: there is no file nowhere.json" in answer.err


def test_an_adapter_needs_its_base_model_here_too(uploader: Command, home: Path) -> None:
    config = json.loads(LORA["adapter_config.json"]) | {"base_model_name_or_path": "org/x"}
    files = {**LORA, "adapter_config.json": json.dumps(config).encode()}
    adapter = folder(home / "adapter", files)
    assert uploader("preflight", adapter).code == 2
    (home / "fields.json").write_text('{"peftDetails": {"baseModel": "accounts/a/models/b"}}')
    for words in (("--base-model", "accounts/a/models/b"), ("--model-json", "fields.json")):
        assert uploader("preflight", adapter, *words).code == 0


def test_nothing_is_written(uploader: Command, model: Path, ruin: Path, home: Path) -> None:
    assert uploader("preflight", model).code == 0
    assert uploader("preflight", ruin).code == 6
    assert uploader("enqueue", ruin).code == 6
    assert uploader("preflight", folder(home / "bare", without(BASE, "config.json"))).code == 6
    assert not (home / "state").exists()
    assert not (home / "home").exists()


def test_other_commands_do_not_pay_for_it() -> None:
    program = (
        "import sys; import uploader.cli.app;"
        "unwanted = {'pydantic', 'numpy', 'safetensors', 'uploader.model.fields'};"
        "print(sorted(unwanted & sys.modules.keys()))"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"


def test_two_hundred_pointers_do_not_fill_the_screen(uploader: Command, home: Path) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n"
    shards = {f"model-{i:05}-of-00200.safetensors": pointer for i in range(1, 201)}
    cloned = folder(home / "cloned", {**without(BASE, "model.safetensors"), **shards})
    answer = uploader("enqueue", cloned)
    assert answer.code == 6
    assert "195 more like these (lfs_pointer)" in answer.err
    assert len(answer.err.splitlines()) < 20
    assert len(uploader("preflight", cloned, "--json").json["findings"]) > 200


def test_an_adapter_without_its_base_shows_its_findings_all_the_same(
    uploader: Command, home: Path
) -> None:
    odd = adapters.plain("q_proj", use_rslora=True, base_model_name_or_path="qwen")
    adapter = folder(home / "adapter", odd)
    answer = uploader("preflight", adapter, "--json")
    assert answer.code == 2
    assert "--base-model" in answer.err
    assert [found["check"] for found in answer.json["findings"]] == ["peft_type"]


def test_a_waived_link_does_not_stand_for_its_shard(uploader: Command, home: Path) -> None:
    broken = folder(home / "broken", without(SHARDED, SHARDS[1]))
    (broken / SHARDS[1]).symlink_to("gone")
    answer = uploader("enqueue", broken, "--allow", "dangling_link")
    assert answer.code == 6
    assert "missing_shard" in answer.err


def test_a_service_that_is_down_has_its_own_advice(
    uploader: Command, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIREWORKS_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("FIREWORKS_API_KEY", "fw_any")
    answer = uploader("preflight", model, "--online")
    assert answer.code == 6
    assert "by itself" not in answer.err + answer.out
    assert "--exclude" not in answer.err


def test_a_machine_with_a_slow_checksum_is_reported(
    uploader: Command, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "pure Python" not in uploader("preflight", str(model)).err
    monkeypatch.setattr("google_crc32c.implementation", "python")
    assert "pure Python" in uploader("preflight", str(model)).err
