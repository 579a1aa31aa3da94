"""Checks of complete weights that are saved under names that loaders do not look for."""

from __future__ import annotations

import re
from collections.abc import Iterable

from uploader.core.text import some
from uploader.model.adapter import brief
from uploader.model.finding import Finding, warning
from uploader.preflight.contents import Contents

#: What tools add to the name of a module, and how to save without it.
_UNWRAP = {
    "_orig_mod.": "torch.compile wraps it: save model._orig_mod",
    "_fsdp_wrapped_module.": "FSDP wraps it: save a full state dict",
    "_checkpoint_wrapped_module.": "activation checkpointing wraps it: save the module inside",
    "module.": "DataParallel wraps it: save model.module",
    "base_model.model.": "PEFT wraps it: save what merge_and_unload() returns",
    ".base_layer.": "PEFT wraps it: save what merge_and_unload() returns",
    ".lora_A.": "an adapter is not merged: save what merge_and_unload() returns",
}
_WRAPPED = re.compile(
    r"(?:_orig_mod|module|base_model\.model)\.|_orig_mod\.|_(?:fsdp|checkpoint)_wrapped_module\."
    r"|\.base_layer\.|\.lora_A\."
)
#: Transformers' words for PyTorch's layout; None, no metadata, is fine, too.
_FORMATS = (None, "pt", "mlx")


def wrapped_names(contents: Contents) -> Iterable[Finding]:
    """Tensors with the names of a wrapper: torch.compile's, FSDP's, an unmerged adapter's."""
    for name, header in contents.headers.items():
        wrapped = [tensor for tensor in header.tensors if _mark(tensor)]
        if wrapped:
            message = f"{name} contains {brief(some(wrapped))}: a name that no loader looks for"
            yield warning("wrapped_names", name, message, _UNWRAP[_mark(wrapped[0])])


def _mark(tensor: str) -> str:
    """The mark of a wrapper in the name; only at its beginning if it is a common word."""
    found = _WRAPPED.match(tensor) or _WRAPPED.search(tensor)
    if not found or (found[0] in ("module.", "base_model.model.") and found.start()):
        return ""
    return found[0]


def metadata_format(contents: Contents) -> Iterable[Finding]:
    """Metadata of a safetensors file without the "format": "pt" that Transformers requires."""
    for name, header in contents.headers.items():
        if header.format not in _FORMATS:
            found = f'"format": "{brief(header.format)}"' if header.format else "no format"
            message = f"the metadata of {name} says {found}: Transformers refuses that"
            hint = 'save it with metadata={"format": "pt"}, or with save_pretrained'
            yield warning("metadata_format", name, message, hint)
