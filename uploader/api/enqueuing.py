"""From a folder to a job, and from a job to READY."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from uploader import wiring
from uploader.api.results import JobWithFiles
from uploader.api.surroundings import Names, Progress, names, opened, shower, with_files
from uploader.core.errors import UsageError
from uploader.core.job import Kind

if TYPE_CHECKING:
    from uploader.intake.request import EnqueueRequest
    from uploader.settings.schema import Settings
    from uploader.store.jobs import Jobs


def upload(  # noqa: PLR0913 - the options of `uploader upload`
    path: str | os.PathLike[str],
    *,
    model_id: str | None = None,
    progress: Progress | None = None,
    timeout: float | None = None,
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
    online: bool = False,
    snapshot: str | None = None,
) -> JobWithFiles:
    """Bring the folder ``path`` to READY and return its job as it ended: look at its ``status``.

    The options are those of `enqueue`. ``progress`` is called with the job about once a second, in
    this thread; ``timeout`` is in seconds. The same folder is the same job: one that is done is
    returned at once, one that failed or is blocked is tried once more. If a worker runs already, it
    does the work; otherwise it is done here, in threads, and for this job alone. Whatever ends the
    call early, Ctrl-C too, keeps the job: the same call goes on where this one stopped.

        job = uploader.upload("my-model", progress=lambda job: print(job.bytes_sent))
        if job.status != "done":
            raise RuntimeError(f"{job.model} is {job.status}")

    Raises PreflightRefused, with ``findings``; WaitTimedOut, after which the job stays as it is;
    SourceChanged, NotFound, UsageError, StoreError, and what ``progress`` raises.
    """
    request = _request(locals())
    with opened() as (settings, store):
        table, job_id = _enqueued(request, settings, store, online=online)
        show = shower(progress)
        (ended,) = wiring.work_on(settings, table, [job_id], show, timeout_s=timeout)
        return with_files(table, ended)


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
    online: bool = False,
    snapshot: str | None = None,
) -> JobWithFiles:
    """Make a job of the folder ``path`` with the options of `uploader enqueue`; sends nothing.

    Enqueuing the same folder with the same options again gives the same job. With ``online`` the
    service is asked first: does the key work, is it this account's, is the id free? With
    ``snapshot="hardlink"`` the folder may be deleted before its files are sent (docs/python.md).

        job = uploader.enqueue("checkpoints/final", model_id="my-model")

    Raises PreflightRefused, with ``findings``; SourceChanged if the folder is written to meanwhile;
    NotFound, UsageError, StoreError.
    """
    request = _request(locals())
    with opened() as (settings, store):
        table, job_id = _enqueued(request, settings, store, online=online)
        return with_files(table, table.job(job_id))


def check_options(**options: Any) -> None:
    """Raises what `enqueue` would raise for these options whatever the folder is.

    That is TypeError or UsageError.
    """
    from uploader.preflight.registry import overrule

    call = inspect.signature(enqueue).bind(".", **options)
    call.apply_defaults()
    request = _request(call.arguments)
    request.check()
    overrule((), request.allow)


def _request(given: Mapping[str, Any]) -> EnqueueRequest:
    """The request of a call whose arguments these are."""
    from uploader.intake.request import MODEL_FIELDS, EnqueueRequest, ModelFields, folder_of

    plain = ("model_id", "account", "base_model", "no_preflight", "priority", "snapshot")
    others: dict[str, Any] = {name: given[name] for name in plain}
    return EnqueueRequest(
        path=folder_of(os.fspath(given["path"])),
        kind=_kind(given["kind"]),
        fields=ModelFields(**{name: given[name] for name in MODEL_FIELDS}),
        model_json=given["model_json"] or {},
        include=names(given["include"]),
        exclude=names(given["exclude"]),
        allow=names(given["allow"]),
        **others,
    )


def _enqueued(
    request: EnqueueRequest, settings: Settings, store: wiring.Store, *, online: bool
) -> tuple[Jobs, int]:
    from uploader.intake.plan import planned

    service = wiring.service(settings) if online else None
    known = store.known() if online else store.glimpse()
    plan = planned(request, settings, known, wiring.clock().now(), service=service)
    table = store.create()
    job_id, _ = plan.enqueue(table, wiring.clock().now())
    return table, job_id


def _kind(word: str) -> Kind | None:
    if word == "auto":
        return None
    known = [kind.value for kind in Kind]
    if word not in known:
        raise UsageError(f"`kind` cannot be {word!r}", hint=f"it may be auto, {', '.join(known)}")
    return Kind(word)
