"""The marks that show that a folder is an embedding model or a draft model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from uploader import files
from uploader.core.job import Kind
from uploader.model.adapter import brief
from uploader.model.folder import Folder
from uploader.model.reading import Malformed, read_object

_SENTENCE_TRANSFORMERS = ("config_sentence_transformers.json", "modules.json", "1_Pooling")
#: Models without a language-model head that make embeddings. Not every name that ends in Model
#: is one: ChatGLMModel and InternVLChatModel chat, GPT2LMHeadModel is a whole language model.
_ENCODER = re.compile(
    r"(?:\w*Bert|XLMRoberta\w*|\w*Roberta|Camembert|MPNet|Electra|Deberta(?:V2)?|M?T5Encoder|New|Gte"
    r"|Llama(?:Bidirectional)?|Mistral|Qwen[23](?:Moe)?|Gemma[23]?(?:Text)?|Phi3?)Model"
)
#: Heads and small models that only draft for another one: EAGLE, Medusa, MTP layers saved on their
#: own, what the speculators library saves. A whole model that has such layers, too
#: (DeepseekV3ForCausalLM with num_nextn_predict_layers) keeps its own architecture.
_DRAFT = re.compile(
    r"(?:P?[Ee]agle|EAGLE)3?(?:Model|[A-Z]\w*(?:ForCausalLM|Model))|\w+ForCausalLM(?:Eagle3?|NextN)"
    r"|Medusa\w*Model|DFlash\w+|\w+_?MTP(?:Model)?|\w*Speculator(?:PreTrained)?(?:Model)?|\w+DraftModel"
)
#: Keys of config.json that only drafts have; the second ones only if no architecture is
#: named, because a model exported together with its heads has them, too.
_DRAFT_KEYS = ("speculators_model_type", "speculators_config", "draft_vocab_size")
_DRAFT_KEYS_ALONE = ("medusa_num_heads", "eagle_config")
#: NVIDIA's Eagle are vision models, some with the same name as a draft: EagleLlamaForCausalLM.
_VISION_KEYS = ("vision_config", "mm_vision_tower", "mm_projector_type")


def kind_of_model(folder: Folder) -> tuple[Kind, str]:
    """What ``folder``, not an adapter, is, and why; a base model unless it certainly is not."""
    config = _config(folder)
    named = _architectures(config)
    because = f"architectures: {brief(', '.join(named))}"
    draft = _draft_key(config, named)
    if draft:
        return Kind.DRAFT, f"config.json has {draft}"
    if _all_match(_DRAFT, named) and not config.keys() & {*_VISION_KEYS}:
        return Kind.DRAFT, because
    marker = _sentence_transformers(folder)
    if marker:
        return Kind.EMBEDDING, f"{marker} is there: sentence-transformers"
    if _all_match(_ENCODER, named):
        return Kind.EMBEDDING, because
    return Kind.BASE, because if named else "no sign of an adapter, an embedding or a draft model"


def _config(folder: Folder) -> Mapping[str, Any]:
    try:
        return read_object(folder.root / "config.json") if "config.json" in folder.names else {}
    except Malformed:
        return {}


def _architectures(config: Mapping[str, Any]) -> list[str]:
    found = config.get("architectures")
    named = found if isinstance(found, list) else [found]
    return [name for name in named if isinstance(name, str) and name]


def _all_match(pattern: re.Pattern[str], names: list[str]) -> bool:
    return bool(names) and all(pattern.fullmatch(name) for name in names)


def _draft_key(config: Mapping[str, Any], named: list[str]) -> str | None:
    keys = _DRAFT_KEYS if named else (*_DRAFT_KEYS, *_DRAFT_KEYS_ALONE)
    return next((key for key in keys if config.get(key)), None)


def _sentence_transformers(folder: Folder) -> str | None:
    """The first of its marks, sent or left out; for modules.json its content decides."""
    there = {*folder.names, *(left.path for left in folder.left_out)}
    for mark in _SENTENCE_TRANSFORMERS:
        if mark in there and (mark != "modules.json" or _lists_modules(folder)):
            return mark
    return None


def _lists_modules(folder: Folder) -> bool:
    if "modules.json" not in folder.names:
        return False  # left out or refused
    try:
        begin, _ = files.read(folder.root / "modules.json", 65536)
    except OSError:
        return False
    return b"sentence_transformers" in begin
