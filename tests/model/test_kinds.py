from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.model.build import BASE, LORA, folder, without
from uploader.core.job import Kind
from uploader.model.folder import scan
from uploader.model.kinds import base_model_of, detect_kind, narrow

BASE_CONFIG = {"config.json": BASE["config.json"]}
MODULES = b'[{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Pooling"}]'


CONFIG = {"adapter_config.json": LORA["adapter_config.json"]}
MERGED = "the adapter_config.json has no adapter weights"


def config(*architectures: str, **entries: Any) -> dict[str, bytes]:
    named = {"architectures": list(architectures)} if architectures else {}
    return {**BASE, "config.json": json.dumps({**named, **entries}).encode()}


#: By what a folder is: its files, and a word of the reason.
FOLDERS: dict[str, tuple[dict[str, bytes], Kind, str]] = {
    "adapter": (LORA, Kind.LORA, "there is an adapter_config.json"),
    "adapter beside a model": (
        {**BASE, **LORA},
        Kind.LORA,
        "there is an adapter_config.json; `kind` base would take the whole model next to it",
    ),
    "model merged in place": (
        {**BASE, **CONFIG},
        Kind.BASE,
        f"architectures: LlamaForCausalLM; {MERGED}",
    ),
    "embedding merged in place": (
        {**config("BertModel"), **CONFIG},
        Kind.EMBEDDING,
        f"architectures: BertModel; {MERGED}",
    ),
    "adapter in shards": (
        {**BASE_CONFIG, **CONFIG, "adapter_model-00001-of-00002.safetensors": b"x"},
        Kind.LORA,
        "adapter_config.json",
    ),
    "adapter of MLX": (
        {**BASE_CONFIG, **CONFIG, "0000100_adapters.safetensors": b"x"},
        Kind.LORA,
        "adapter_config.json",
    ),
    "adapter without weights": (
        {**without(BASE, "model.safetensors"), **CONFIG},
        Kind.LORA,
        "adapter_config.json",
    ),
    "adapter beside weights only": (
        {**without(BASE, "config.json"), **CONFIG},
        Kind.LORA,
        "adapter_config.json",
    ),
    "llama": (BASE, Kind.BASE, "architectures: LlamaForCausalLM"),
    "no architectures": (config(), Kind.BASE, "no sign of"),
    "no config": (without(BASE, "config.json"), Kind.BASE, "no sign of"),
    "broken config": ({**BASE, "config.json": b"{"}, Kind.BASE, "no sign of"),
    "odd architectures": (config(architectures=[3, None]), Kind.BASE, "no sign of"),
    "one word": (config(architectures="Qwen3ForCausalLM"), Kind.BASE, "Qwen3ForCausalLM"),
    "gpt2": (config("GPT2LMHeadModel"), Kind.BASE, "GPT2LMHeadModel"),
    "chatglm": (config("ChatGLMModel"), Kind.BASE, "ChatGLMModel"),
    "internvl": (config("InternVLChatModel"), Kind.BASE, "InternVLChatModel"),
    "dream": (config("DreamModel"), Kind.BASE, "DreamModel"),
    "nvidia's eagle": (config("Eagle2_5_VLForConditionalGeneration"), Kind.BASE, "Eagle2_5"),
    "nvidia's first eagle": (
        config("EagleLlamaForCausalLM", mm_vision_tower="clip"),
        Kind.BASE,
        "EagleLlamaForCausalLM",
    ),
    "deepseek with mtp layers": (
        config("DeepseekV3ForCausalLM", num_nextn_predict_layers=1),
        Kind.BASE,
        "DeepseekV3ForCausalLM",
    ),
    "model with medusa heads": (
        config("LlamaForCausalLM", medusa_num_heads=4),
        Kind.BASE,
        "LlamaForCausalLM",
    ),
    "foreign modules.json": ({**BASE, "modules.json": b"[]"}, Kind.BASE, "LlamaForCausalLM"),
    "mixed": (config("BertModel", "BertForMaskedLM"), Kind.BASE, "BertModel, BertForMaskedLM"),
    "sentence-transformers": (
        {**BASE, "modules.json": MODULES},
        Kind.EMBEDDING,
        "modules.json is there: sentence-transformers",
    ),
    "its config": (
        {**BASE, "config_sentence_transformers.json": b"{}"},
        Kind.EMBEDDING,
        "config_sentence_transformers.json",
    ),
    "bert": (config("BertModel"), Kind.EMBEDDING, "architectures: BertModel"),
    "xlm-roberta": (config("XLMRobertaModel"), Kind.EMBEDDING, "XLMRobertaModel"),
    "nomic": (config("NomicBertModel"), Kind.EMBEDDING, "NomicBertModel"),
    "qwen2 without a head": (config("Qwen2Model"), Kind.EMBEDDING, "Qwen2Model"),
    "mistral without a head": (config("MistralModel"), Kind.EMBEDDING, "MistralModel"),
    "eagle": (config("EagleLlamaForCausalLM"), Kind.DRAFT, "EagleLlamaForCausalLM"),
    "eagle3": (config("LlamaForCausalLMEagle3"), Kind.DRAFT, "LlamaForCausalLMEagle3"),
    "eagle3 of vllm": (config("Eagle3LlamaForCausalLM"), Kind.DRAFT, "Eagle3Llama"),
    "eagle3 by its vocabulary": (
        config("LlamaForCausalLM", draft_vocab_size=32000),
        Kind.DRAFT,
        "config.json has draft_vocab_size",
    ),
    "speculators": (
        config("Eagle3Speculator", speculators_model_type="eagle3"),
        Kind.DRAFT,
        "speculators_model_type",
    ),
    "medusa": (config(medusa_num_heads=2), Kind.DRAFT, "medusa_num_heads"),
    "medusa of vllm": (config("MedusaModel"), Kind.DRAFT, "MedusaModel"),
    "mlp speculator": (
        config("MLPSpeculatorPreTrainedModel"),
        Kind.DRAFT,
        "MLPSpeculatorPreTrainedModel",
    ),
    "mtp": (config("DeepSeekMTPModel"), Kind.DRAFT, "DeepSeekMTPModel"),
    "nextn": (config("DeepseekV3ForCausalLMNextN"), Kind.DRAFT, "NextN"),
}


@pytest.mark.parametrize(("files", "kind", "why"), FOLDERS.values(), ids=FOLDERS)
def test_a_folder_says_what_it_is(
    tmp_path: Path, files: dict[str, bytes], kind: Kind, why: str
) -> None:
    found, because = detect_kind(scan(folder(tmp_path, files)))
    assert found is kind
    assert why in because


def test_marks_that_are_left_out_count(tmp_path: Path) -> None:
    (folder(tmp_path, BASE) / "1_Pooling").mkdir()
    kind, because = detect_kind(scan(tmp_path))
    assert (kind, because) == (Kind.EMBEDDING, "1_Pooling is there: sentence-transformers")
    (tmp_path / "1_Pooling").rmdir()
    (tmp_path / "config_sentence_transformers.json").write_bytes(b"{}")
    assert detect_kind(scan(tmp_path, exclude=["config_s*"]))[0] is Kind.EMBEDDING


@pytest.mark.timeout(10)
def test_what_is_left_out_is_never_opened(tmp_path: Path) -> None:
    os.mkfifo(folder(tmp_path, BASE) / "modules.json")
    assert detect_kind(scan(tmp_path, exclude=["modules.json"]))[0] is Kind.BASE
    (tmp_path / "modules.json").unlink()
    folder(tmp_path, {"modules.json": MODULES})
    assert detect_kind(scan(tmp_path, exclude=["modules.json"]))[0] is Kind.BASE
    assert detect_kind(scan(tmp_path))[0] is Kind.EMBEDDING


@pytest.mark.timeout(10)
@pytest.mark.parametrize("exclude", [[], ["adapter_config.json"]])
def test_a_pipe_names_no_base_model(tmp_path: Path, exclude: list[str]) -> None:
    os.mkfifo(folder(tmp_path, without(LORA, *CONFIG)) / "adapter_config.json")
    assert base_model_of(scan(tmp_path, exclude=exclude), None) is None


@pytest.mark.parametrize("beside", ["non_lora_trainables.bin", "value_head.safetensors"])
def test_what_is_trained_alongside_an_adapter_is_not_a_model(tmp_path: Path, beside: str) -> None:
    seen = scan(folder(tmp_path, {**LORA, **BASE_CONFIG, beside: b"x"}))
    assert detect_kind(seen) == (Kind.LORA, "there is an adapter_config.json")


def test_adapter_weights_that_are_left_out_are_not_there(tmp_path: Path) -> None:
    seen = scan(folder(tmp_path, {**BASE, **LORA}), exclude=["adapter_model.*"])
    assert detect_kind(seen)[0] is Kind.BASE


def test_an_adapter_whose_config_is_refused_is_an_adapter_still(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").symlink_to("nowhere")
    assert detect_kind(scan(tmp_path))[0] is Kind.LORA


def test_an_adapter_sends_its_own_files_only(tmp_path: Path) -> None:
    extras = {"README.md": b"x", "tokenizer.json": b"", "adapter_model.bin": b"xyz"}
    found = scan(folder(tmp_path, {**LORA, **extras, "fireworks.json": b"{}"}))
    narrowed = narrow(found, Kind.LORA)
    assert set(narrowed.names) == {*LORA, "fireworks.json"}
    assert {(left.path, left.why, left.size_bytes) for left in narrowed.left_out} == {
        ("README.md", "not a file of an adapter", 1),
        ("tokenizer.json", "not a file of an adapter", 0),
        ("adapter_model.bin", "adapter_model.safetensors has the same weights", 3),
    }
    assert narrow(narrowed, Kind.LORA) == narrowed


@pytest.mark.parametrize("kind", [Kind.BASE, Kind.EMBEDDING, Kind.DRAFT])
def test_any_other_kind_sends_all_of_them(tmp_path: Path, kind: Kind) -> None:
    found = scan(folder(tmp_path, BASE))
    assert narrow(found, kind) is found


def test_a_problem_of_a_file_that_is_not_sent_is_none(tmp_path: Path) -> None:
    (folder(tmp_path, LORA) / "tokenizer.json").symlink_to("nowhere")
    found = scan(tmp_path)
    assert found.findings
    assert narrow(found, Kind.LORA).findings == ()
