"""`uploader explain`: why a job is where it is, in whole sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

import typer

from uploader import wiring
from uploader.cli.options import AsJson, SeveralJobs
from uploader.cli.render import NO_WORKER, deserted, hint, note
from uploader.cli.settings import settings_of
from uploader.cli.terminal import out, out_json, out_wrapped, width
from uploader.core.documents import event_json, speed
from uploader.core.explanation import ExplanationDocument, explanations_document
from uploader.core.job import Event, FileState, Job, Mode, Stage, Status, is_costly_put
from uploader.core.resumable import SESSION_LIFE_S
from uploader.core.text import duration, event_line, percent, size, timestamp

if TYPE_CHECKING:
    from uploader.store.jobs import Jobs

_LAST_EVENTS = 5

_DOING: dict[Stage, str] = {
    Stage.CREATE: "the model has to be created on Fireworks first",
    Stage.UPLOAD: "its files are being sent",
    Stage.VALIDATE: "every file is stored, and Fireworks checks them",
    Stage.READY: "Fireworks calls it READY",
}


class _Explained(NamedTuple):
    """What there is to say about a job."""

    job: Job
    sentences: tuple[str, ...]
    events: list[Event]

    def document(self) -> ExplanationDocument:
        """As `--json` prints it."""
        return {
            "schema": "uploader.explanation/1",
            "job": self.job.id,
            "model": self.job.model,
            "stage": self.job.stage.value,
            "status": self.job.status.value,
            "sentences": list(self.sentences),
            "events": [event_json(event) for event in self.events],
        }


def explain(context: typer.Context, jobs: SeveralJobs, as_json: AsJson = False) -> None:
    """Say what happened to a job, what it waits for, and what to do about it.

    Example: uploader explain my-model
    """
    settings, columns = settings_of(context), width()
    base_url = settings.fireworks.base_url
    with wiring.Store(settings) as store:
        table, working = store.need(), store.worker_alive()
        found = [_explained(table, ref, base_url, working=working) for ref in jobs]
    if as_json:
        documents = [one.document() for one in found]
        out_json(documents[0] if len(found) == 1 else explanations_document(documents))
        return
    for number, one in enumerate(found):
        if number:
            out()
        for sentence in one.sentences:
            out_wrapped(sentence, columns)
        out("What happened last:")
        for event in one.events:
            out_wrapped(f"{timestamp(event.at)} {event_line(event)}", columns, "  ")


def _explained(table: Jobs, ref: str, base_url: str, *, working: bool) -> _Explained:
    job, now = table.find(ref), wiring.clock().now()
    files = table.files(job.id)
    sentences = (
        *_stands(job, now),
        *_slow_sessions(job, files, now),
        *_plain_puts(job, files, now),
        *_waits_for(job, base_url, now, working=working),
        *_to_do(job, working=working),
    )
    return _Explained(job, sentences, table.events(job.id)[-_LAST_EVENTS:])


def _stands(job: Job, now: datetime) -> Iterator[str]:
    yield f"Job {job.id} brings {job.path} to {job.model} ({job.kind})."
    moves = job.status in (Status.ACTIVE, Status.DONE) and not deserted([job])
    yield f"It is {job.status} in stage {job.stage}{f': {_DOING[job.stage]}' if moves else ''}."
    sent = percent(job.bytes_marked, job.bytes_total)
    done = percent(job.bytes_confirmed, job.bytes_total)
    yield (
        f"{job.files_stored} of {job.files_total} files are stored. Of {size(job.bytes_total)},"
        f" {size(job.bytes_marked)} ({sent}) are sent and {size(job.bytes_confirmed)} ({done})"
        " are confirmed by the server."
    )
    rate_bps, eta_s = speed(job, now)
    if rate_bps is not None and eta_s is not None:
        yield f"At {size(rate_bps)}/s everything will be confirmed in {duration(eta_s)}."


def _slow_sessions(job: Job, files: Sequence[FileState], now: datetime) -> Iterator[str]:
    """Warn if, at the present rate, a session ends before its file is sent."""
    rate_bps, _ = speed(job, now)
    for file in files:
        if not rate_bps or file.stored or file.session_at is None or file.mode is Mode.PUT:
            continue
        age_s = (now - file.session_at).total_seconds()
        left_s = (file.size_bytes - file.checkpoint.offset) / rate_bps
        if age_s + left_s > SESSION_LIFE_S:
            yield (
                f"Warning: {file.path} needs {duration(left_s)} more at this rate; its session"
                f" is {duration(age_s)} old and lives for at most a week."
            )


def _plain_puts(job: Job, files: Sequence[FileState], now: datetime) -> Iterator[str]:
    """Say what a session would have helped with, and a plain PUT does not."""
    left = sum(file.mode is Mode.PUT and not file.stored for file in files)
    if left and job.stage is Stage.UPLOAD:
        yield (
            f"The service takes {left} of its files by plain PUT only: one that is cut is sent"
            " again from its first byte, and each needs an upload URL that still lives when its"
            " turn comes."
        )
    rate_bps, _ = speed(job, now)
    for file in filter(is_costly_put, files):
        costs = f", at the present rate {duration(file.size_bytes / rate_bps)}" if rate_bps else ""
        yield f"Warning: a cut of {file.path} costs up to {size(file.size_bytes)}{costs}."


def _waits_for(job: Job, base_url: str, now: datetime, *, working: bool) -> Iterator[str]:
    if job.status is Status.ACTIVE and job.not_before is not None and job.not_before > now:
        yield f"It waits until {timestamp(job.not_before)}."
    message = note(job, base_url, now)
    if message:
        yield f"Why: {message.rstrip('.')}."
    if job.lease is not None and working:
        yield "A worker is working on it."
    elif job.status is Status.PAUSED:
        yield "It is paused."


def _to_do(job: Job, *, working: bool) -> Iterator[str]:
    """One sentence: what a reason's hint says, and what the status itself asks for."""
    if job.status is Status.DONE:
        yield "You need not do anything."
        return
    steps = [hint(job).rstrip(".")] if hint(job) else []
    if job.status in (Status.ACTIVE, Status.BLOCKED) and not working:
        steps.append(NO_WORKER)
    if job.status is Status.PAUSED:
        steps.append(f"`uploader resume {job.id}` lets it go on")
    if job.status is Status.FAILED and "`uploader " not in hint(job):
        steps.append(f"then `uploader retry {job.id}`" if steps else f"`uploader retry {job.id}`")
    if steps:
        yield f"To do: {'; '.join(steps)}."
