"""The commands as functions. Each call reads the settings, opens the store, and closes it.

Nothing is printed, no signal is handled and no thread is started, so each call works in any thread
and alongside a worker. Ctrl-C raises KeyboardInterrupt; jobs are kept. Errors are UploaderError
with a ``code`` and a ``hint``. Imports are inside the functions, so that `import uploader` is fast.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from uploader import wiring
from uploader.api.results import Event, Job, JobWithFiles, event_of, job_of, job_with_files_of
from uploader.core.errors import UsageError
from uploader.core.job import Job as StoredJob
from uploader.core.job import Kind
from uploader.core.lifecycle import Verb

if TYPE_CHECKING:
    from uploader.intake.request import EnqueueRequest
    from uploader.settings.schema import Settings
    from uploader.store.jobs import Jobs

Ref = int | str
Names = Sequence[str]


def enqueue(  # noqa: PLR0913 - the options of `uploader enqueue`
    path: str | os.PathLike[str],
    *,
    model_id: str | None = None,
    account: str | None = None,
    kind: str = "auto",
    base_model: str | None = None,
    display_name: str | None = None,
    description: str | None = None,
    hugging_face_url: str | None = None,
    github_url: str | None = None,
    public: bool = False,
    context_length: int | None = None,
    supports_tools: bool = False,
    supports_image_input: bool = False,
    default_draft_model: str | None = None,
    default_draft_token_count: int | None = None,
    model_json: Mapping[str, Any] | None = None,
    include: Names = (),
    exclude: Names = (),
    allow: Names = (),
    no_preflight: bool = False,
    priority: int = 0,
    snapshot: str | None = None,
) -> JobWithFiles:
    """Make a job of the folder ``path`` with the options of `uploader enqueue`; sends nothing.

    Enqueuing the same folder with the same options again gives the same job.

        job = uploader.enqueue("checkpoints/final", model_id="my-model")

    Raises PreflightRefused, with ``findings``; NotFound, UsageError, StoreError.
    """
    from uploader.intake.request import EnqueueRequest, ModelFields, folder_of

    fields = ModelFields(
        display_name=display_name, description=description, hugging_face_url=hugging_face_url,
        github_url=github_url, public=public, context_length=context_length,
        supports_tools=supports_tools, supports_image_input=supports_image_input,
        default_draft_model=default_draft_model,
        default_draft_token_count=default_draft_token_count,
    )  # fmt: skip
    request = EnqueueRequest(
        path=folder_of(os.fspath(path)), model_id=model_id, account=account, kind=_kind(kind),
        base_model=base_model, fields=fields, model_json=model_json or {},
        include=_names(include), exclude=_names(exclude), allow=_names(allow),
        no_preflight=no_preflight, priority=priority, snapshot=snapshot,
    )  # fmt: skip
    return _enqueue(request)


def _enqueue(request: EnqueueRequest) -> JobWithFiles:
    from uploader.intake.plan import planned

    with _opened() as (settings, store):
        plan = planned(request, settings, store.glimpse())
        table = store.create()
        job_id, _ = plan.enqueue(table, wiring.clock().now())
        return _with_files(table, table.job(job_id))


def jobs() -> list[Job]:
    """Every job, by id.

        waiting = [job for job in uploader.jobs() if job.status == "active"]

    Raises StoreError, UsageError.
    """
    from uploader.core.documents import job_json

    with _opened() as (_, store):
        table, now = store.find(), wiring.clock().now()
        return [job_of(job_json(job, now)) for job in table.jobs()] if table else []


def job(ref: Ref) -> JobWithFiles:
    """One job with its files, by id, model id or resource name.

        for file in uploader.job("my-model").files:
            print(file.path, file.offset, file.size_bytes)

    Raises NotFound, StoreError, UsageError.
    """
    with _found(ref) as (table, found):
        return _with_files(table, found)


def wait(
    ref: Ref,
    *,
    timeout: float | None = None,
    progress: Callable[[Job], object] | None = None,
) -> JobWithFiles:
    """Wait until a job is done, failed, blocked or cancelled; a cancelled one may have no reason.

    ``timeout`` is in seconds. ``progress`` is called with the job about once a second.

        job = uploader.wait("my-model", timeout=3600)
        if job.status in ("failed", "blocked"):
            raise SystemExit(f"{job.reason.message}: {job.reason.hint}")

    Raises WaitTimedOut, after which the job goes on; NotFound, StoreError, UsageError, and
    what ``progress`` raises.
    """
    from uploader.core.documents import job_json
    from uploader.store.wait import wait_for

    clock = wiring.clock()

    def show(found: Sequence[StoredJob]) -> None:
        if progress:
            progress(job_of(job_json(found[0], clock.now())))

    with _found(ref) as (table, found):
        (ended,) = wait_for(table, [found.id], clock, timeout, show)
        return _with_files(table, ended)


def events(since: int = 0) -> list[Event]:
    """What happened to all jobs after the event with the number ``since``, oldest first.

        seen = 0
        for event in uploader.events(seen):
            print(event.at, event.job, event.message)
            seen = event.seq

    Raises StoreError, UsageError.
    """
    from uploader.core.documents import event_json

    with _opened() as (_, store):
        table = store.find()
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
    with _opened() as (settings, store):
        table = store.need()
        found = table.find(str(ref))
        clock = wiring.clock()
        begun, _ = start_over(table, found, settings, clock, replace=replace, allow=_names(allow))
        return _with_files(table, begun)


def remove(ref: Ref) -> None:
    """Forget a done, failed or cancelled job; its model on Fireworks is kept.

        uploader.remove("my-model")

    Raises VerbRefused for any other job, NotFound, StoreError, UsageError.
    """
    with _opened() as (_, store):
        table = store.need()
        table.remove(table.find(str(ref)).id, wiring.clock().now())
        store.sweep()


@contextlib.contextmanager
def _opened() -> Iterator[tuple[Settings, wiring.Store]]:
    from uploader.settings.load import load

    settings = load()
    for sentence in settings.warnings:
        warnings.warn(sentence, stacklevel=5)
    with wiring.Store(settings) as store:
        yield settings, store


@contextlib.contextmanager
def _found(ref: Ref) -> Iterator[tuple[Jobs, StoredJob]]:
    with _opened() as (_, store):
        table = store.need()
        yield table, table.find(str(ref))


def _apply(ref: Ref, verb: Verb, *, delete_remote: bool = False) -> JobWithFiles:
    with _opened() as (_, store):
        table, now = store.need(), wiring.clock().now()
        found = table.find(str(ref))
        table.apply(found.id, verb, now, delete_remote=delete_remote)
        store.sweep()
        return _with_files(table, table.job(found.id))


def _with_files(table: Jobs, found: StoredJob) -> JobWithFiles:
    from uploader.core.documents import job_document

    document = job_document(found, table.files(found.id), wiring.clock().now())
    return job_with_files_of(document)


def _kind(word: str) -> Kind | None:
    if word == "auto":
        return None
    known = [kind.value for kind in Kind]
    if word not in known:
        raise UsageError(f"`kind` cannot be {word!r}", hint=f"it may be auto, {', '.join(known)}")
    return Kind(word)


def _names(names: Names) -> tuple[str, ...]:
    """A single text is one name, not a sequence of letters."""
    return (names,) if isinstance(names, str) else tuple(names)
