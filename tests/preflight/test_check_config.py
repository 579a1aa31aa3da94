"""config.json by itself: architectures, quantization, and the files that it calls for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.model.build import BASE, LORA, Brief, brief, check, safetensors, without
from tests.model.weights import Tensors, encode
from tests.preflight.packed import KIMI_K2, QUANTIZED
from tests.preflight.published import LLAMA_3, LLAMA_3_CONFIG, PHI_3, TEXTS
from tests.preflight.seeing import QWEN_3_VL, QWEN_25_VL, QWEN_25_VL_CONFIG, SEEING
from uploader.core.job import Kind
from uploader.preflight.checks import config as module

CONFIG, TOKENIZER, IMAGES = "config.json", "tokenizer_config.json", "preprocessor_config.json"
VIDEOS, PROCESSOR = "video_preprocessor_config.json", "processor_config.json"
W, E = "warning", "error"


def config(name: str | None = "LlamaForCausalLM", **entries: Any) -> dict[str, bytes]:
    named = {} if name is None else {"architectures": [name]}
    return {**BASE, CONFIG: json.dumps(named | entries).encode()}


def quantized(found: Any, **entries: Any) -> dict[str, bytes]:
    return config(quantization_config=found, **entries)


NONE: dict[str, Any] = {}
UNQUANTIZED: Tensors = {"a": ("BF16", (2, 2)), "b": ("F32", (2,))}


def left_over(method: str, tensors: Tensors = UNQUANTIZED, **entries: Any) -> dict[str, bytes]:
    files = quantized({"quant_method": method, **entries})
    return {**files, "model.safetensors": encode(tensors)}


GOOD: dict[str, dict[str, bytes]] = {
    **TEXTS,
    **SEEING,
    **{
        name: config(name)
        for name in (
            "DbrxForCausalLM",
            "DeepseekForCausalLM",
            "DeepseekV2ForCausalLM",
            "DeepseekV32ForCausalLM",
            "FalconForCausalLM",
            "RWForCausalLM",
            "Gemma3ForCausalLM",
            "Glm4MoeForCausalLM",
            "ChatGLMModel",
            "GPTNeoXForCausalLM",
            "GptOssForCausalLM",
            "KimiLinearForCausalLM",
            "LLaMAForCausalLM",
            "Llama4ForCausalLM",
            "MistralForCausalLM",
            "MixtralForCausalLM",
            "Phi4MMForCausalLM",
            "PhiMoEForCausalLM",
            "QWenLMHeadModel",
            "Qwen2MoeForCausalLM",
            "Qwen3NextForCausalLM",
            "SolarForCausalLM",
            "StableLMEpochForCausalLM",
            "StableLmForCausalLM",
            "Starcoder2ForCausalLM",
        )
    },
    "one of two is listed": config(architectures=["MyForCausalLM", "LlamaForCausalLM"]),
    "null quantization": quantized(None),
    "empty quantization": quantized({}),
    "null parts": config(text_config=None, vision_config=None, auto_map=None),
    "odd parts": config(text_config=[], vision_config="x", auto_map=3),
    "a processor of another form": {**without(QWEN_25_VL, IMAGES), PROCESSOR: b'{"a": 1}'},
    "video in the processor": {
        **without(QWEN_3_VL, VIDEOS),
        PROCESSOR: b'{"video_processor": {"fps": 2}}',
    },
    "code of another model": config(auto_map={"AutoModel": "acme/code--modeling_x.Model"}),
    "code of no file": config(auto_map={"AutoModel": "Model", "AutoConfig": [None, 3]}),
    "code further down": config(auto_map={"AutoModel": "../x.y.Z", "AutoConfig": "a.b.C"}),
}
BAD: dict[str, tuple[dict[str, bytes], Brief]] = {
    **{name: (files, [("quantization", W, CONFIG)]) for name, files in QUANTIZED.items()},
    "no architectures": (config(None), [("architectures", W, CONFIG)]),
    "an empty object": ({**BASE, CONFIG: b"{}"}, [("architectures", W, CONFIG)]),
    **{
        f"architectures {named!r}": (config(architectures=named), [("architectures", W, CONFIG)])
        for named in (None, [], "LlamaForCausalLM", {"a": 1}, [3], [None, "LlamaForCausalLM"])
    },
    **{
        f"architecture {name!r}": (config(name), [("architectures", W, CONFIG)])
        for name in (
            "BertForMaskedLM",
            "FalconMambaForCausalLM",
            "GPTNeoXJapaneseForCausalLM",
            "MambaForCausalLM",
            "MyLlamaForCausalLM",
            "T5ForConditionalGeneration",
            "two\nlines",
            "x" * 1000,
        )
    },
    **{
        f"quantized by {method}": (
            quantized({"quant_method": method}),
            [("quantization", severity, CONFIG)],
        )
        for severity, methods in {
            E: (
                *("aqlm", "auto-round", "awq", "bitsandbytes", "bitsandbytes_4bit", "eetq"),
                *("exl2", "exl3", "gguf", "GPTQ", "gptq_marlin", "higgs", "hqq", "marlin"),
                *("intel/auto-round", "quanto", "quip", "spqr", "squeezellm", "vptq"),
            ),
            W: (
                *("bitnet", "compressed-tensors", "fbgemm_fp8", "fp8", "fp_quant", "modelopt"),
                *("mxfp4", "mxfp8", "nvfp4", "quark", "torchao", "two\nlines", "x" * 1000),
            ),
        }.items()
        for method in methods
    },
    **{
        f"quantized by the flag {flag}": (
            quantized({flag: True, "quant_method": "other"}),
            [("quantization", E, CONFIG)],
        )
        for flag in ("load_in_4bit", "load_in_8bit")
    },
    **{
        f"quantized by {found!r}": (quantized(found), [("quantization", W, CONFIG)])
        for found in ("yes", True, [1], {"bits": 4}, {"quant_method": None}, {"quant_method": 4})
    },
    "quantized in the decoder": (
        config(text_config={"quantization_config": {"quant_method": "gptq"}}),
        [("quantization", E, CONFIG)],
    ),
    "no files for images": (without(QWEN_25_VL, IMAGES), [("processor", W, IMAGES)]),
    "no files for video": (without(QWEN_3_VL, VIDEOS), [("processor", W, VIDEOS)]),
    "no files for either": (
        without(QWEN_3_VL, IMAGES, VIDEOS),
        [("processor", W, IMAGES), ("processor", W, VIDEOS)],
    ),
    "a processor without video": (
        {**without(QWEN_3_VL, VIDEOS), PROCESSOR: b'{"image_processor": {}}'},
        [("processor", W, VIDEOS)],
    ),
    "vision by the class alone": (
        config("MllamaForConditionalGeneration"),
        [("processor", W, IMAGES)],
    ),
    "no code": (without(PHI_3, "modeling_phi3.py"), [("remote_code", W, CONFIG)]),
    "no code at all": (
        without(PHI_3, "modeling_phi3.py", "configuration_phi3.py"),
        [("remote_code", W, CONFIG)],
    ),
    "no code of the tokenizer": (
        without(KIMI_K2, "tokenization_kimi.py"),
        [("quantization", W, CONFIG), ("remote_code", W, TOKENIZER)],
    ),
    "no code of an older form": (
        {
            **BASE,
            TOKENIZER: b'{"auto_map": ["tokenization_x.Slow", null], "chat_template": "x"}',
        },
        [("remote_code", W, TOKENIZER)],
    ),
    "quantized tensors that the config says nothing of": (
        {**BASE, "model.safetensors": safetensors({"model.layers.0.q_proj.qweight": 8})},
        [("quantization", W, "model.safetensors")],
    ),
    **{
        f"left by a tool that quantizes: {name}": (
            {**BASE, "model.safetensors": safetensors({f"model.layers.0.q_proj.{name}": 8})},
            [("quantization", W, "model.safetensors")],
        )
        for name in ("weight.absmax", "weight.quant_map", "SCB", "weight_packed", "weight_scale")
    },
    # Saved by MLX, whose config says so in a key that only MLX reads.
    "quantized by MLX": (
        {
            **config(quantization={"group_size": 64, "bits": 4}),
            "model.safetensors": safetensors(
                dict.fromkeys(("q.weight", "q.scales", "q.biases"), 8)
            ),
        },
        [("quantization", W, "model.safetensors")],
    ),
    "FP8 after somebody removed quantization_config": (
        {
            **BASE,
            "model.safetensors": encode(
                {"q.weight": ("F8_E4M3", (4, 4)), "q.weight_scale": ("F32", (4,))}
            ),
        },
        [("quantization", W, "model.safetensors")],
    ),
    "quantized by a file of its own": (
        {**BASE, "hf_quant_config.json": b"{}"},
        [("quantization", W, "hf_quant_config.json")],
    ),
    # unsloth#105, unsloth#1601: merged into 16 bits, and the config still says how it was loaded.
    **{
        f"left over from {method}": (left_over(method, **more), [("quantization", E, CONFIG)])
        for method, more in {
            **dict.fromkeys(("bitsandbytes", "gptq", "awq", "fp8", "fbgemm_fp8", "mxfp4"), NONE),
            "compressed-tensors": {"format": "float-quantized", "config_groups": {"g": {}}},
        }.items()
    },
    **{
        f"may quantize nothing: {method} {more}": (
            left_over(method, **more),
            [("quantization", W, CONFIG)],
        )
        for method, more in (
            ("bitnet", {"quantization_mode": "online"}),
            ("torchao", {}),
            ("compressed-tensors", {"format": "dense", "config_groups": {"g": {}}}),
            ("compressed-tensors", {"kv_cache_scheme": {"num_bits": 8}}),
            ("modelopt", {"kv_cache_quant_algo": "FP8"}),
        )
    },
    "a type of its own in one tensor": (
        left_over("fp8", tensors={"a": ("BF16", (2, 2)), "b": ("F8_E4M3", (2, 2))}),
        [("quantization", W, CONFIG)],
    ),
    "scales in one tensor": (
        left_over("fp8", tensors={"a": ("BF16", (2, 2)), "a.weight_scale_inv": ("F32", (1,))}),
        [("quantization", W, CONFIG)],
    ),
    "code of an odd name": (
        config(auto_map={"AutoModel": "a\nb.Model"}),
        [("remote_code", W, CONFIG)],
    ),
}


KEYS = (
    *("architectures", "auto_map", "quantization_config", "text_config", "vision_config"),
    *("hidden_size", "vocab_size", "num_hidden_layers", "num_nextn_predict_layers", "model_type"),
    *("num_attention_heads", "num_key_value_heads", "head_dim", "torch_dtype", "dtype"),
    *("quant_method", "load_in_4bit", "AutoModel"),
)
FOUND = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4)
    ),
    max_leaves=9,
)


@settings(max_examples=60, deadline=None)
@given(found=st.dictionaries(st.sampled_from(KEYS), FOUND, max_size=6))
def test_no_config_is_too_odd(
    tmp_path_factory: pytest.TempPathFactory, found: dict[str, Any]
) -> None:
    files = {**LLAMA_3, CONFIG: json.dumps(LLAMA_3_CONFIG | found).encode()}
    for finding in check(tmp_path_factory.mktemp("odd"), files):
        assert finding.severity == W or finding.check == "quantization"
        assert "\n" not in finding.message


@pytest.mark.parametrize("method", ["bitsandbytes", "fp8"])
def test_the_cure_of_what_is_left_over_is_to_remove_it(tmp_path: Path, method: str) -> None:
    (finding,) = check(tmp_path, left_over(method))
    assert finding.message == (
        f"config.json has a quantization_config ({method}), but no tensor is quantized"
    )
    assert finding.hint.startswith("remove quantization_config from config.json")


def test_nothing_is_called_left_over_while_a_shard_is_missing(tmp_path: Path) -> None:
    files = left_over("fp8")
    index = json.dumps({"weight_map": {"a": "model.safetensors", "b": "more.safetensors"}})
    found = check(tmp_path, {**files, "model.safetensors.index.json": index.encode()})
    assert ("quantization", W, CONFIG) in brief(found)


@pytest.mark.parametrize("kind", [Kind.EMBEDDING, Kind.DRAFT])
def test_other_kinds_have_other_classes(tmp_path: Path, kind: Kind) -> None:
    assert check(tmp_path, config("BertModel"), kind) == []
    gptq = quantized({"quant_method": "gptq"})
    assert brief(check(tmp_path, gptq, kind)) == [("quantization", E, CONFIG)]


def test_an_adapter_does_not_care_for_a_config_it_does_not_send(tmp_path: Path) -> None:
    assert check(tmp_path, {**LORA, CONFIG: quantized({"quant_method": "gptq"})[CONFIG]}) == []


def test_a_config_that_cannot_be_read_is_reported_once(tmp_path: Path) -> None:
    assert brief(check(tmp_path, {**BASE, CONFIG: b"["})) == [("config_json", E, CONFIG)]


def test_the_reason_is_the_documented_one(tmp_path: Path) -> None:
    reason = "Fireworks does not support config.json's quantization_config"
    found = {
        method: check(tmp_path / method, quantized({"quant_method": method}))[0].message
        for method in ("gptq", "fp8", "other")
    }
    assert found == {
        "gptq": f"{reason} (gptq)",
        "fp8": f"{reason} (fp8) according to its documentation, but serves models in such formats",
        "other": f"{reason} (other)",
    }


def test_the_first_missing_file_and_their_number(tmp_path: Path) -> None:
    files = without(PHI_3, "modeling_phi3.py", "configuration_phi3.py")
    message = check(tmp_path, files)[0].message
    assert "configuration_phi3.py and 1 more" in message


def test_the_decoder_of_a_flat_config_is_the_config() -> None:
    assert module.decoder_config(QWEN_25_VL_CONFIG) is QWEN_25_VL_CONFIG
