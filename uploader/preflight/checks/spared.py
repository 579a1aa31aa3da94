"""Tensors of an index that a loader does not need, and how that is known."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from uploader.preflight.checks.config import decoder_config, quantization_of

#: Buffers that every class computes from its config when it is made.
_COMPUTED = re.compile(r"(?s).*(?:rotary_emb\..*|inv_freq|position_ids|masked_bias|attn\.bias)")
#: Numbers of a quantized layer, for which other layers have no parameter.
_SCALE = re.compile(
    r"(?s).*(?:scale|scale_inv|scales|zero_point|qzeros|g_idx|absmax|quant_map|SCB)"
)
#: Heads that are trained alongside a language model and that its class does not have.
_OTHER_HEAD = re.compile(r"(?s)(?:.*\.)?(?:v_head|value_head|reward_head|score|classifier)\..*")
#: Parts for images or sound, which a class for text only does not have.
_SENSES = re.compile(r"(?s)(?:.*\.)?(?:vision|visual|image|audio|multi_modal|mm_projector)\w*\..*")
_ENDS = re.compile(
    r"(?s)(?:.*\.)?(?:lm_head|embed_out|output|predictions\.decoder"
    r"|embed_tokens|wte|embed_in|shared|word_embeddings|tok_embeddings)\.weight"
)
_LAYER = re.compile(r"(?s)(?:.*\.)?(?:layers|h|blocks)\.(\d{1,5})\..*", re.ASCII)
_BIASES = {"attention_bias": ".self_attn.", "mlp_bias": ".mlp."}


def spared(tensor: str, config: Mapping[str, Any]) -> bool:
    """Whether no loader needs the tensor with such a config; in doubt it is needed."""
    return any(_reasons(tensor, config))


def _reasons(tensor: str, config: Mapping[str, Any]) -> Iterator[bool]:
    decoder = decoder_config(config)
    yield _COMPUTED.fullmatch(tensor) is not None
    yield not quantization_of(config) and _SCALE.fullmatch(tensor) is not None
    # In a tied model one matrix serves both ends; unless the config denies it, it may be tied.
    tied = (part.get("tie_word_embeddings") for part in (config, decoder))
    yield False not in tied and _ENDS.fullmatch(tensor) is not None
    # Layers that predict further tokens: Transformers ignores them, others draft with them.
    yield tensor.startswith("mtp.") or _beyond(tensor, decoder.get("num_hidden_layers"))
    for key, part in _BIASES.items():
        yield decoder.get(key) is False and part in tensor and tensor.endswith(".bias")
    only_text = _reads_only(config)
    yield only_text and _OTHER_HEAD.fullmatch(tensor) is not None
    yield only_text and _SENSES.fullmatch(tensor) is not None


def _beyond(tensor: str, layers: Any) -> bool:
    found = _LAYER.fullmatch(tensor)
    return found is not None and type(layers) is int and int(found[1]) >= layers


def _reads_only(config: Mapping[str, Any]) -> bool:
    """Whether the class is that of a language model, and no key is about images or sound."""
    named = config.get("architectures")
    classes = [str(name) for name in named] if isinstance(named, list) else []
    senses = any("vision" in key or "audio" in key or "mm_" in key for key in config)
    return bool(classes) and all(name.endswith("ForCausalLM") for name in classes) and not senses
