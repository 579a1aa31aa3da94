"""Tensors of an index that a loader does not need, and how that is known."""

from __future__ import annotations

import re
from collections.abc import Mapping
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


class Spared:
    """The tensors that no loader needs with such a config; in doubt one is needed."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        decoder = decoder_config(config)
        # In a tied model one matrix serves both ends; unless the config denies it, it may be tied.
        denied = False in [part.get("tie_word_embeddings") for part in (config, decoder)]
        only_text = _reads_only(config)
        rules = (
            (_COMPUTED, True),
            (_SCALE, not quantization_of(config)),
            (_ENDS, not denied),
            (_OTHER_HEAD, only_text),
            (_SENSES, only_text),
        )
        self._patterns = [pattern for pattern, holds in rules if holds]
        self._layers = decoder.get("num_hidden_layers")
        self._biases = [part for key, part in _BIASES.items() if decoder.get(key) is False]

    def __contains__(self, tensor: str) -> bool:
        """Asked for each tensor of an index, so what follows from the config is known before."""
        return (
            any(pattern.fullmatch(tensor) for pattern in self._patterns)
            # Layers that predict further tokens: Transformers ignores them, others draft with them.
            or tensor.startswith("mtp.")
            or self._is_beyond(tensor)
            or (tensor.endswith(".bias") and any(part in tensor for part in self._biases))
        )

    def _is_beyond(self, tensor: str) -> bool:
        found = _LAYER.fullmatch(tensor)
        return found is not None and type(self._layers) is int and int(found[1]) >= self._layers


def _reads_only(config: Mapping[str, Any]) -> bool:
    """Whether the class is that of a language model, and no key is about images or sound."""
    named = config.get("architectures")
    classes = [str(name) for name in named] if isinstance(named, list) else []
    senses = any("vision" in key or "audio" in key or "mm_" in key for key in config)
    return bool(classes) and all(name.endswith("ForCausalLM") for name in classes) and not senses
