"""`uploader run`: the worker loop in the foreground."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from uploader.cli.serve import Listen, listening_at
from uploader.cli.settings import settings_of
from uploader.runtime import importing

if TYPE_CHECKING:
    from uploader.settings.schema import Settings

LogLevel = Annotated[
    str | None,
    typer.Option(
        "--log-level", metavar="LEVEL", help="Log from LEVEL on: debug, info, warning, error."
    ),
]
LogFormat = Annotated[
    str | None,
    typer.Option(
        "--log-format", metavar="FORMAT", help="Log in the FORMAT text or json; auto chooses."
    ),
]


def run(
    context: typer.Context,
    until_idle: Annotated[
        bool, typer.Option("--until-idle", help="Exit once no job is active.")
    ] = False,
    listen: Listen = None,
    log_level: LogLevel = None,
    log_format: LogFormat = None,
) -> None:
    """Work on jobs, in the foreground; a service runs this command, too.

    On SIGTERM or Ctrl-C it stops at the next block; it can be killed at any time.

    Example: uploader run --until-idle
    """

    def flagged(settings: Settings) -> Settings:
        logging = with_flags(settings, "log", level=log_level, format=log_format)
        return listening_at(logging, listen)

    with importing():
        from uploader.service import daemon  # the whole engine is slow to import
        from uploader.settings.load import load, with_flags

        settings = flagged(settings_of(context))
    listens = not settings.api.off and (listen is not None or not until_idle)

    def read() -> Settings:
        return flagged(load(context.obj))

    raise typer.Exit(daemon.run(settings, until_idle=until_idle, listens=listens, read=read))
