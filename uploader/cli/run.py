"""`uploader run`: the worker loop in the foreground."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from uploader.cli.serve import Listen, listening_at
from uploader.cli.settings import settings_of
from uploader.runtime import importing

if TYPE_CHECKING:
    from uploader.settings.schema import Settings


def run(
    context: typer.Context,
    until_idle: Annotated[
        bool, typer.Option("--until-idle", help="Exit once no job is active.")
    ] = False,
    listen: Listen = None,
) -> None:
    """Work on jobs, in the foreground; a service runs this command, too.

    On SIGTERM or Ctrl-C it stops at the next block; it can be killed at any time.

    Example: uploader run --until-idle
    """
    with importing():
        from uploader.service import daemon  # the whole engine is slow to import
        from uploader.settings.load import load

        settings = listening_at(settings_of(context), listen)
    listens = not settings.api.off and (listen is not None or not until_idle)

    def read() -> Settings:
        return listening_at(load(context.obj), listen)

    raise typer.Exit(daemon.run(settings, until_idle=until_idle, listens=listens, read=read))
