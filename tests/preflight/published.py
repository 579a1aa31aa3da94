"""Models of text as their vendors publish them: true configs and names, sizes scaled down."""

from __future__ import annotations

from typing import Any

from tests.preflight.decoders import (
    HIDDEN,
    INNER,
    NORMS,
    SIZES,
    VOCAB,
    attention,
    below,
    body,
    head,
    mlp,
    model,
    plain,
    stack,
)

LLAMA_3_CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    **SIZES,
    "attention_bias": False,
    "max_position_embeddings": 8192,
    "rope_theta": 500000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
LLAMA_3_TENSORS = below("model.", body()) | head()
LLAMA_3 = model(LLAMA_3_CONFIG, LLAMA_3_TENSORS)

QWEN_3 = model(
    {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        **SIZES,
        "head_dim": 16,
        "sliding_window": None,
        "tie_word_embeddings": True,
        "dtype": "bfloat16",
    },
    below(
        "model.",
        body(
            3,
            attention(width=16),
            mlp(),
            NORMS,
            plain(self_attn__q_norm__weight=(16,), self_attn__k_norm__weight=(16,)),
        ),
    ),
)

#: The embedding has rows to spare, as Qwen 2.5 has.
QWEN_25 = model(
    {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        **SIZES,
        "torch_dtype": "bfloat16",
    },
    below("model.", body(vocab=VOCAB + 32)) | head(VOCAB + 32),
)

MIXTRAL = model(
    {
        "architectures": ["MixtralForCausalLM"],
        "model_type": "mixtral",
        **SIZES,
        "num_local_experts": 2,
        "num_experts_per_tok": 2,
        "torch_dtype": "bfloat16",
    },
    below(
        "model.",
        body(
            3,
            attention(),
            NORMS,
            plain(block_sparse_moe__gate__weight=(2, HIDDEN)),
            stack(
                2,
                plain(w1__weight=(INNER, HIDDEN), w2__weight=(HIDDEN, INNER)),
                root="block_sparse_moe.experts.",
            ),
        ),
    )
    | head(),
)

PHI_3 = model(
    {
        "_name_or_path": "Phi-3-mini-4k-instruct",
        "architectures": ["Phi3ForCausalLM"],
        "auto_map": {
            "AutoConfig": "configuration_phi3.Phi3Config",
            "AutoModelForCausalLM": "modeling_phi3.Phi3ForCausalLM",
        },
        "model_type": "phi3",
        **SIZES,
        "num_key_value_heads": 8,
        "torch_dtype": "bfloat16",
    },
    below(
        "model.",
        body(
            3,
            NORMS,
            plain(
                self_attn__qkv_proj__weight=(3 * HIDDEN, HIDDEN),
                self_attn__o_proj__weight=(HIDDEN, HIDDEN),
                mlp__gate_up_proj__weight=(2 * INNER, HIDDEN),
                mlp__down_proj__weight=(HIDDEN, INNER),
            ),
        ),
    )
    | head(),
    "configuration_phi3.py",
    "modeling_phi3.py",
)

PHI_2 = model(
    {"architectures": ["PhiForCausalLM"], "model_type": "phi", **SIZES},
    below(
        "model.",
        plain(embed_tokens__weight=(VOCAB, HIDDEN), final_layernorm__weight=(HIDDEN,))
        | stack(3, attention()),
    )
    | head(),
)

FALCON = model(
    {"architectures": ["FalconForCausalLM"], "model_type": "falcon", **SIZES},
    below(
        "transformer.",
        plain(word_embeddings__weight=(VOCAB, HIDDEN), ln_f__weight=(HIDDEN,))
        | stack(3, plain(self_attention__query_key_value__weight=(48, HIDDEN)), root="h."),
    )
    | head(),
)

STARCODER = model(
    {
        "architectures": ["GPTBigCodeForCausalLM"],
        "model_type": "gpt_bigcode",
        "n_embd": HIDDEN,
        "n_layer": 3,
        "n_head": 8,
        "vocab_size": VOCAB,
    },
    below(
        "transformer.",
        plain(wte__weight=(VOCAB, HIDDEN), wpe__weight=(64, HIDDEN), ln_f__weight=(HIDDEN,))
        | stack(3, plain(attn__c_attn__weight=(48, HIDDEN)), root="h."),
    ),
)

DBRX = model(
    {
        "architectures": ["DbrxForCausalLM"],
        "model_type": "dbrx",
        "d_model": HIDDEN,
        "n_layers": 3,
        "vocab_size": VOCAB,
    },
    below(
        "transformer.",
        plain(wte__weight=(VOCAB, HIDDEN), norm_f__weight=(HIDDEN,))
        | stack(3, plain(norm_attn_norm__attn__Wqkv__weight=(48, HIDDEN)), root="blocks."),
    )
    | head(),
)

PYTHIA = model(
    {
        "architectures": ["GPTNeoXForCausalLM"],
        "model_type": "gpt_neox",
        **SIZES,
        "torch_dtype": "float16",
    },
    below(
        "gpt_neox.",
        plain("F16", embed_in__weight=(VOCAB, HIDDEN), final_layer_norm__weight=(HIDDEN,))
        | stack(3, plain("F16", attention__query_key_value__weight=(96, HIDDEN))),
    )
    | plain("F16", embed_out__weight=(VOCAB, HIDDEN)),
)

TEXTS = {
    "Llama 3": LLAMA_3,
    "Qwen 3": QWEN_3,
    "Qwen 2.5": QWEN_25,
    "Mixtral": MIXTRAL,
    "Phi 3": PHI_3,
    "Phi 2": PHI_2,
    "Falcon": FALCON,
    "Starcoder": STARCODER,
    "DBRX": DBRX,
    "Pythia": PYTHIA,
}
#: Saved without the parent that a class with a head has.
QWEN_3_EMBEDDING = model(
    {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        **SIZES,
        "head_dim": 16,
        "torch_dtype": "bfloat16",
    },
    body(3, attention(width=16), mlp(), NORMS),
)
BERT = model(
    {
        "architectures": ["BertModel"],
        "model_type": "bert",
        **SIZES,
        "torch_dtype": "float32",
    },
    plain("F32", embeddings__word_embeddings__weight=(VOCAB, HIDDEN))
    | stack(
        3, plain("F32", attention__self__query__weight=(HIDDEN, HIDDEN)), root="encoder.layer."
    ),
)
