"""Checks of what a model needs to read and write text: tokenizer, chat template, defaults."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from uploader.core.job import Kind
from uploader.core.text import shown, some
from uploader.model.finding import Finding, error, warning
from uploader.model.names import is_tokenizer
from uploader.preflight.contents import Contents

TOKENIZER_CONFIG = "tokenizer_config.json"
#: An optional file for the service; what it says has priority (docs/fireworks.md §6).
FIREWORKS = "fireworks.json"

_LONGEST = 60
_PROCESSOR = "processor_config.json"
#: Tokenizers that read bytes or characters and need no file.
_OF_BYTES = ("ByT5Tokenizer", "CanineTokenizer", "PerceiverTokenizer")


def _string(found: Any) -> bool:
    return isinstance(found, str)


def _strings(found: Any) -> bool:
    return isinstance(found, str) or (isinstance(found, list) and all(map(_string, found)))


def _number(found: Any) -> bool:
    return isinstance(found, int | float) and not isinstance(found, bool)


def _integer(found: Any) -> bool:
    return _number(found) and found == found // 1


def _flag(found: Any) -> bool:
    return isinstance(found, bool)


def _object(found: Any) -> bool:
    return isinstance(found, dict)


_Kind = tuple[str, Callable[[Any], bool]]
_TEXT: _Kind = ("a string", _string)
_TEXTS: _Kind = ("a string or a list of strings", _strings)
_NUMBER: _Kind = ("a number", _number)
_INTEGER: _Kind = ("a whole number", _integer)
_FLAG: _Kind = ("true or false", _flag)
_OBJECT: _Kind = ("an object", _object)

#: The keys of fireworks.json, all optional, any of them null (docs/fireworks.md §6); the last one
#: is from older documentation.
KEYS: Mapping[str, _Kind] = {
    "defaults": _OBJECT,
    "model_arch": _TEXT,
    "model_config_name": _TEXT,
    "has_lora": _FLAG,
    "has_teft": _FLAG,
    "conversation_config": _OBJECT,
}
DEFAULTS: Mapping[str, _Kind] = {
    "stop": _TEXTS,
    "max_tokens": _INTEGER,
    "temperature": _NUMBER,
    "top_k": _INTEGER,
    "top_p": _NUMBER,
    "min_p": _NUMBER,
    "typical_p": _NUMBER,
    "frequency_penalty": _NUMBER,
    "presence_penalty": _NUMBER,
    "repetition_penalty": _NUMBER,
}
#: `args` contains the template; the other names are those of the create body
#: (docs/fireworks.md §1.2).
CONVERSATION: Mapping[str, _Kind] = {
    "style": _TEXT,
    "args": _OBJECT,
    "system": _TEXT,
    "template": _TEXT,
}


def no_tokenizer(contents: Contents) -> Iterable[Finding]:
    """There is no tokenizer file; its settings alone do not count. A base model is refused.

    An adapter may not have one (the service rejects it, docs/fireworks.md §0.9): it uses its base
    model's. A draft uses the tokenizer of the model it drafts for. The vendor requires a tokenizer
    of a base model; a model whose own code makes one (`auto_map`) only warns.
    """
    if not contents.present or _has_tokenizer(contents):
        return
    own_code = contents.object(TOKENIZER_CONFIG).get("auto_map")
    severity = error if contents.kind is Kind.BASE and not own_code else warning
    message = "there is no tokenizer, which Fireworks requires of a base model"
    if TOKENIZER_CONFIG in contents.present:
        message = f"there is no tokenizer: {TOKENIZER_CONFIG} is only its settings"
    hint = "add tokenizer.json or tokenizer.model from the model that was trained"
    yield severity("no_tokenizer", None, message, hint)


def _has_tokenizer(contents: Contents) -> bool:
    if any(map(is_tokenizer, contents.present)):
        return True
    return contents.object(TOKENIZER_CONFIG).get("tokenizer_class") in _OF_BYTES


def chat_template(contents: Contents) -> Iterable[Finding]:
    """No chat template, or none in tokenizer_config.json: chat needs one, completions do not."""
    if not _has_tokenizer(contents) or _has_template(contents):
        return
    if contents.trouble.keys() & {TOKENIZER_CONFIG, FIREWORKS}:
        return
    message = "there is no chat template: chat needs one, completions do not"
    hint = f"if the model should chat, add chat_template to {TOKENIZER_CONFIG}"
    elsewhere = next(_template_elsewhere(contents), None)
    if elsewhere:
        message = f"the chat template is only in {elsewhere}, but Fireworks documents another place"
        hint = f"copy it into {TOKENIZER_CONFIG} as the string chat_template"
    yield warning("chat_template", elsewhere or TOKENIZER_CONFIG, message, hint)


def _has_template(contents: Contents) -> bool:
    """Whether there is one in a place that the service documents, or such a file cannot be read."""
    unread = {TOKENIZER_CONFIG, FIREWORKS} & contents.present - contents.sound
    keys = ((TOKENIZER_CONFIG, "chat_template"), (FIREWORKS, "conversation_config"))
    return any((unread, *(contents.object(name).get(key) for name, key in keys)))


def _template_elsewhere(contents: Contents) -> Iterator[str]:
    """The files in which newer and older releases of Transformers keep a template."""
    yield from sorted({"chat_template.jinja", "chat_template.json"} & contents.present)
    if contents.object(_PROCESSOR).get("chat_template"):
        yield _PROCESSOR


def fireworks_json(contents: Contents) -> Iterable[Finding]:
    """fireworks.json is not a JSON object, or has keys or values that the service does not know."""
    found = contents.object(FIREWORKS)
    if FIREWORKS in contents.trouble:
        message = f"{FIREWORKS} {contents.trouble[FIREWORKS]}"
        yield error("fireworks_json", FIREWORKS, message, "fix it, or `exclude` fireworks.json")
    parts = (
        (found, "", KEYS),
        (found.get("defaults"), "defaults.", DEFAULTS),
        (found.get("conversation_config"), "conversation_config.", CONVERSATION),
    )
    for part, path, keys in parts:
        if isinstance(part, dict):
            yield from _unknown(part, path, keys)
            yield from _wrong(part, path, keys)


def _unknown(part: Mapping[str, Any], path: str, keys: Mapping[str, _Kind]) -> Iterable[Finding]:
    names = [name for name in part if name not in keys]
    if not names:
        return
    first = names[0][:_LONGEST]
    unknown = some([path + shown(first)], of=len(names))
    message = f"{FIREWORKS}: {unknown} is not a known key"
    yield warning("fireworks_json", FIREWORKS, message, _meant(first, path, keys))


def _meant(name: str, path: str, keys: Mapping[str, _Kind]) -> str:
    if keys is KEYS and name in DEFAULTS:
        return "move it into defaults"
    near = difflib.get_close_matches(name, keys, n=1)
    return f"did you mean {path}{near[0]}?" if near else f"the known keys are {', '.join(keys)}"


def _wrong(part: Mapping[str, Any], path: str, keys: Mapping[str, _Kind]) -> Iterable[Finding]:
    for name, (words, fits) in keys.items():
        if part.get(name) is not None and not fits(part[name]):
            message = f"{FIREWORKS}: {path}{name} is not {words}"
            hint = "fix it, or remove it: every key is optional"
            yield warning("fireworks_json", FIREWORKS, message, hint)
