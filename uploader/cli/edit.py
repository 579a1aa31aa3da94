"""`uploader edit`: what can be changed of a job that has not ended."""

from __future__ import annotations

from typing import Annotated

import typer

from uploader import wiring
from uploader.cli.options import AsJson, OneJob
from uploader.cli.settings import settings_of
from uploader.cli.terminal import out, out_json
from uploader.core.documents import job_document


def edit(
    context: typer.Context,
    job: OneJob,
    priority: Annotated[
        int, typer.Option(metavar="N", help="A job with a higher priority N runs first.")
    ],
    as_json: AsJson = False,
) -> None:
    """Give a job another priority; workers follow it when they next take a job.

    Example: uploader edit my-model --priority 5
    """
    from uploader.intake import steer

    now = wiring.clock().now()
    with wiring.Store(settings_of(context)) as store:
        jobs = store.need()
        found = steer.edit(jobs, jobs.find(job).id, now, priority=priority)
        files = jobs.files(found.id) if as_json else []
    if as_json:
        out_json(job_document(found, files, now))
    else:
        out(str(found.id), f"priority {found.priority}")
