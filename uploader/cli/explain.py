"""`uploader explain`: why a job is where it is, in whole sentences."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from uploader import wiring
from uploader.cli.flags import spelled
from uploader.cli.options import AsJson, SeveralJobs
from uploader.cli.settings import settings_of
from uploader.cli.terminal import out, out_json, out_wrapped, width
from uploader.core.explanation import LAST_EVENTS, explanation_document, explanations_document
from uploader.core.job import Event, Job
from uploader.core.limit_words import held_back
from uploader.core.text import event_line, timestamp
from uploader.core.why import sentences, to_do

_LAST_MOVES = 4


def explain(context: typer.Context, jobs: SeveralJobs, as_json: AsJson = False) -> None:
    """Say what happened to each job, what it waits for, and what to do about it.

    Example: uploader explain my-model
    """
    from uploader.intake.steer import limits_in_force  # pydantic is slow to import

    settings, now = settings_of(context), wiring.clock().now()
    found: list[tuple[Job, list[str], Sequence[Event]]] = []
    with wiring.Store(settings) as store:
        table = store.need()
        limits = limits_in_force(settings, table, now)
        for job in map(table.find, jobs):
            moves = table.limits.moves(job.lease.owner, _LAST_MOVES) if job.lease else []
            told = [
                *sentences(job, table.files(job.id), settings.fireworks.base_url, now),
                *held_back(job, limits, moves),
            ]
            last = table.last_events(job.id, LAST_EVENTS)
            found.append((job, [spelled(sentence) for sentence in told], last))
    if as_json:
        documents = [
            explanation_document(job, told, spelled(to_do(job)), last) for job, told, last in found
        ]
        out_json(documents[0] if len(jobs) == 1 else explanations_document(documents))
        return
    for number, (_, told_of, last_of) in enumerate(found):
        if number:
            out()
        _show(told_of, last_of)


def _show(told: Sequence[str], last: Sequence[Event]) -> None:
    columns = width()
    for sentence in told:
        out_wrapped(sentence, columns)
    out("What happened last:")
    for event in last:
        out_wrapped(f"{timestamp(event.at)} {event_line(event)}", columns, "  ")
