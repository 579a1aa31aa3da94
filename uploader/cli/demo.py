"""`uploader demo`: an upload that is killed resumes and ends in READY."""

from __future__ import annotations

from typing import Annotated

import typer


def demo(
    *,
    keep: Annotated[
        bool,
        typer.Option("--keep", help="At the end, leave the sandbox running and keep the folder."),
    ] = False,
    page: Annotated[
        bool,
        typer.Option("--page", help="Let it be watched in a browser: print a link, and go slowly."),
    ] = False,
    pace: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            min=0,
            max=3600,
            help="Pause for SECONDS at each step, to look around from another terminal.",
        ),
    ] = 0,
) -> None:
    """Upload a small model to the sandbox; kill the upload with SIGKILL and watch it resume.

    Example: uploader demo --page
    """
    from uploader.demo import main  # not part of the client

    raise typer.Exit(main(keep=keep, page=page, pace_s=pace))
