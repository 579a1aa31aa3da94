"""What each call does before and after: it reads the settings, opens the store, and closes it.

Nothing is printed and no signal is handled, so each call works in any thread and alongside a
worker. Only `upload` starts threads. Ctrl-C raises KeyboardInterrupt; jobs are kept. Errors are
UploaderError with a ``code`` and a ``hint``. Imports are inside the functions, so that
`import uploader` is fast.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from uploader import wiring
from uploader.api.results import Job, JobWithFiles, job_of, job_with_files_of
from uploader.core.job import Job as StoredJob

if TYPE_CHECKING:
    from uploader.settings.schema import Settings
    from uploader.store.jobs import Jobs

Names = Sequence[str]
Progress = Callable[[Job], object]


@contextlib.contextmanager
def opened() -> Iterator[tuple[Settings, wiring.Store]]:
    """The settings as they are now, and the store, closed at the end."""
    from uploader.settings.load import load

    settings = load()
    for sentence in settings.warnings:
        warnings.warn(sentence, stacklevel=5)
    with wiring.Store(settings) as store:
        yield settings, store


def shower(progress: Progress | None) -> Callable[[Sequence[StoredJob]], None]:
    """What shows the one job that a call waits for to its caller."""
    from uploader.core.documents import job_json

    clock = wiring.clock()

    def show(found: Sequence[StoredJob]) -> None:
        if progress:
            progress(job_of(job_json(found[0], clock.now())))

    return show


def with_files(table: Jobs, found: StoredJob) -> JobWithFiles:
    """A job of the table as callers see it."""
    from uploader.core.documents import job_document

    document = job_document(found, table.files(found.id), wiring.clock().now())
    return job_with_files_of(document)


def names(given: Names) -> tuple[str, ...]:
    """A single text is one name, not a sequence of letters."""
    return (given,) if isinstance(given, str) else tuple(given)
