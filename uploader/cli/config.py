"""`uploader config`: the settings in force, and where each of them comes from."""

from __future__ import annotations

import typer

from uploader import wiring
from uploader.cli.settings import settings_of
from uploader.cli.terminal import out, out_table, print_note, width
from uploader.core import addresses

config = typer.Typer(help="The configuration.", rich_markup_mode=None)


@config.command("show")
def show_config(context: typer.Context) -> None:
    """Every setting, its value and where it comes from; secrets are masked."""
    from uploader.settings.load import describe  # pydantic is slow to import

    rows, columns = describe(settings_of(context)), width()
    if columns is not None:
        out_table(("SETTING", "VALUE", "FROM"), rows, columns)
        return
    for row in rows:
        out(*row)


@config.command("path")
def config_path(context: typer.Context) -> None:
    """Print the path of the configuration file in use."""
    file = settings_of(context).config_file
    if file is None:
        print_note("there is no configuration file: environment and defaults apply")
    else:
        out(str(file))


@config.command("check")
def check_config(context: typer.Context) -> None:
    """Check every setting as a worker would read it; exit 2 if one is wrong."""
    settings = settings_of(context)
    wiring.trust(settings)
    if doubts := addresses.doubts(settings.fireworks.base_url):
        print_note(f"warning: {doubts}")
    out("ok")
