"""`uploader demo`: a small model goes up, through crashes and faults."""

from __future__ import annotations

import typer


def demo() -> None:
    """Upload a small model to the sandbox, through crashes and faults."""
    from uploader.sandbox.demo import main  # no part of the client

    raise typer.Exit(main())
