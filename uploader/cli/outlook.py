"""What an upload would take, from a given or a measured rate, and what the service says to it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from uploader import wiring
from uploader.core.errors import RemoteError, StoreError, UploaderError, UsageError
from uploader.core.job import UNKNOWN_ACCOUNT, FileState, Job, Kind, ManifestFile, Stage
from uploader.core.verdict import Verdict
from uploader.model.finding import Finding, error, warning
from uploader.model.folder import Folder, scan
from uploader.preflight.forecast import Outlook

if TYPE_CHECKING:
    from uploader.settings.schema import Settings
    from uploader.store.jobs import Jobs

_STORED = (Stage.VALIDATE, Stage.READY)


def outlook(rate: str | None, settings: Settings) -> Outlook | None:
    """By ``rate``, else as the last upload went, within the configured limit; None without any.

    Raises UsageError for a rate that is none.
    """
    if rate is not None:
        return Outlook(_given(rate), "--rate")
    measured = _measured(_store(settings))
    limit = settings.transfer.bandwidth_limit_bps
    if limit and (measured is None or measured.rate_bps > limit):
        return Outlook(limit, "transfer.bandwidth_limit")
    return measured


def _given(rate: str) -> int:
    from uploader.settings.units import parse_rate

    with contextlib.suppress(ValueError):
        if given := parse_rate(rate):
            return given
    raise UsageError(f"--rate {rate!r} is no rate", hint='write a rate like "20MB/s"')


def _store(settings: Settings) -> Jobs | None:
    """What was done before is good to know, and no reason to fail or to load SQLAlchemy."""
    if not settings.state_dir.exists():
        return None
    with contextlib.suppress(StoreError, UsageError):
        return wiring.read_jobs(settings)
    return None


def _measured(store: Jobs | None) -> Outlook | None:
    """As the last upload went, its pauses and waits included: the next one may have them too."""
    uploaded = [job for job in store.jobs() if job.stage in _STORED] if store else []
    if not store or not uploaded:
        return None
    last = max(uploaded, key=lambda job: job.updated_at)
    took_s = _took_s(store, last)
    return Outlook(last.bytes_total / took_s, f"as job {last.id} went") if took_s else None


def _took_s(store: Jobs, job: Job) -> float | None:
    """From the model being there to the last file being stored, in the job's present life."""
    began = ended = None
    for event in store.events(job.id):
        if event.kind in ("created", "adopted"):
            began, ended = event.at, None
        elif event.kind == "validating":
            ended = ended or event.at
    return (ended - began).total_seconds() if began and ended else None


def uploaded_base(model: str | None, settings: Settings) -> Folder | None:
    """The folder of a base model that was uploaded from here and is as it was then."""
    store = _store(settings) if model else None
    for job in reversed(store.jobs()) if store else ():
        if job.model == model and job.kind is Kind.BASE and store:
            with contextlib.suppress(UploaderError):
                folder = scan(Path(job.path))
                if _facts(folder.manifest.files) >= _facts(store.files(job.id)):
                    return folder
    return None


def _facts(files: Iterable[ManifestFile | FileState]) -> set[tuple[str, int, int]]:
    return {(file.path, file.size_bytes, file.mtime_ns) for file in files}


def online(settings: Settings, account: str, model_id: str) -> Iterator[Finding]:
    """Whether the key works and the id is free, asked of the service."""
    service = wiring.service(settings)
    try:
        owner = service.account()
        if account not in (UNKNOWN_ACCOUNT, owner):
            message = f"the key belongs to the account {owner}, the job to {account}"
            yield warning("api_key", None, message, "check FIREWORKS_ACCOUNT_ID or --account")
        name = owner if account == UNKNOWN_ACCOUNT else account
        yield from _taken(service.get(name, model_id).state, f"accounts/{name}/models/{model_id}")
    except RemoteError as problem:
        if problem.verdict is not Verdict.ABSENT:  # an id that is free
            if problem.verdict is Verdict.BLOCKED:
                yield error("api_key", None, problem.message, problem.hint or "check the key")
            else:
                hint = "check the network and FIREWORKS_BASE_URL, then ask again"
                yield error("service", None, problem.message, hint)


def _taken(state: str, model: str) -> Iterable[Finding]:
    if state == "UPLOADING":
        hint = "the upload goes on with it if kind and files are the same"
        yield warning("model_id", None, f"{model} exists and waits for its files", hint)
    else:
        hint = "choose another --model-id, or delete that model first"
        yield error("model_id", None, f"{model} exists already: it is {state or 'there'}", hint)
