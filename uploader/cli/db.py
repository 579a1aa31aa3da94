"""`uploader db`: the state store itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from uploader import files, wiring
from uploader.cli.grammar import Commands
from uploader.cli.options import AsJson
from uploader.cli.settings import settings_of
from uploader.cli.terminal import out, out_json
from uploader.core.errors import NotFound
from uploader.core.setup_documents import BackupDocument, StoreVersionDocument

db = Commands(help="The state store.\n\nExample: uploader db current")


@db.command()
def upgrade(context: typer.Context, as_json: AsJson = False) -> None:
    """Bring the state store to this program's version; a file is backed up before.

    Example: uploader db upgrade
    """
    with wiring.Store(settings_of(context)) as store:
        _print_version(store.upgrade(), as_json=as_json)


@db.command()
def current(context: typer.Context, as_json: AsJson = False) -> None:
    """Print the version of the state store.

    Example: uploader db current
    """
    with wiring.Store(settings_of(context)) as store:
        _print_version(store.version(), as_json=as_json)


@db.command()
def backup(
    context: typer.Context,
    path: Annotated[
        Path | None,
        typer.Argument(
            metavar="PATH",
            help="A file that does not exist yet. Default: next to the store, in place of the"
            " copy before.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Copy the state store while workers go on, and print the copy's path.

    Example: uploader db backup ./uploader-backup.db
    """
    with wiring.Store(settings_of(context)) as store:
        written = store.backup(path and files.absolute(path))
    if written is None:
        raise NotFound("there is no state store yet", hint="`uploader enqueue PATH` makes one")
    document: BackupDocument = {"schema": "uploader.backup/1", "path": str(written)}
    out_json(document) if as_json else out(str(written))


def _print_version(version: str | None, *, as_json: bool) -> None:
    document: StoreVersionDocument = {"schema": "uploader.store/1", "version": version}
    out_json(document) if as_json else out(version or "empty")
