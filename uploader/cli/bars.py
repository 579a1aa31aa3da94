"""The bars of `uploader wait` on a terminal. Imported only there: rich is slow to import."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from uploader.core.job import Job
from uploader.model.names import shown


class Bars:
    """One bar per job: the bytes the server has confirmed, and where the job stands."""

    def __init__(self, line: Callable[[Job], str]) -> None:
        self._line = line
        self._rows: dict[int, TaskID] = {}
        self._progress = Progress(
            BarColumn(12),
            TextColumn("{task.description}", markup=False),
            console=Console(file=sys.stderr, highlight=False),
        )

    def __call__(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            if job.id not in self._rows:
                self._rows[job.id] = self._progress.add_task("")
            self._progress.update(
                self._rows[job.id],
                total=max(job.bytes_total, 1),
                completed=job.bytes_confirmed,
                description=shown(self._line(job)),
            )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()
