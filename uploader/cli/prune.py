"""`uploader prune`: forget jobs that ended long ago."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Annotated

import typer

from uploader import wiring
from uploader.cli.options import AsJson
from uploader.cli.settings import settings_of
from uploader.cli.terminal import out, out_json
from uploader.core.errors import UsageError
from uploader.core.setup_documents import PruneDocument
from uploader.core.text import timestamp

_MAX_AGE_S = 100 * 365 * 86_400


def _age(text: str) -> float:
    """Raises UsageError."""
    from uploader.settings.units import parse_duration

    with suppress(ValueError):
        if (age_s := parse_duration(text)) <= _MAX_AGE_S:
            return age_s
    raise UsageError(f"{text!r} is not an age", hint='write one like "30d" or "12h"')


def prune(
    context: typer.Context,
    older_than: Annotated[
        float | None,
        typer.Option(
            metavar="AGE",
            help="An AGE such as 30d or 12h. Default: history.keep.",
            parser=_age,
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would go, and keep it.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Forget jobs that were done or cancelled long ago, with their files and events.

    Workers do that by themselves. Models on Fireworks are kept.

    Example: uploader prune --older-than 30d
    """
    settings, now = settings_of(context), wiring.clock().now()
    age_s = settings.history.keep_s if older_than is None else older_than
    if age_s is None:
        hint = "say how old a job must be: `uploader prune --older-than 90d`"
        raise UsageError("history.keep is forever: nothing is to go", hint=hint)
    before = now - timedelta(seconds=age_s)
    with wiring.Store(settings) as store:
        gone = store.prune(before, now, dry_run=dry_run)
    document: PruneDocument = {
        "schema": "uploader.prune/1",
        "dry_run": dry_run,
        "before": timestamp(before),
        "jobs": gone.jobs,
        "files": gone.files,
        "events": gone.events,
    }
    if as_json:
        out_json(document)
        return
    verb = "would be forgotten" if dry_run else "forgotten"
    out(f"jobs that ended before {timestamp(before)}: {gone.jobs} {verb}")
    out(f"with them: {gone.files} files and {gone.events} events")
