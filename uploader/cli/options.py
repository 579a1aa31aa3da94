"""The options that several commands share, as aliases to write into their signatures.

Those about a folder are written once, as the fields of a dataclass; `spread` puts them into the
signature of each command that takes such a value.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from uploader.cli import completion
from uploader.core.errors import UsageError
from uploader.core.job import Kind
from uploader.intake.request import (
    MODEL_FIELDS,
    PRIORITIES,
    EnqueueRequest,
    ModelFields,
    folder_of,
)

_COUNT_MAX = 2**31 - 1
_MODEL_FORM = "MODEL is written accounts/ACCOUNT/models/ID."
_GLOB_FORM = "GLOB is a pattern of names, like '*.gguf'. May be repeated."


class KindWord(StrEnum):
    """What --kind may be."""

    AUTO = "auto"
    BASE = "base"
    LORA = "lora"
    EMBEDDING = "embedding"
    DRAFT = "draft"

    @property
    def kind(self) -> Kind | None:
        """The kind that was asked for; None leaves it to the folder."""
        return None if self is KindWord.AUTO else Kind(self.value)


def _text(metavar: str, about: str) -> Any:
    return typer.Option(metavar=metavar, help=about)


def _count(about: str) -> Any:
    return typer.Option(metavar="N", min=1, max=_COUNT_MAX, help=about)


def read_model_json(path: Path | None) -> Mapping[str, Any]:
    """The content of the file of --model-json. Raises NotFound, UsageError."""
    if path is None:
        return {}
    from uploader.model.fields import read_fields  # pydantic is slow to import

    return read_fields(path)


# -- what a folder is to become ---------------------------------------------------------------

Folder = Annotated[
    Path,
    typer.Argument(
        metavar="PATH", help="The folder of a model.", show_default=False, parser=folder_of
    ),
]
Folders = Annotated[
    list[Path],
    typer.Argument(
        metavar="PATH", help="The folder of a model.", show_default=False, parser=folder_of
    ),
]
ModelId = Annotated[
    str | None, _text("ID", "Call the model ID on Fireworks. Default: made of the folder's name.")
]
Account = Annotated[
    str | None,
    _text("ACCOUNT", "Create it in ACCOUNT, a short id. Default: as configured, or the key's."),
]
KindOption = Annotated[
    KindWord,
    typer.Option(
        metavar="KIND",
        help="What the folder becomes. KIND is base, lora, embedding or draft; auto finds out.",
    ),
]
BaseModel = Annotated[str | None, _text("MODEL", f"The base model of an adapter. {_MODEL_FORM}")]
ModelJson = Annotated[
    Path | None, _text("FILE", "Take any fields of the model from FILE, a JSON object.")
]
Include = Annotated[
    list[str] | None,
    _text("GLOB", f"Also send files that are left out by default. {_GLOB_FORM}"),
]
Exclude = Annotated[list[str] | None, _text("GLOB", f"Leave out more files. {_GLOB_FORM}")]
Allow = Annotated[
    list[str] | None,
    typer.Option(
        metavar="CHECK",
        help="Treat errors of CHECK, the name of a check, as warnings. May be repeated.",
        autocompletion=completion.checks,
    ),
]
Online = Annotated[
    bool,
    typer.Option(
        "--online",
        help="Also ask Fireworks: does the key work, is it this account's, is the id free?",
    ),
]
NoPreflight = Annotated[
    bool, typer.Option("--no-preflight", help="Run no check of a file's content.")
]
Priority = Annotated[
    int,
    typer.Option(
        metavar="N",
        min=PRIORITIES[0],
        max=PRIORITIES[-1],
        help="A job with a higher priority N runs first.",
    ),
]
Snapshot = Annotated[
    str | None,
    _text("HOW", "HOW is hardlink: keep links to the files, so that the folder may be deleted."),
]

# -- the fields of a model that are asked for most (intake/request.py ModelFields) --------------

DisplayName = Annotated[str | None, _text("TEXT", "Let Fireworks show TEXT as its name.")]
Description = Annotated[str | None, _text("TEXT", "Let Fireworks show TEXT as its description.")]
HuggingFaceUrl = Annotated[str | None, _text("URL", "The model comes from the page URL.")]
GithubUrl = Annotated[str | None, _text("URL", "The model's code is at URL.")]
Public = Annotated[
    bool, typer.Option("--public", help="Let everybody read the model, not only the account.")
]
ContextLength = Annotated[int | None, _count("The longest context, N tokens.")]
SupportsTools = Annotated[
    bool, typer.Option("--supports-tools", help="The model can call functions.")
]
SupportsImageInput = Annotated[
    bool, typer.Option("--supports-image-input", help="The model accepts images.")
]
DefaultDraftModel = Annotated[
    str | None,
    _text(
        "MODEL",
        f"The draft model that deployments of this model use by default. {_MODEL_FORM}",
    ),
]
DefaultDraftTokenCount = Annotated[
    int | None,
    _count("The draft model drafts N tokens at a time. Needs --default-draft-model."),
]

# -- the options about a folder, together --------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class FolderOptions:
    """What a folder is to become: for `preflight`, and for what makes jobs of folders."""

    model_id: ModelId = None
    account: Account = None
    kind: KindOption = KindWord.AUTO
    base_model: BaseModel = None
    model_json: ModelJson = None
    include: Include = None
    exclude: Exclude = None
    allow: Allow = None

    def request(self, path: Path) -> EnqueueRequest:
        """What is asked for with the folder ``path``. Raises NotFound, UsageError."""
        return EnqueueRequest(
            path=path,
            model_id=self.model_id,
            account=self.account,
            kind=self.kind.kind,
            base_model=self.base_model,
            model_json=read_model_json(self.model_json),
            include=tuple(self.include or ()),
            exclude=tuple(self.exclude or ()),
            allow=tuple(self.allow or ()),
        )


@dataclass(frozen=True, kw_only=True)
class JobOptions(FolderOptions):
    """How a job is made of a folder: for `enqueue` and `upload`."""

    no_preflight: NoPreflight = False
    display_name: DisplayName = None
    description: Description = None
    hugging_face_url: HuggingFaceUrl = None
    github_url: GithubUrl = None
    public: Public = False
    context_length: ContextLength = None
    supports_tools: SupportsTools = False
    supports_image_input: SupportsImageInput = False
    default_draft_model: DefaultDraftModel = None
    default_draft_token_count: DefaultDraftTokenCount = None
    priority: Priority = 0
    online: Online = False
    snapshot: Snapshot = None

    def request(self, path: Path) -> EnqueueRequest:
        """As that of `FolderOptions`."""
        return replace(
            super().request(path),
            fields=ModelFields(**{name: getattr(self, name) for name in MODEL_FIELDS}),
            no_preflight=self.no_preflight,
            priority=self.priority,
            snapshot=self.snapshot,
        )

    def requests(self, paths: Sequence[Path]) -> list[EnqueueRequest]:
        """One request for each folder. Raises NotFound, UsageError."""
        if self.model_id is not None and len(paths) > 1:
            hint = "give one PATH, or leave the ids to the folders' names"
            raise UsageError("--model-id names one model, but there are several folders", hint=hint)
        request = self.request(paths[0])
        return [replace(request, path=path) for path in paths]


@dataclass(frozen=True, kw_only=True)
class AdoptOptions:
    """How a job is made of a folder for a model that is there: its fields were given before.

    `public` is given all the same: nobody is to send to a model that everybody may read by mistake.
    """

    kind: KindOption = KindWord.AUTO
    base_model: BaseModel = None
    public: Annotated[
        bool, typer.Option("--public", help="Go on with a model that everybody may read.")
    ] = False
    include: Include = None
    exclude: Exclude = None
    allow: Allow = None
    no_preflight: NoPreflight = False
    priority: Priority = 0

    def request(self, path: Path, account: str, model_id: str) -> EnqueueRequest:
        """What is asked for with the folder ``path`` and that model."""
        return EnqueueRequest(
            path=path,
            model_id=model_id,
            account=account,
            kind=self.kind.kind,
            base_model=self.base_model,
            fields=ModelFields(public=self.public),
            include=tuple(self.include or ()),
            exclude=tuple(self.exclude or ()),
            allow=tuple(self.allow or ()),
            no_preflight=self.no_preflight,
            priority=self.priority,
        )


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """``command``, whose parameter ``wanted`` is one of these values, as Typer can read it.

    In the signature that Typer sees, the fields of ``wanted`` stand in its place, each an option.
    """
    own = inspect.signature(command, eval_str=True)
    shape = own.parameters["wanted"].annotation
    hints = get_type_hints(shape, include_extras=True)
    options = [
        inspect.Parameter(
            one.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=one.default,
            annotation=hints[one.name],
        )
        for one in fields(shape)
    ]

    @functools.wraps(command)
    def spelled_out(**given: Any) -> None:
        wanted = shape(**{one.name: given.pop(one.name) for one in options})
        command(**given, wanted=wanted)

    seen: list[inspect.Parameter] = []
    for parameter in own.parameters.values():
        seen += options if parameter.name == "wanted" else [parameter]
    spelled_out.__signature__ = own.replace(parameters=seen)  # type: ignore[attr-defined]
    return spelled_out


# -- which job, and how it is shown -------------------------------------------------------------

JOB_HELP = "A job: its id, its model's id, or its model's resource name."


def _jobs(about: str = JOB_HELP) -> Any:
    return typer.Argument(
        metavar="JOB", help=about, show_default=False, autocompletion=completion.jobs
    )


OptionalJob = Annotated[str | None, _jobs(f"{JOB_HELP} Default: all jobs.")]
OneJob = Annotated[str, _jobs()]
SeveralJobs = Annotated[list[str], _jobs()]
JobsOrAll = Annotated[list[str] | None, _jobs()]
AnyJobs = Annotated[list[str] | None, _jobs(f"{JOB_HELP} Default: all jobs.")]
Every = Annotated[
    bool, typer.Option("--all", help="Every job to which this applies, instead of JOB.")
]
FollowedJobs = Annotated[list[str] | None, _jobs(f"{JOB_HELP} Default: all that are on their way.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print a JSON document.")]
AsTable = Annotated[
    bool, typer.Option("--table", help="Print the table, even if the output is not a terminal.")
]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Keep printing as more happens.")]
