"""The use cases of a folder: `inspect` it, `ask` the service, `plan` the job it would become.

None of them prints anything, and only `Plan.enqueue` writes. The settings are the defaults of a
request; the job table, if there is one, tells how earlier uploads went.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from uploader import mounts
from uploader.core.documents import PlanDocument, plan_document
from uploader.core.errors import UploaderError, UsageError
from uploader.core.job import UNKNOWN_ACCOUNT, Job, Kind, NewJob, Status
from uploader.core.tuning import START
from uploader.intake import online
from uploader.intake.forecast import forecast
from uploader.intake.inspect import FolderRefused, Inspection, inspect_folder, uploaded_base
from uploader.intake.request import EnqueueRequest
from uploader.intake.steer import limits_of
from uploader.model.fields import merged
from uploader.model.finding import Finding, few
from uploader.model.fingerprint import surely_same
from uploader.model.found import as_found
from uploader.model.kinds import base_model_of, create_body
from uploader.model.links import Private
from uploader.model.model_id import derive_model_id
from uploader.preflight.registry import overrule
from uploader.sources.snapshot import COPIED_BELOW_BYTES, Snapshots

if TYPE_CHECKING:
    from uploader.remote.fireworks import Fireworks
    from uploader.settings.schema import Settings
    from uploader.store.jobs import Jobs

_A = TypeVar("_A")


class Looking(Protocol):
    """How a folder is looked at, whose disk may not answer."""

    def __call__(self, path: Path, look: Callable[[], _A], /) -> _A:
        """What ``look`` returns about the folder ``path``; raises what it raises."""


def here(_: Path, look: Callable[[], _A], /) -> _A:
    """In the caller's own thread, for as long as it takes."""
    return look()


@dataclass(frozen=True, slots=True)
class Plan:
    """A folder that may become a model, and the job it would become."""

    new: NewJob
    seen: Inspection
    #: Where a snapshot of its files is to be taken; None if none was asked for.
    snapshots: Snapshots | None = None

    @property
    def model(self) -> str:
        """The resource name of the model to be: ``accounts/ACCOUNT/models/MODEL``."""
        return self.new.model

    def as_json(self) -> PlanDocument:
        """The document of `uploader enqueue --dry-run --json` (docs/json.md)."""
        return plan_document(self.model, self.new.options, self.seen.as_json())

    def enqueue(self, jobs: Jobs, now: datetime) -> tuple[int, bool]:
        """As `Jobs.enqueue`, with a snapshot of the files if one was asked for.

        Raises UsageError if their file system cannot link them, SourceChanged if they have changed
        since they were inspected.
        """
        with self.kept(jobs) as new:
            return jobs.enqueue(new, now)

    def replaced(self, jobs: Jobs, job: Job) -> int:
        """How many files of the done ``job``, the same as this plan, may have been replaced since.

        Sizes and times are the same, so nothing but another inode or change time shows it, on a
        local disk only. A snapshot's small files are copies: they say nothing of the folder.
        """
        if job.status is not Status.DONE:
            return 0
        now = {file.path: file.fingerprint for file in self.new.manifest.files}
        others = [
            file
            for file in jobs.files(job.id)
            if not (job.snapshot and file.size_bytes < COPIED_BELOW_BYTES)
            and not surely_same(file.fingerprint, now.get(file.path, file.fingerprint))
        ]
        return len(others) if others and mounts.is_local(Path(self.new.manifest.root)) else 0

    @contextlib.contextmanager
    def kept(self, jobs: Jobs) -> Iterator[NewJob]:
        """The job to write while the context lasts; a snapshot that no job uses then is removed."""
        if self.snapshots is None:
            yield self.new
            return
        try:
            with self.snapshots.taking(self.new.manifest) as (path, manifest):
                yield replace(self.new, snapshot=path, manifest=manifest)
        finally:
            self.snapshots.sweep(jobs.snapshots, jobs.lineage.follows)


def inspect(
    request: EnqueueRequest,
    settings: Settings,
    jobs: Jobs | None,
    now: datetime,
    *,
    rate_bps: float | None = None,
) -> Inspection:
    """All findings of the folder, errors first, and how long an upload at ``rate_bps`` would take.

    Raises UsageError, NotFound; PreflightRefused if the folder cannot be listed, or holds too many
    names.
    """
    request.check()
    fields = _fields_of(request)
    seen = inspect_folder(
        request,
        _kind_named(request.kind, fields),
        lambda folder: uploaded_base(folder, request.base_model, jobs),
        Private(settings.private_paths),
    )
    force = limits_of(settings, jobs)
    ahead = forecast(rate_bps, force.bandwidth, jobs, seen.manifest.size_bytes, now)
    files = START if force.files == "auto" else force.files
    found = [*ahead.session_life(seen.manifest, files)] if ahead else []
    return _with(replace(seen, forecast=ahead), found, request)


def ask(
    request: EnqueueRequest,
    seen: Inspection,
    settings: Settings,
    service: Fireworks,
    *,
    known: Job | None = None,
) -> Inspection:
    """``seen`` with what the service says about it. Raises UsageError.

    ``known`` is the job that there is of that folder already, so that its model may exist.
    """
    account, model_id = _account(request, settings), _model_id(request, seen)
    with as_found(seen.folder):
        base = base_model_of(seen.folder, _base_named(request)) if seen.kind is Kind.LORA else None
    return _with(seen, online.ask(service, account, model_id, base, known=known), request)


def _with(seen: Inspection, found: Iterable[Finding], request: EnqueueRequest) -> Inspection:
    return replace(seen, findings=tuple(overrule([*seen.findings, *found], request.allow)))


def plan(request: EnqueueRequest, seen: Inspection, settings: Settings) -> Plan:
    """The job that ``seen``, made by `inspect` from the same request, would become.

    Raises FolderRefused for a folder with errors, UsageError for a request that does not fit it.
    """
    if seen.errors:
        raise FolderRefused(seen)
    model_id = _model_id(request, seen)
    fields = _fields_of(request)
    with as_found(seen.folder):
        body = create_body(
            seen.folder, seen.kind, model_id, base_model=request.base_model, fields=fields
        )
    new = NewJob(
        base_url=settings.fireworks.base_url,
        account=_account(request, settings),
        model_id=model_id,
        kind=seen.kind,
        manifest=seen.manifest,
        create_body=body,
        options=request.as_options(model_id, seen.kind),
        priority=request.priority,
        preflight=tuple(finding.as_json() for finding in few(seen.findings)),
    )
    return Plan(new, seen, _snapshots(settings) if request.snapshot else None)


def planned(  # noqa: PLR0913 - whom it asks and tells, and where it may wait
    request: EnqueueRequest,
    settings: Settings,
    jobs: Jobs | None,
    now: datetime,
    refused: Callable[[Inspection], object] = lambda _: None,
    service: Fireworks | None = None,
    *,
    looking: Looking = here,
) -> Plan:
    """`inspect`, `ask` if there is a ``service``, then `plan`; ``looking`` carries out the first.

    If no job can be made, ``refused`` first gets what was found. If ``jobs`` has the same job
    already, its model may exist, and has to if that job is done.

    Raises UsageError, NotFound, PreflightRefused.
    """
    seen = looking(request.path, lambda: inspect(request, settings, jobs, now))
    try:
        if service is not None:
            known = _known(request, seen, settings, jobs)
            seen = ask(request, seen, settings, service, known=known)
        return plan(request, seen, settings)
    except UploaderError:
        refused(seen)
        raise


def _known(
    request: EnqueueRequest, seen: Inspection, settings: Settings, jobs: Jobs | None
) -> Job | None:
    """The job that it is already. Raises UsageError if another job is in its way."""
    if jobs is None or seen.errors:
        return None
    known = jobs.same_as(plan(request, seen, settings).new)
    return None if known is None else jobs.job(known)


def _snapshots(settings: Settings) -> Snapshots:
    if settings.snapshots is None:
        message = "`snapshot` needs the job table of this machine, not one in PostgreSQL"
        raise UsageError(message, hint="leave it out, and keep the folder until the job is done")
    return Snapshots(settings.snapshots)


def _fields_of(request: EnqueueRequest) -> dict[str, Any]:
    return merged(request.fields.as_remote(), request.model_json)


def _base_named(request: EnqueueRequest) -> str | None:
    details = _fields_of(request).get("peftDetails")
    return request.base_model or (details.get("baseModel") if isinstance(details, dict) else None)


def _kind_named(kind: Kind | None, fields: Mapping[str, Any]) -> tuple[Kind, str] | None:
    """The kind that was asked for, and by what; it is compared with the folder later."""
    if kind:
        return kind, f"`kind` {kind}"
    found = next((one for one in Kind if one.remote == fields.get("kind")), None)
    return (found, "`model_json` says so") if found else None


def _account(request: EnqueueRequest, settings: Settings) -> str:
    return request.account or settings.fireworks.account_id or UNKNOWN_ACCOUNT


def _model_id(request: EnqueueRequest, seen: Inspection) -> str:
    # The real path is used, so that a link to a folder gives the same job.
    return request.model_id or derive_model_id(seen.folder.root)
