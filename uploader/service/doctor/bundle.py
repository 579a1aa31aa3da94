"""An archive for support: what a person who helps needs to see, and no secret."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

from uploader import wiring
from uploader.core.documents import JobDocument, event_json, job_document
from uploader.core.errors import UploaderError, UsageError
from uploader.core.job import Job
from uploader.core.redact import redact
from uploader.runtime import Clock
from uploader.settings.load import describe
from uploader.settings.schema import Settings
from uploader.store.jobs import Jobs

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_JOBS, _MAX_FILES, _MAX_EVENTS = 200, 20_000, 1000


def write_bundle(
    file: Path, settings: Settings, diagnosis: Mapping[str, Any], clock: Clock
) -> list[str]:
    """Write the archive, private and not over an existing file; the names of what is in it.

    Every text is redacted once more. Raises UsageError; then there is no archive.
    """
    try:
        opened = os.open(file, _FLAGS, 0o600)
    except (OSError, ValueError) as problem:
        raise _cannot(file, problem, "give the path of a new file") from None
    try:
        with os.fdopen(opened, "wb") as into, tarfile.open(fileobj=into, mode="w:gz") as archive:
            return [*_added(archive, _contents(settings, diagnosis, clock))]
    except BaseException as problem:
        with suppress(OSError):
            file.unlink()
        if isinstance(problem, OSError):
            raise _cannot(file, problem, "choose a disk with space") from None
        raise


def _cannot(file: Path, problem: Exception, hint: str) -> UsageError:
    why = getattr(problem, "strerror", None) or "it cannot be a path"
    return UsageError(f"{file} cannot be written: {why}", hint=hint)


def _added(archive: tarfile.TarFile, contents: Iterator[tuple[str, str]]) -> Iterator[str]:
    for name, text in contents:
        content = redact(text).encode("utf-8", "replace")
        entry = tarfile.TarInfo(f"uploader-bundle/{name}")
        entry.size, entry.mode = len(content), 0o600
        archive.addfile(entry, io.BytesIO(content))
        yield name


def _contents(
    settings: Settings, diagnosis: Mapping[str, Any], clock: Clock
) -> Iterator[tuple[str, str]]:
    yield "doctor.json", json.dumps(diagnosis, indent=2)
    rows = (f"{name} = {value}  ({origin})" for name, value, origin in describe(settings))
    yield "settings.txt", "\n".join(rows) + "\n"
    try:
        with wiring.Store(settings) as store:
            table = store.find()
            if table is None:
                return
            found = [*islice(table.stream(_MAX_JOBS), _MAX_JOBS)]
            yield "jobs.json", json.dumps([*_documents(table, found, clock.now())], indent=2)
            since = max(0, table.last_event() - _MAX_EVENTS)
            lines = [json.dumps(event_json(event)) for event in table.events(since=since)]
            yield "events.jsonl", "\n".join(lines) + "\n"
    except UploaderError as problem:
        yield "store.txt", f"{problem.message}\n{problem.hint}\n"


def _documents(table: Jobs, found: list[Job], now: datetime) -> Iterator[JobDocument]:
    """The newest first, with their files, as long as a small machine has memory for them."""
    left = _MAX_FILES
    for job in reversed(found):
        files = table.files_to_show(job.id)[:left] if left else []
        left -= len(files)
        yield job_document(job, files, now)
