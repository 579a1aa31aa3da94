"""`uploader serve`: the HTTP API without a worker, and `uploader dashboard`: a link to its page."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from uploader import wiring
from uploader.cli.settings import settings_of
from uploader.cli.terminal import out
from uploader.core.errors import UsageError

if TYPE_CHECKING:
    from uploader.settings.schema import Settings

LISTEN = typer.Option(
    "--listen",
    metavar="HOST:PORT",
    help="Let the API listen at HOST:PORT; port 0 takes a free one, `off` none. As api.listen.",
)
Listen = Annotated[str | None, LISTEN]


def listening_at(settings: Settings, listen: str | None) -> Settings:
    """The settings with the flag in place of `api.listen`. Raises UsageError."""
    from uploader.settings.load import with_listen

    return settings if listen is None else with_listen(settings, listen)


def serve(context: typer.Context, listen: Listen = None) -> None:
    """Serve the HTTP API and the page, without working on jobs.

    For a job table in PostgreSQL that many workers share. Ctrl-C ends it.

    Example: uploader serve --listen 127.0.0.1:8080
    """
    from uploader.service.http import alone

    settings = listening_at(settings_of(context), listen)
    with wiring.Store(settings) as store:
        alone.serve(settings, store.create())


def dashboard(
    context: typer.Context,
    browser: Annotated[
        bool, typer.Option("--open", help="Open it in this machine's browser, too.")
    ] = False,
) -> None:
    """Print a link to the page of a running daemon. It works once, for ten minutes.

    Example: uploader dashboard --open
    """
    from uploader.service.http.door import link_of

    settings, now = settings_of(context), wiring.clock().now()
    out(link_of(settings, now))
    # A browser is started with it as an argument, which every user of this machine can read.
    if browser and not _open(link_of(settings, now, os.geteuid())):
        raise UsageError("no browser can be opened here", hint="open the link yourself")


def _open(link: str) -> bool:
    import webbrowser

    return webbrowser.open(link)
