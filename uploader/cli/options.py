"""The options that several commands share, as aliases to write into their signatures."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from uploader.core.job import Kind
from uploader.intake.request import PRIORITIES, folder_of

_COUNT_MAX = 2**31 - 1


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
ModelId = Annotated[str | None, _text("ID", "Default: the folder's name.")]
Account = Annotated[str | None, _text("A", "Default: the configured one.")]
KindOption = Annotated[KindWord, typer.Option(help="What the folder becomes.")]
BaseModel = Annotated[str | None, _text("M", "The base of an adapter: accounts/A/models/M.")]
ModelJson = Annotated[
    Path | None, _text("FILE", "A file with a JSON object: any fields of the model.")
]
Include = Annotated[list[str] | None, _text("G", "Also send files matching G.")]
Exclude = Annotated[list[str] | None, _text("G", "Also leave out files matching G.")]
Allow = Annotated[list[str] | None, _text("CHECK", "Treat errors of this check as warnings.")]
NoPreflight = Annotated[
    bool, typer.Option("--no-preflight", help="Run no check of a file's content.")
]
Priority = Annotated[
    int,
    typer.Option(
        metavar="N",
        min=PRIORITIES[0],
        max=PRIORITIES[-1],
        help="A job with a higher priority runs first.",
    ),
]

# -- the fields of a model that are asked for most (intake/request.py ModelFields) --------------

DisplayName = Annotated[str | None, _text("S", "A name that Fireworks shows.")]
Description = Annotated[str | None, _text("S", "Shown by Fireworks.")]
HuggingFaceUrl = Annotated[str | None, _text("U", "Where the model comes from.")]
GithubUrl = Annotated[str | None, _text("U", "Where the model's code is.")]
Public = Annotated[bool, typer.Option("--public", help="Let everybody read the model.")]
ContextLength = Annotated[int | None, _count("The longest context, in tokens.")]
SupportsTools = Annotated[
    bool, typer.Option("--supports-tools", help="The model can call functions.")
]
SupportsImageInput = Annotated[
    bool, typer.Option("--supports-image-input", help="The model accepts images.")
]
DefaultDraftModel = Annotated[
    str | None, _text("M", "The model that it drafts for: accounts/A/models/M.")
]
DefaultDraftTokenCount = Annotated[int | None, _count("How many tokens it drafts at a time.")]

# -- which job, and how it is shown -------------------------------------------------------------

JOB_HELP = "A job's id, its model's id, or its model's resource name."
JobArgument = Annotated[str, typer.Argument(metavar="JOB", help=JOB_HELP, show_default=False)]
OptionalJob = Annotated[
    str | None, typer.Argument(metavar="[JOB]", help=JOB_HELP, show_default=False)
]
SeveralJobs = Annotated[
    list[str], typer.Argument(metavar="JOB...", help=JOB_HELP, show_default=False)
]
FollowedJobs = Annotated[
    list[str] | None, typer.Argument(metavar="[JOB...]", help=JOB_HELP, show_default=False)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print a JSON document.")]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Keep printing as more happens.")]
