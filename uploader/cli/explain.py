"""`uploader explain`: why a job is where it is, in whole sentences."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from uploader import wiring
from uploader.cli.flags import spelled
from uploader.cli.options import AsJson, SeveralJobs
from uploader.cli.settings import settings_of
from uploader.cli.terminal import out, out_json, out_wrapped, width
from uploader.core.explanation import explanation_document, explanations_document
from uploader.core.job import Event
from uploader.core.text import event_line, timestamp
from uploader.core.why import to_do


def explain(context: typer.Context, jobs: SeveralJobs, as_json: AsJson = False) -> None:
    """Say what happened to each job, what it waits for, and what to do about it.

    Example: uploader explain my-model
    """
    from uploader.intake.explain import explained
    from uploader.intake.steer import limits_in_force  # pydantic is slow to import

    settings, now = settings_of(context), wiring.clock().now()
    with wiring.Store(settings) as store:
        table = store.need()
        limits, base_url = limits_in_force(settings, table, now), settings.fireworks.base_url
        found = [explained(table, job, limits, base_url, now) for job in jobs]
    told = [[spelled(sentence) for sentence in one.sentences] for one in found]
    if as_json:
        documents = [
            explanation_document(one.job, words, spelled(to_do(one.job, base_url)), one.last)
            for one, words in zip(found, told, strict=True)
        ]
        out_json(documents[0] if len(jobs) == 1 else explanations_document(documents))
        return
    for number, (one, words) in enumerate(zip(found, told, strict=True)):
        if number:
            out()
        _show(words, one.last)


def _show(told: Sequence[str], last: Sequence[Event]) -> None:
    columns = width()
    for sentence in told:
        out_wrapped(sentence, columns)
    out("What happened last:")
    for event in last:
        out_wrapped(f"{timestamp(event.at)} {event_line(event)}", columns, "  ")
