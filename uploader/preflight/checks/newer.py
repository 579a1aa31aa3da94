"""The check of files saved by transformers 5, which servers with an older one misread."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from uploader.model.adapter import brief
from uploader.model.finding import Finding, warning
from uploader.preflight.checks.config import CONFIG, decoder_config
from uploader.preflight.checks.text import TOKENIZER_CONFIG
from uploader.preflight.contents import Contents

#: Older releases' name of the class that reads a tokenizer.json.
_FAST = "PreTrainedTokenizerFast"


def newer_format(contents: Contents) -> Iterable[Finding]:
    """Keys and values of transformers 5 that older servers misread: one warning, with every edit.

    They do not have the class `TokenizersBackend`; a list of `extra_special_tokens` makes their
    tokenizer raise AttributeError; without a `rope_theta` alongside `rope_parameters` they assume
    10000 and silently answer nonsense (vllm#42624); only one of them reads `__float__` as a number.
    """
    edits = [
        *((TOKENIZER_CONFIG, e) for e in _of_tokenizer(contents.object(TOKENIZER_CONFIG))),
        *((CONFIG, edit) for edit in _of_rope(contents.config)),
        *((CONFIG, edit) for edit in _of_floats(contents.config)),
    ]
    if edits:
        files = " and ".join(dict.fromkeys(file for file, _ in edits))
        message = f"{files}: as transformers 5 writes it, which older servers misread"
        hint = "; ".join(f"{file}: {edit}" for file, edit in edits)
        yield warning("newer_format", edits[0][0], message, hint)


def _of_tokenizer(settings: Mapping[str, Any]) -> Iterator[str]:
    if settings.get("tokenizer_class") == "TokenizersBackend":
        yield f'set "tokenizer_class" to "{_FAST}"'
    if isinstance(settings.get("extra_special_tokens"), list):
        yield 'rename "extra_special_tokens" to "additional_special_tokens"'


def _of_floats(config: Mapping[str, Any]) -> Iterator[str]:
    """Infinity and NaN, which an older release reads as an object."""
    for part in (config, decoder_config(config)):
        for key, value in part.items():
            if any(isinstance(v, dict) and "__float__" in v for v in _list(value)):
                yield f"write {shlex.quote(brief(key))} as a plain number, without __float__"
        if decoder_config(config) is config:
            return


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _of_rope(config: Mapping[str, Any]) -> Iterator[str]:
    decoder = decoder_config(config)
    rope = decoder.get("rope_parameters")
    if not isinstance(rope, dict) or "rope_theta" in decoder:
        return
    within = {key: part for key, part in rope.items() if isinstance(part, dict)}
    parts = {"": rope} | {f".{shlex.quote(brief(key))}": part for key, part in within.items()}
    where = "" if decoder is config else "of the decoder's part "
    for key, part in parts.items():
        theta = part.get("rope_theta")
        if isinstance(theta, int | float) and not isinstance(theta, bool):
            yield f'{where}add "rope_theta": {theta} (from rope_parameters{key})'
            if part.get("rope_type") not in (None, "default"):
                yield f'{where}add "rope_scaling" with the entries of rope_parameters{key}'
            return
