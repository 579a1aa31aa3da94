"""`uploader run`: the worker loop in the foreground."""

from __future__ import annotations

from typing import Annotated

import typer

from uploader.cli.settings import settings_of


def run(
    context: typer.Context,
    until_idle: Annotated[
        bool, typer.Option("--until-idle", help="End once no job is active.")
    ] = False,
) -> None:
    """Work on jobs in the foreground, as a service does.

    SIGTERM and Ctrl-C let it stop at the next block; it can be killed at any instant.
    """
    from uploader.service import daemon  # the whole engine, slow to import

    raise typer.Exit(daemon.run(settings_of(context), until_idle=until_idle))
