"""Models that their vendors publish quantized, sizes scaled down."""

from __future__ import annotations

import json

from tests.preflight.decoders import (
    HIDDEN,
    INNER,
    NORMS,
    SIZES,
    VISION,
    attention,
    below,
    body,
    ends,
    head,
    mlp,
    model,
    plain,
    stack,
)

_LATENT = below(
    "self_attn.",
    {
        **plain("F8_E4M3", q_a_proj__weight=(12, HIDDEN), q_b_proj__weight=(64, 12)),
        **plain("F32", q_a_proj__weight_scale_inv=(1, 1), q_b_proj__weight_scale_inv=(1, 1)),
        **plain("F8_E4M3", kv_a_proj_with_mqa__weight=(14, HIDDEN), kv_b_proj__weight=(96, 8)),
        **plain("F8_E4M3", o_proj__weight=(HIDDEN, 64)),
    },
)
_EXPERTS = below("mlp.", stack(2, mlp("", "F8_E4M3"), root="experts.")) | plain(
    "F32", mlp__gate__e_score_correction_bias=(2,)
)
#: Predicts a second token: a layer behind the last one, with an embedding and a head.
_NEXTN = below(
    "layers.3.",
    _LATENT | _EXPERTS | ends() | plain(eh_proj__weight=(HIDDEN, 2 * HIDDEN)) | head(),
)
_FP8 = {
    "activation_scheme": "dynamic",
    "fmt": "e4m3",
    "quant_method": "fp8",
    "weight_block_size": [128, 128],
}
_DEEPSEEK_CONFIG = {
    "architectures": ["DeepseekV3ForCausalLM"],
    "auto_map": {
        "AutoConfig": "configuration_deepseek.DeepseekV3Config",
        "AutoModel": "modeling_deepseek.DeepseekV3Model",
        "AutoModelForCausalLM": "modeling_deepseek.DeepseekV3ForCausalLM",
    },
    "model_type": "deepseek_v3",
    **SIZES,
    "num_key_value_heads": 8,
    "kv_lora_rank": 8,
    "q_lora_rank": 12,
    "num_nextn_predict_layers": 1,
    "quantization_config": _FP8,
    "torch_dtype": "bfloat16",
}
_DEEPSEEK_CODE = ("configuration_deepseek.py", "modeling_deepseek.py")
DEEPSEEK_V3 = model(
    _DEEPSEEK_CONFIG,
    below("model.", body(3, _LATENT, _EXPERTS, NORMS) | _NEXTN) | head(),
    *_DEEPSEEK_CODE,
)
#: Of the same class, without the layer that predicts.
KIMI_K2 = model(
    _DEEPSEEK_CONFIG | {"model_type": "kimi_k2", "num_nextn_predict_layers": 0},
    below("model.", body(3, _LATENT, _EXPERTS, NORMS)) | head(),
    *_DEEPSEEK_CODE,
    "tokenization_kimi.py",
    "tiktoken.model",
) | {
    "tokenizer_config.json": json.dumps(
        {
            "auto_map": {"AutoTokenizer": ["tokenization_kimi.TikTokenTokenizer", None]},
            "chat_template": "{{ messages }}",
        }
    ).encode()
}
KIMI_K25 = model(
    {
        "architectures": ["KimiK25ForConditionalGeneration"],
        "model_type": "kimi_k25",
        "dtype": "bfloat16",
        "text_config": _DEEPSEEK_CONFIG
        | {
            "auto_map": {"AutoConfig": "configuration_deepseek.DeepseekV3Config"},
            "num_nextn_predict_layers": 0,
            "quantization_config": {
                "quant_method": "compressed-tensors",
                "format": "pack-quantized",
            },
        },
        "vision_config": {"vt_hidden_size": 1152},
    },
    below(
        "language_model.",
        below("model.", body(3, plain("I32", mlp__up_proj__weight_packed=(INNER, 4)), NORMS))
        | head(),
    )
    | below("vision_tower.", VISION),
    "preprocessor_config.json",
)

GPT_OSS = model(
    {
        "architectures": ["GptOssForCausalLM"],
        "model_type": "gpt_oss",
        **SIZES,
        "head_dim": 8,
        "num_local_experts": 2,
        "quantization_config": {
            "modules_to_not_convert": ["model.layers.*.self_attn", "lm_head"],
            "quant_method": "mxfp4",
        },
    },
    below(
        "model.",
        body(
            3,
            attention(width=8),
            NORMS,
            plain("U8", mlp__experts__gate_up_proj_blocks=(2, 2 * INNER, 1, 16)),
            plain("U8", mlp__experts__gate_up_proj_scales=(2, 2 * INNER, 1)),
            plain(self_attn__sinks=(8,)),
        ),
    )
    | head(),
)

#: Published in formats that are warned of.
QUANTIZED = {
    "DeepSeek V3": DEEPSEEK_V3,
    "Kimi K2": KIMI_K2,
    "Kimi K2.5": KIMI_K25,
    "GPT-OSS": GPT_OSS,
}
