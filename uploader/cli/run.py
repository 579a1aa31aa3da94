"""`uploader run`: the worker loop in the foreground."""

from __future__ import annotations

from typing import Annotated

import typer

from uploader.cli.serve import Listen, listening_at
from uploader.cli.settings import settings_of
from uploader.runtime import importing


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

        settings = listening_at(settings_of(context), listen)
    listens = not settings.api.off and (listen is not None or not until_idle)
    raise typer.Exit(daemon.run(settings, until_idle=until_idle, listens=listens))
