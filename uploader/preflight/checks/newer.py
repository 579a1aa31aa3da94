"""The check of files that transformers 5 saved, read by servers that know its older words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from uploader.model.adapter import brief
from uploader.model.finding import Finding, warning
from uploader.preflight.checks.config import CONFIG, decoder_config
from uploader.preflight.checks.text import TOKENIZER_CONFIG
from uploader.preflight.contents import Contents

#: What older releases call the class that reads a tokenizer.json.
_FAST = "PreTrainedTokenizerFast"


def newer_format(contents: Contents) -> Iterable[Finding]:
    """Words of transformers 5 that older servers misread: one warning with every edit.

    `TokenizersBackend` is a class they do not have; a list of `extra_special_tokens` ends their
    tokenizer with an AttributeError; without a `rope_theta` beside `rope_parameters` they take
    10000 and answer nonsense without a word (vllm#42624); `__float__` is a number to one only.
    """
    edits = [
        *((TOKENIZER_CONFIG, e) for e in _of_tokenizer(contents.object(TOKENIZER_CONFIG))),
        *((CONFIG, edit) for edit in _of_rope(contents.config)),
        *((CONFIG, edit) for edit in _of_floats(contents.config)),
    ]
    if edits:
        files = " and ".join(dict.fromkeys(file for file, _ in edits))
        message = f"{files}: in words of transformers 5, which older servers misread"
        hint = "; ".join(f"{file}: {edit}" for file, edit in edits)
        yield warning("newer_format", edits[0][0], message, hint)


def _of_tokenizer(settings: Mapping[str, Any]) -> Iterator[str]:
    if settings.get("tokenizer_class") == "TokenizersBackend":
        yield f'set "tokenizer_class" to "{_FAST}"'
    if isinstance(settings.get("extra_special_tokens"), list):
        yield 'rename "extra_special_tokens" to "additional_special_tokens"'


def _of_floats(config: Mapping[str, Any]) -> Iterator[str]:
    """Infinity and NaN, which an older release takes for an object."""
    for part in (config, decoder_config(config)):
        for key, value in part.items():
            if any(isinstance(v, dict) and "__float__" in v for v in _list(value)):
                yield f"write {brief(key)} without __float__, as a plain number"
        if decoder_config(config) is config:
            return


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _of_rope(config: Mapping[str, Any]) -> Iterator[str]:
    decoder = decoder_config(config)
    rope = decoder.get("rope_parameters")
    if not isinstance(rope, dict) or "rope_theta" in decoder:
        return
    parts = {"": rope} | {f".{key}": part for key, part in rope.items() if isinstance(part, dict)}
    where = "" if decoder is config else "of the decoder's part "
    for key, part in parts.items():
        theta = part.get("rope_theta")
        if isinstance(theta, int | float) and not isinstance(theta, bool):
            yield f'{where}add "rope_theta": {theta} (from rope_parameters{key})'
            if part.get("rope_type") not in (None, "default"):
                yield f'{where}add "rope_scaling" with the entries of rope_parameters{key}'
            return
