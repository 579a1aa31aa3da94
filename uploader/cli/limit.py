"""`uploader limit`: the limits in force, where each comes from, and how to change them."""

from __future__ import annotations

from typing import Annotated

import typer

from uploader import wiring
from uploader.cli.options import AsJson
from uploader.cli.settings import settings_of
from uploader.cli.terminal import out, out_json, out_table, width
from uploader.core.errors import UsageError
from uploader.core.limit_documents import LimitsJson, limits_document
from uploader.core.limit_words import rate_now

Limit = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="RATE|off|TIMETABLE|default",
        help='Bytes per second of each worker: "20MB/s", a timetable like'
        ' "Mon-08:00,20MB/s 19:00,off", "off" for no limit, or "default" for the configured one.',
        show_default=False,
    ),
]
Files = Annotated[
    str | None,
    typer.Option(
        metavar="N|auto|default",
        help="Send N files at a time, over all jobs of a worker; auto finds the best number.",
    ),
]
MostJobs = Annotated[str | None, typer.Option(metavar="N|default", help="Work on N jobs at once.")]
#: A rate below zero is not an option: it is shown what a rate looks like.
SETTINGS = {"ignore_unknown_options": True}


def limit(
    context: typer.Context,
    limit: Limit = None,
    files: Files = None,
    jobs: MostJobs = None,
    as_json: AsJson = False,
) -> None:
    """Show the limits in force, or change them for all workers until they are changed again.

    Example: uploader limit "Mon-08:00,20MB/s 19:00,off"
    """
    from uploader.intake import steer  # pydantic is slow to import

    for word in limit or ():
        if word.startswith("--"):
            raise UsageError(f"no such option: {word}", hint="`uploader limit -h` lists them")
    rate = " ".join(limit) if limit else None
    changes = any(value is not None for value in (rate, files, jobs))
    settings, now = settings_of(context), wiring.clock().now()
    with wiring.Store(settings) as store:
        if changes:
            table = store.create()
            steer.choose_limits(table, now, bandwidth=rate, files=files, max_jobs=jobs)
        found = steer.limits_in_force(settings, store.find(), now)
    if as_json:
        out_json(limits_document(found))
    else:
        _print(found, width())


def _print(limits: LimitsJson, columns: int | None) -> None:
    rate, files, jobs = limits["bandwidth"], limits["files"], limits["jobs"]
    rows = [
        ("bandwidth", rate["value"], rate["origin"], rate_now(limits)),
        ("files", files["value"], files["origin"], ""),
        ("jobs", jobs["value"], jobs["origin"], ""),
    ]
    if columns is not None:
        out_table(("LIMIT", "VALUE", "FROM", "NOW"), rows, columns)
        return
    for row in rows:
        out(*row)
