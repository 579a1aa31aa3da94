"""`uploader demo`: a small model goes up, through crashes and faults."""

from __future__ import annotations

from typing import Annotated

import typer


def demo(
    *,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the sandbox running at the end, and the folder.")
    ] = False,
    pace: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            min=0,
            max=3600,
            help="Stop for so long at each step, for a look from another terminal.",
        ),
    ] = 0,
) -> None:
    """Upload a small model to the sandbox, through crashes and faults."""
    from uploader.sandbox.demo import main  # no part of the client

    raise typer.Exit(main(keep=keep, pace_s=pace))
