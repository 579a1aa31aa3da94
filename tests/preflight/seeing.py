"""Models of images and text as their vendors publish them, sizes scaled down."""

from __future__ import annotations

from tests.preflight.decoders import (
    HIDDEN,
    INNER,
    NORMS,
    SIZES,
    VISION,
    VOCAB,
    attention,
    below,
    body,
    head,
    mlp,
    model,
    plain,
)

#: The text part leaves most to its class; tied, so without a head.
GEMMA_3 = model(
    {
        "architectures": ["Gemma3ForConditionalGeneration"],
        "model_type": "gemma3",
        "boi_token_index": 255999,
        "text_config": {
            "hidden_size": HIDDEN,
            "intermediate_size": INNER,
            "model_type": "gemma3_text",
            "num_hidden_layers": 3,
            "sliding_window": 1024,
        },
        "torch_dtype": "bfloat16",
        "vision_config": {"hidden_size": 1152, "model_type": "siglip_vision_model"},
    },
    below("language_model.model.", body(3, attention(width=16), mlp(), NORMS))
    | below("vision_tower.vision_model.", VISION)
    | plain(multi_modal_projector__mm_input_projection_weight=(16, HIDDEN)),
    "preprocessor_config.json",
    "processor_config.json",
)

QWEN_25_VL_CONFIG = {
    "architectures": ["Qwen2_5_VLForConditionalGeneration"],
    "model_type": "qwen2_5_vl",
    **SIZES,
    "torch_dtype": "bfloat16",
    "vision_config": {"depth": 32, "hidden_size": 1280, "out_hidden_size": HIDDEN},
}
QWEN_25_VL = model(
    QWEN_25_VL_CONFIG,
    below("model.", body()) | head() | below("visual.", VISION),
    "preprocessor_config.json",
)

QWEN_3_VL = model(
    {
        "architectures": ["Qwen3VLForConditionalGeneration"],
        "model_type": "qwen3_vl",
        "text_config": {"model_type": "qwen3_vl_text", **SIZES, "head_dim": 16},
        "vision_config": {"depth": 27, "hidden_size": 1152},
    },
    below("model.language_model.", body(3, attention(width=16), mlp(), NORMS))
    | head()
    | below("model.visual.", VISION),
    "preprocessor_config.json",
    "video_preprocessor_config.json",
)

#: Eight more rows for the image's token, as Llama 3.2 Vision has them.
MLLAMA = model(
    {
        "architectures": ["MllamaForConditionalGeneration"],
        "model_type": "mllama",
        "text_config": {"model_type": "mllama_text_model", **SIZES},
        "vision_config": {"hidden_size": 1280},
    },
    below("language_model.", below("model.", body(vocab=VOCAB + 8)) | head()),
    "preprocessor_config.json",
)

SEEING = {
    "Gemma 3": GEMMA_3,
    "Qwen 2.5 VL": QWEN_25_VL,
    "Qwen 3 VL": QWEN_3_VL,
    "Llama 3.2 Vision": MLLAMA,
}
