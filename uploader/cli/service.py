"""`uploader run`, `db`, `config`, `sandbox` and `demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from uploader import wiring
from uploader.cli.state import settings_of
from uploader.cli.terminal import out, out_table, say, width
from uploader.core.errors import NotFound, UsageError

db = typer.Typer(help="The state store.", rich_markup_mode=None)
config = typer.Typer(help="The configuration.", rich_markup_mode=None)


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


@db.command()
def upgrade(context: typer.Context) -> None:
    """Bring the state store to this program's version; a file is backed up before."""
    out(wiring.db_upgrade(settings_of(context)))


@db.command()
def current(context: typer.Context) -> None:
    """Print the version of the state store."""
    out(wiring.db_current(settings_of(context)) or "empty")


@db.command()
def backup(
    context: typer.Context,
    path: Annotated[
        Path | None, typer.Argument(help="A file that does not exist yet.", show_default=False)
    ] = None,
) -> None:
    """Copy the state store while workers go on, and print where to.

    Without PATH the copy is kept beside the store and takes the place of the last one.
    """
    written = wiring.db_backup(settings_of(context), path and path.absolute())
    if written is None:
        raise NotFound("there is no state store yet", hint="`uploader enqueue PATH` makes one")
    out(str(written))


@config.command("show")
def show_config(context: typer.Context) -> None:
    """Every setting, its value and where it comes from; secrets are masked."""
    from uploader.settings.load import describe  # as in state.py

    rows, columns = describe(settings_of(context)), width()
    if columns is not None:
        out_table(("SETTING", "VALUE", "FROM"), rows, columns)
        return
    for row in rows:
        out(*row)


@config.command("path")
def config_path(context: typer.Context) -> None:
    """Print the file in force."""
    file = settings_of(context).config_file
    if file is None:
        say("there is no configuration file: environment and defaults are in force")
    else:
        out(str(file))


@config.command("check")
def check_config(context: typer.Context) -> None:
    """Read every setting as a worker would; exit 2 where one is wrong."""
    settings_of(context)
    out("ok")


def sandbox(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 = any free one.")] = 0,
    data_dir: Annotated[
        Path | None, typer.Option(help="Where objects appear as files.", show_default=False)
    ] = None,
    faults: Annotated[
        str | None, typer.Option(metavar="F", help="A fault script: a file, or the JSON itself.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of everything left to chance.")] = 0,
) -> None:
    """A local stand-in for Fireworks and its storage, to try things out.

    Prints one line of JSON when it listens: base_url, storage_url, api_key, account_id,
    control_token.
    """
    from uploader.sandbox.script import read_script  # no part of the client
    from uploader.sandbox.server import serve

    try:
        serve(port, data_dir, read_script(faults), seed)
    except (OSError, ValueError) as problem:
        hint = "another --port, --data-dir or --faults helps"
        raise UsageError(f"the sandbox cannot start: {problem}", hint=hint) from None


def demo() -> None:
    """Upload a small model to the sandbox, through crashes and faults."""
    from uploader.sandbox.demo import main  # no part of the client

    raise typer.Exit(main())
