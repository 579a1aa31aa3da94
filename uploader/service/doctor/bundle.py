"""An archive for support: what a person who helps needs to see, and no secret."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from uploader import wiring
from uploader.core.documents import event_json, job_document
from uploader.core.errors import UploaderError, UsageError
from uploader.core.redact import redact
from uploader.runtime import Clock
from uploader.settings.load import describe
from uploader.settings.schema import Settings

_MAX_JOBS, _MAX_EVENTS = 200, 1000


def write_bundle(
    file: Path, settings: Settings, diagnosis: Mapping[str, Any], clock: Clock
) -> list[str]:
    """Write the archive, private and not over an existing file; the names of what is in it.

    Every text is redacted once more. Raises UsageError.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        opened = os.fdopen(os.open(file, flags, 0o600), "wb")
    except (OSError, ValueError) as problem:
        why = getattr(problem, "strerror", None) or "it cannot be a path"
        hint = "give the path of a new file"
        raise UsageError(f"{file} cannot be written: {why}", hint=hint) from None
    names = []
    with opened, tarfile.open(fileobj=opened, mode="w:gz") as archive:
        for name, text in _contents(settings, diagnosis, clock):
            content = redact(text).encode("utf-8", "replace")
            entry = tarfile.TarInfo(f"uploader-bundle/{name}")
            entry.size, entry.mode = len(content), 0o600
            archive.addfile(entry, io.BytesIO(content))
            names.append(name)
    return names


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
            now = clock.now()
            documents = [job_document(job, table.files_to_show(job.id), now) for job in found]
            yield "jobs.json", json.dumps(documents, indent=2)
            since = max(0, table.last_event() - _MAX_EVENTS)
            lines = [json.dumps(event_json(event)) for event in table.events(since=since)]
            yield "events.jsonl", "\n".join(lines) + "\n"
    except UploaderError as problem:
        yield "store.txt", f"{problem.message}\n{problem.hint}\n"
