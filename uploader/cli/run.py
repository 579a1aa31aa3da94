"""`uploader run`: the worker loop in the foreground."""

from __future__ import annotations

from typing import Annotated

import typer

from uploader.cli.settings import settings_of


def run(
    context: typer.Context,
    until_idle: Annotated[
        bool, typer.Option("--until-idle", help="Exit once no job is active.")
    ] = False,
) -> None:
    """Work on jobs, in the foreground; a service runs this command, too.

    On SIGTERM or Ctrl-C it stops at the next block; it can be killed at any time.

    Example: uploader run --until-idle
    """
    from uploader.service import daemon  # the whole engine is slow to import

    raise typer.Exit(daemon.run(settings_of(context), until_idle=until_idle))
