"""Looking at jobs, waiting for them, and the verbs; `surroundings` says what holds for each."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from uploader import wiring
from uploader.api.results import Event, Job, JobWithFiles, event_of, job_of
from uploader.api.surroundings import Names, Progress, names, opened, shower, with_files
from uploader.core.errors import UsageError
from uploader.core.job import INT64_END
from uploader.core.job import Job as StoredJob
from uploader.core.lifecycle import Verb

if TYPE_CHECKING:
    from uploader.store.jobs import Jobs

Ref = int | str


def jobs(*, ended: int | None = 200) -> list[Job]:
    """Every job that is open and the ``ended`` newest that are done or cancelled; by id.

    ``ended=None`` gives all of them, however many there are.

        waiting = [job for job in uploader.jobs() if job.status == "active"]

    Raises StoreError, UsageError.
    """
    from uploader.core.documents import job_json

    with opened() as (_, store):
        table, now = store.find(), wiring.clock().now()
        most = None if ended is None else _number("ended", ended)
        return [job_of(job_json(job, now)) for job in table.stream(most)] if table else []


def _number(name: str, given: int) -> int:
    if 0 <= given < INT64_END:
        return given
    raise UsageError(f"`{name}` cannot be {given}", hint="it is a number from 0 to 2^63 - 1")


def job(ref: Ref) -> JobWithFiles:
    """One job with its files, by id, model id or resource name.

        for file in uploader.job("my-model").files:
            print(file.path, file.offset, file.size_bytes)

    Raises NotFound, StoreError, UsageError.
    """
    with _found(ref) as (table, found):
        return with_files(table, found)


def wait(
    ref: Ref,
    *,
    timeout: float | None = None,
    progress: Progress | None = None,
) -> JobWithFiles:
    """Wait until a job is done, failed, blocked or cancelled; a cancelled one may have no reason.

    ``timeout`` is in seconds. ``progress`` is called with the job about once a second.

        job = uploader.wait("my-model", timeout=3600)
        if job.status in ("failed", "blocked"):
            raise SystemExit(f"{job.reason.message}: {job.reason.hint}")

    Raises WaitTimedOut, after which the job goes on; NotFound, StoreError, UsageError, and
    what ``progress`` raises.
    """
    from uploader.store.wait import wait_for

    with _found(ref) as (table, found):
        (ended,) = wait_for(table, [found.id], wiring.clock(), timeout, shower(progress))
        return with_files(table, ended)


def events(since: int = 0) -> list[Event]:
    """What happened to all jobs after the event with the number ``since``, oldest first.

        seen = 0
        for event in uploader.events(seen):
            print(event.at, event.job, event.message)
            seen = event.seq

    Raises StoreError, UsageError.
    """
    from uploader.core.documents import event_json

    with opened() as (_, store):
        table = store.find()
        since = _number("since", since)
        return [event_of(event_json(one)) for one in table.events(since=since)] if table else []


def pause(ref: Ref) -> JobWithFiles:
    """Pause a job; its worker stops at the next block.

        uploader.pause("my-model")

    Raises VerbRefused if its state does not allow that, NotFound, StoreError, UsageError.
    """
    return _apply(ref, Verb.PAUSE)


def resume(ref: Ref) -> JobWithFiles:
    """Let a paused job go on, at the byte where it stopped.

        uploader.resume("my-model")

    Raises VerbRefused if its state does not allow that, NotFound, StoreError, UsageError.
    """
    return _apply(ref, Verb.RESUME)


def cancel(ref: Ref, *, delete_remote: bool = False) -> JobWithFiles:
    """Cancel a job; with ``delete_remote`` also delete its model, if this job created it.

        uploader.cancel("my-model")

    Raises VerbRefused if its state does not allow that, NotFound, StoreError, UsageError.
    """
    return _apply(ref, Verb.CANCEL, delete_remote=delete_remote)


def retry(
    ref: Ref, *, rescan: bool = False, replace: bool = False, allow: Names = ()
) -> JobWithFiles:
    """Try a failed, blocked or waiting job at once; confirmed bytes are kept.

    With ``rescan`` it starts over with the folder as it is now: stored files are read, and kept
    if they are unchanged. With ``replace`` its model is deleted first, if this job created it.
    ``allow`` waives checks of that new inspection.

        uploader.retry("my-model", rescan=True)

    Raises VerbRefused if its state does not allow that, PreflightRefused, NotFound,
    StoreError, UsageError.
    """
    from uploader.intake.rescan import start_over

    if not (rescan or replace):
        if allow:
            raise UsageError("`allow` goes with `rescan` or `replace`", hint="leave it out")
        return _apply(ref, Verb.RETRY)
    with opened() as (settings, store):
        table = store.need()
        found = table.sealed(table.find(str(ref)))
        clock = wiring.clock()
        begun, _ = start_over(table, found, settings, clock, replace=replace, allow=names(allow))
        return with_files(table, begun)


def remove(ref: Ref) -> None:
    """Forget a done, failed or cancelled job; its model on Fireworks is kept.

        uploader.remove("my-model")

    Raises VerbRefused for any other job, NotFound, StoreError, UsageError.
    """
    with opened() as (_, store):
        table = store.need()
        table.remove(table.find(str(ref)).id, wiring.clock().now())
        store.sweep()


@contextlib.contextmanager
def _found(ref: Ref) -> Iterator[tuple[Jobs, StoredJob]]:
    with opened() as (_, store):
        table = store.need()
        yield table, table.find(str(ref))


def _apply(ref: Ref, verb: Verb, *, delete_remote: bool = False) -> JobWithFiles:
    with opened() as (_, store):
        table, now = store.need(), wiring.clock().now()
        found = table.find(str(ref))
        table.apply(found.id, verb, now, delete_remote=delete_remote)
        store.sweep()
        return with_files(table, table.job(found.id))
