"""`uploader db`: the state store itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from uploader import wiring
from uploader.cli.settings import settings_of
from uploader.cli.terminal import out
from uploader.core.errors import NotFound

db = typer.Typer(help="The state store.", rich_markup_mode=None)


@db.command()
def upgrade(context: typer.Context) -> None:
    """Bring the state store to this program's version; a file is backed up before."""
    with wiring.Store(settings_of(context)) as store:
        out(store.upgrade())


@db.command()
def current(context: typer.Context) -> None:
    """Print the version of the state store."""
    with wiring.Store(settings_of(context)) as store:
        out(store.version() or "empty")


@db.command()
def backup(
    context: typer.Context,
    path: Annotated[
        Path | None, typer.Argument(help="A file that does not exist yet.", show_default=False)
    ] = None,
) -> None:
    """Copy the state store while workers go on, and print the copy's path.

    Without PATH the copy is kept next to the store and takes the place of the last one.
    """
    with wiring.Store(settings_of(context)) as store:
        written = store.backup(path and path.absolute())
    if written is None:
        raise NotFound("there is no state store yet", hint="`uploader enqueue PATH` makes one")
    out(str(written))
