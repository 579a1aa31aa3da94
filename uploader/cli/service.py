"""`uploader service`: run the worker as a service of systemd or launchd."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from uploader.cli.grammar import Commands
from uploader.cli.options import AsJson
from uploader.cli.settings import settings_of
from uploader.cli.terminal import out, out_json, out_plain, print_note
from uploader.core.setup_documents import service_document
from uploader.core.text import some

if TYPE_CHECKING:
    from uploader.service.install import Installed
    from uploader.settings.schema import Settings

service = Commands(
    help="Run the worker as a service of systemd or launchd.\n\nExample: uploader service status",
)
System = Annotated[
    bool,
    typer.Option(
        "--system/--user", help="A service of the machine (needs root), or of this user (default)."
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the definition; change nothing.")]
_MAX_NAMED = 20


@service.command()
def install(context: typer.Context, system: System = False, dry_run: DryRun = False) -> None:
    """Write the definition of the service, and start it now and at every boot.

    Example: uploader service install --dry-run
    """
    from uploader.service import install as installing

    settings = settings_of(context)
    planned = installing.planned(settings, system=system)
    if names := installing.left_out(settings):
        print_note(f"note: the service does not get {some(names, _MAX_NAMED)} of this shell")
    if dry_run:
        out_plain(planned.text.rstrip("\n"))
        return
    installing.install(planned)
    out(str(planned.path))
    if not system and not planned.by_launchd:
        print_note("note: `loginctl enable-linger` lets it run while nobody is logged in")


@service.command()
def uninstall(context: typer.Context, system: System = False) -> None:
    """Stop the service and remove its definition; jobs and configuration stay.

    Example: uploader service uninstall
    """
    from uploader.service import install as installing

    planned = _planned(settings_of(context), system=system)
    installing.uninstall(planned)
    out(str(planned.path), "removed")


@service.command()
def status(context: typer.Context, system: System = False, as_json: AsJson = False) -> None:
    """Show what systemd or launchd says about the service.

    Example: uploader service status
    """
    from uploader.service import install as installing

    planned = _planned(settings_of(context), system=system)
    found = installing.state(planned)
    if as_json:
        out_json(service_document(str(planned.path), found))
        return
    for name, value in found.items():
        out(name, value)


def _planned(settings: Settings, *, system: bool) -> Installed:
    from uploader.service import install as installing

    return installing.planned(settings, system=system)
