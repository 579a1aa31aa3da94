"""The settings, the store and the jobs a command is about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from uploader import wiring
from uploader.core.errors import NotFound
from uploader.core.job import Job

if TYPE_CHECKING:
    from uploader.settings.schema import Settings
    from uploader.store.jobs import Jobs

JOB_HELP = "A job's id, or a model id that only one job has."

JobArgument = Annotated[str, typer.Argument(metavar="JOB", help=JOB_HELP, show_default=False)]
OptionalJob = Annotated[
    str | None, typer.Argument(metavar="[JOB]", help=JOB_HELP, show_default=False)
]
SeveralJobs = Annotated[
    list[str], typer.Argument(metavar="JOB...", help=JOB_HELP, show_default=False)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print a JSON document.")]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on as more happens.")]


def settings_of(context: typer.Context) -> Settings:
    """Flag > environment > file > default; raises UsageError."""
    from uploader.settings.load import load  # pydantic is slow to import

    return load(context.obj)


def store_of(settings: Settings) -> Jobs:
    """The store to read one job from; raises NotFound where none was created yet."""
    jobs = wiring.read_jobs(settings)
    if jobs is None:
        raise NotFound("there are no jobs yet", hint="`uploader enqueue PATH` makes one")
    return jobs


def jobs_of(settings: Settings, ref: str | None) -> list[Job]:
    """The one job that ``ref`` means, or every job. Raises NotFound, StoreError."""
    if ref is not None:
        return [store_of(settings).find(ref)]
    jobs = wiring.read_jobs(settings)
    return jobs.jobs() if jobs is not None else []
