"""The options that enqueue and preflight share, and the words that come of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from uploader.cli.plan import FLAGGED, Wanted, field_option
from uploader.core.errors import NotFound

_COUNT_MAX = 2**31 - 1


class KindWord(StrEnum):
    """What --kind may be."""

    AUTO = "auto"
    BASE = "base"
    LORA = "lora"
    EMBEDDING = "embedding"
    DRAFT = "draft"


def _folder(word: str) -> Path:
    """``word`` as a path. An empty one is an unset variable, not the folder we stand in."""
    if not word:
        raise NotFound("the path is empty", hint="check the variable it comes from")
    return Path(word)


Folder = Annotated[
    Path,
    typer.Argument(
        metavar="PATH", help="The folder of a model.", show_default=False, parser=_folder
    ),
]


def flag(name: str, about: str) -> tuple[Any, Any]:
    return Annotated[bool, typer.Option(name, help=about)], False


def _text(metavar: str, about: str) -> tuple[Any, Any]:
    return Annotated[str | None, typer.Option(metavar=metavar, help=about)], None


def _several(metavar: str, about: str) -> tuple[Any, Any]:
    return Annotated[list[str] | None, typer.Option(metavar=metavar, help=about)], None


def _count(about: str) -> tuple[Any, Any]:
    option = typer.Option(metavar="N", min=1, max=_COUNT_MAX, help=about)
    return Annotated[int | None, option], None


#: What a folder is to become: an option's name, its type for Typer, its default.
WORDS: Mapping[str, tuple[Any, Any]] = {
    "model_id": _text("ID", "Default: the folder's name."),
    "account": _text("A", "Default: the configured one."),
    "kind": (Annotated[KindWord, typer.Option(help="What the folder becomes.")], KindWord.AUTO),
    "base_model": _text("M", "Of an adapter: accounts/A/models/M."),
    "model_json": (
        Annotated[
            Path | None,
            typer.Option(metavar="FILE", help="Any field of the model, from a JSON object."),
        ],
        None,
    ),
    "include": _several("G", "Send what is left out by default."),
    "exclude": _several("G", "Leave more files out."),
    "allow": _several("CHECK", "Take the errors of this check for warnings."),
}
#: What preflight is to look ahead at, besides.
AHEAD: Mapping[str, tuple[Any, Any]] = {
    "rate": _text("R", 'How fast it would go, like "20MB/s". Default: as the last upload went.'),
    "online": flag("--online", "Ask Fireworks, too: does the key work, is the id free?"),
}
#: The fields of a model that are asked for most; `plan.FLAGGED` has them too.
FIELDS: Mapping[str, tuple[Any, Any]] = {
    "display_name": _text("S", "Shown by Fireworks."),
    "description": _text("S", "Shown by Fireworks."),
    "hugging_face_url": _text("U", "Where the model comes from."),
    "github_url": _text("U", "Where its code is."),
    "public": flag("--public", "Let everybody read the model."),
    "context_length": _count("The longest, in tokens."),
    "supports_tools": flag("--supports-tools", "It can call functions."),
    "supports_image_input": flag("--supports-image-input", "It sees images."),
    "default_draft_model": _text("M", "It drafts for this one: accounts/A/models/M."),
    "default_draft_token_count": _count("Tokens drafted at a time."),
}


def taking(
    *groups: Mapping[str, tuple[Any, Any]],
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of ``groups``, which reach it as one dict, ``words``.

    Typer makes options of a signature and knows no other way for two commands to share any.
    """
    shared = {name: option for group in groups for name, option in group.items()}

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(command, eval_str=True).parameters.values()
        parameters = [one for one in own if one.kind is not one.KEYWORD_ONLY]
        for name, (hint, default) in shared.items():
            kind = inspect.Parameter.KEYWORD_ONLY
            parameters.append(inspect.Parameter(name, kind, default=default, annotation=hint))
        last = [one for one in own if one.kind is one.KEYWORD_ONLY and one.name != "words"]

        @wraps(command)
        def run(*arguments: Any, **given: Any) -> None:
            words = {name: given.pop(name) for name in shared}
            command(*arguments, words=words, **given)

        signature = inspect.Signature([*parameters, *last])
        vars(run)["__signature__"] = signature
        run.__annotations__ = {one.name: one.annotation for one in signature.parameters.values()}
        return run

    return decorate


def wanted(path: Path, words: Mapping[str, Any], priority: int = 0) -> Wanted:
    """Raises NotFound and UsageError where a file of fields cannot be read."""
    fields = {name: words.get(field_option(name).replace("-", "_")) for name in FLAGGED}
    return Wanted(
        path=path,
        model_id=words["model_id"],
        account=words["account"],
        kind=words["kind"].value,
        base_model=words["base_model"],
        fields={name: word for name, word in fields.items() if word},
        model_json=_content(words["model_json"]),
        include=tuple(words["include"] or ()),
        exclude=tuple(words["exclude"] or ()),
        allow=tuple(words["allow"] or ()),
        no_preflight=words.get("no_preflight", False),
        priority=priority,
        rate=words.get("rate"),
        online=words.get("online", False),
    )


def _content(path: Path | None) -> Mapping[str, Any]:
    if path is None:
        return {}
    from uploader.model.fields import read_fields  # pydantic is slow to import

    return read_fields(path)
