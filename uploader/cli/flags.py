"""Messages from other packages in the words of the command line: fields become flags."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from uploader.core.errors import RemoteError, UploaderError
from uploader.core.reasons import Code
from uploader.core.verdict import Call
from uploader.intake.request import MODEL_FIELDS, EnqueueRequest, remote_name

#: Options that are not part of a request.
_OTHERS = ("rate", "online", "delete_remote", "rescan", "replace", "config")
#: The keys of JSON documents whose values are sentences.
_SENTENCES = frozenset({"message", "hint", "why", "kind_because"})
_NAMES = (*(one.name for one in fields(EnqueueRequest)), *MODEL_FIELDS, *_OTHERS)


def flag(name: str) -> str:
    """``hugging_face_url`` → ``--hugging-face-url``."""
    return "--" + name.replace("_", "-")


#: `path` is a flag of `verify`; that of a request is typed without a flag.
_FLAGS = {
    **{name: flag(name) for name in _NAMES if name != "fields"},
    **{remote_name(name): flag(name) for name in MODEL_FIELDS},
}


def spelled(text: str) -> str:
    """``text`` with every field that it names in backticks replaced by its flag."""
    return re.sub(r"`([A-Za-z_]+)`", lambda found: _FLAGS.get(found[1], found[0]), text)


def hint_of(error: UploaderError) -> str:
    """What to do about the error with which a command ends: unlike a job, it is not tried again."""
    hint = error.hint
    if isinstance(error, RemoteError):
        hint = hint.replace(Code.UNAVAILABLE.hint, "run the command again")
        if error.call is Call.DELETE and error.may_go_on:
            hint = "the service may delete it yet: look again, `uploader model list`"
    return spelled(hint)


def spelled_document(value: Any) -> Any:
    """A JSON document with flags in its sentences; names and paths are unchanged."""
    if isinstance(value, list):
        return [spelled_document(one) for one in value]
    if not isinstance(value, Mapping):
        return value
    return {
        key: spelled(one) if key in _SENTENCES and isinstance(one, str) else spelled_document(one)
        for key, one in value.items()
    }
