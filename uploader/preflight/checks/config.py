"""Checks of config.json itself: what the service lists, and the files that it needs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from uploader.core.text import some
from uploader.model.adapter import brief
from uploader.model.finding import Finding, error, warning
from uploader.preflight.contents import Contents

CONFIG = "config.json"

#: The families on the vendor's list (docs/fireworks.md §6), by how the names of their classes
#: begin, without regard to case. They are prefixes, because each family gets heads and variants
#: faster than any list. Solar's first models and Pythia's use other families' classes.
FAMILIES: Mapping[str, tuple[str, ...]] = {
    "DBRX": ("dbrx",),
    "DeepSeek V1, V2, V3": ("deepseek",),
    "Falcon": ("falconfor", "rwfor"),  # not FalconMamba, not FalconH1
    "Gemma": ("gemma",),
    "GLM 4.X": ("glm", "chatglm"),
    "GPT NeoX, Pythia": ("gptneoxfor",),
    "GPT-OSS": ("gptoss",),
    "Idefics3": ("idefics3",),
    "Kimi K2": ("kimi",),  # K2 itself is a DeepseekV3ForCausalLM
    "Llama 1, 2, 3, 3.1, 4": ("llama",),
    "LLaVA": ("llava",),
    "Mistral & Mixtral": ("mistral", "mixtral", "ministral"),
    "Phi, Phi-3, Phi-3V, Phi-4": ("phi",),
    "Qwen, Qwen2, Qwen2.5, Qwen2.5-VL, Qwen3": ("qwen",),
    "Solar": ("solar",),
    "StableLM": ("stablelm",),
    "Starcoder & Starcoder2": ("gptbigcode", "starcoder"),
    "Vision Llama": ("mllama",),
}
_LISTED = tuple(prefix for prefixes in FAMILIES.values() for prefix in prefixes)

#: Methods that no model on the vendor's own list uses, by how their names begin.
_REFUSED = (
    *("aqlm", "auto-gptq", "auto-round", "autoround", "awq", "bitsandbytes", "bnb", "eetq"),
    *("exl2", "exl3", "gguf", "gptq", "higgs", "hqq", "intel/auto-round", "marlin", "omniquant"),
    *("quanto", "quip", "spqr", "squeezellm", "vptq"),
)
#: Formats that models on that list use: GPT-OSS, DeepSeek V3, Kimi K2 (docs/fireworks.md §6).
_SERVED = ("compressed-tensors", "fbgemm-fp8", "fp8", "modelopt", "mxfp", "nvfp4")

#: Those formats that store scales, or a tensor of each quantized layer in another type.
_ALL_WEIGHTS = ("compressed-tensors", "fbgemm-fp8", "fp8", "mxfp", "nvfp4")
_PLAIN = frozenset({"BF16", "F16", "F32", "F64"})
_SCALED = re.compile(
    r"(?s).*(?:scales?|scale_inv|zero_point|qweight|qzeros|packed|blocks|absmax|quant_map|SCB|CB)"
)

#: Files that quantizing tools write next to a config.json that does not mention them.
_QUANTIZERS = ("quantize_config.json", "quant_config.json", "hf_quant_config.json")
_PACKED = (
    *(".qweight", ".qzeros", ".weight_packed", ".weight_scale_inv", ".weight_scale"),
    *(".weight_scale_2", "_proj_blocks", ".scales"),  # the last one is MLX's
    *(".absmax", ".quant_map", ".SCB"),
)

#: Where models of images and text keep the config of their decoder.
_DECODERS = ("text_config", "llm_config", "language_config")

#: Classes that accept images though their config may not say so; those of video need both files
#: (docs/fireworks.md §6).
_VISION = ("idefics3", "llavafor", "llavanext", "mllama", "qwen2vl", "qwen2_5_vl", "qwen3vl")
_VIDEO = ("qwen3vl",)
_IMAGES, _PROCESSOR = "preprocessor_config.json", "processor_config.json"
_VIDEOS = "video_preprocessor_config.json"


def classes(config: Mapping[str, Any]) -> list[str]:
    """The names in `architectures`; none if that is not a list of names."""
    named = config.get("architectures")
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        return []
    return named


def listed(config: Mapping[str, Any]) -> bool:
    """Whether a class of the model belongs to a family that the vendor lists."""
    return _begins(config, _LISTED)


def decoder_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """What config.json says about the part that reads and writes text."""
    parts = (config.get(key) for key in _DECODERS)
    return next((part for part in parts if isinstance(part, dict) and part), config)


def quantization_of(config: Mapping[str, Any]) -> Any:
    """The quantization_config of the model or of its decoder; empty if there is none."""
    key = "quantization_config"
    return config.get(key) or decoder_config(config).get(key)


def architectures(contents: Contents) -> Iterable[Finding]:
    """config.json names no architecture, or none that Fireworks lists."""
    config = contents.config
    if CONFIG not in contents.sound or CONFIG in contents.trouble:
        return
    named = classes(config)
    if not named:
        message = f"{CONFIG} names no architectures"
        hint = 'add the class of the model to it: "architectures": ["LlamaForCausalLM"]'
        yield warning("architectures", CONFIG, message, hint)
    elif not listed(config):
        message = f"{CONFIG}: {brief(', '.join(named))} is not on Fireworks' list of models"
        hint = "the list is not exhaustive: ask Fireworks before a long upload"
        yield warning("architectures", CONFIG, message, hint)


def quantization(contents: Contents) -> Iterable[Finding]:
    """A quantization_config: refused for gptq, awq, bitsandbytes, and if no tensor is quantized.

    One that is left over when weights are merged in 16 bits breaks every loader: it looks for
    scales that are not there (unsloth#105, unsloth#1601).
    """
    found = quantization_of(contents.config)
    if not found:
        yield from _silently_quantized(contents)
        return
    method = _method(found)
    unified = method.lower().replace("_", "-")
    if _left_over(contents, found, unified):
        message = (
            f"{CONFIG} has a quantization_config ({brief(method)}), but no tensor is quantized"
        )
        hint = f"remove quantization_config from {CONFIG}: it is left over from before a merge"
        yield error("quantization", CONFIG, message, hint)
        return
    severity, hint = error, "upload the model as it was before quantization"
    # In the words of the documentation (docs/fireworks.md §6).
    message = f"Fireworks does not support {CONFIG}'s quantization_config ({brief(method)})"
    if not unified.startswith(_REFUSED):
        severity, hint = warning, f"{hint}, unless Fireworks says that it takes this one"
    if unified.startswith(_SERVED):
        message += " according to its documentation, but serves models in such formats"
    yield severity("quantization", CONFIG, message, hint)


def _left_over(contents: Contents, found: Any, unified: str) -> bool:
    """Whether every weight is there, and none is as a quantizing tool leaves it.

    Formats that may only quantize a cache, or quantize during loading, are not meant.
    """
    if not isinstance(found, dict) or not unified.startswith((*_REFUSED, *_ALL_WEIGHTS)):
        return False
    if unified.startswith("compressed-tensors"):
        format_ = found.get("format")
        if not found.get("config_groups") or format_ in (None, "dense"):
            return False
    if not contents.headers or not contents.whole:
        return False
    headers = contents.headers.values()
    return all(dtype in _PLAIN for header in headers for dtype, _ in header.tensors.kinds) and (
        not any(_SCALED.fullmatch(name) for header in headers for name in header.tensors)
    )


def _silently_quantized(contents: Contents) -> Iterable[Finding]:
    """Older tools record quantization in files of their own, or only in the names of tensors."""
    file = next((name for name in _QUANTIZERS if name in contents.sound), None)
    tensors = (
        (name, tensor)
        for name, header in contents.headers.items()
        for tensor in header.tensors
        if tensor.endswith(_PACKED)
    )
    packed = next(tensors, None)
    hint = "upload the model as it was before quantization"
    if packed:
        message = f"{packed[0]} contains quantized tensors, which {CONFIG} does not mention"
        yield warning("quantization", packed[0], f"{message}: {brief(packed[1])}", hint)
    elif file:
        message = f"{file} says that the model is quantized, {CONFIG} does not"
        yield warning("quantization", file, message, hint)


def _method(found: Any) -> str:
    if not isinstance(found, dict):
        return "unknown"
    if found.get("load_in_4bit") or found.get("load_in_8bit"):
        return "bitsandbytes"
    method = found.get("quant_method")
    return method if isinstance(method, str) and method else "unknown"


def processor(contents: Contents) -> Iterable[Finding]:
    """A model of images or video without the files that configure their preprocessing."""
    config = contents.config
    if not (_sees(config) or _begins(config, _VISION)):
        return
    if contents.present.isdisjoint((_IMAGES, _PROCESSOR)):
        yield _unprepared(_IMAGES, "images")
    together = contents.object(_PROCESSOR).get("video_processor")
    if _begins(config, _VIDEO) and _VIDEOS not in contents.present and not together:
        yield _unprepared(_VIDEOS, "videos")


def _unprepared(name: str, seen: str) -> Finding:
    message = f"{name} is missing: the model reads {seen}, and its deployment would fail"
    hint = f"add {name} from the original model"
    return warning("processor", name, message, hint)


def _sees(config: Mapping[str, Any]) -> bool:
    vision = config.get("vision_config")
    return isinstance(vision, dict) and bool(vision)


def remote_code(contents: Contents) -> Iterable[Finding]:
    """auto_map names a Python file that is not in the folder."""
    for name in (CONFIG, "tokenizer_config.json"):
        code = _code(contents.object(name).get("auto_map"))
        missing = sorted(set(code) - contents.present)
        if missing:
            lost = some([brief(missing[0])], of=len(missing))
            message = f"{name}: auto_map needs {lost}, which is not in the folder"
            hint = "add the file from the original model, or remove auto_map if nothing needs it"
            yield warning("remote_code", name, message, hint)


def _code(named: Any) -> Iterator[str]:
    """The files of this folder that an auto_map names; "other/model--file.Class" is not here."""
    if isinstance(named, dict):
        for value in named.values():
            yield from _code(value if isinstance(value, str | list) else None)
    elif isinstance(named, list):
        yield from (file for value in named if isinstance(value, str) for file in _code(value))
    elif isinstance(named, str) and named.count(".") == 1 and "--" not in named:
        yield f"{named.partition('.')[0]}.py"


def _begins(config: Mapping[str, Any], prefixes: tuple[str, ...]) -> bool:
    return any(name.lower().startswith(prefixes) for name in classes(config))
