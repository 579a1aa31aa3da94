"""The bars of jobs as they move. Imported only for a terminal: rich is slow to import."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.progress import Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.table import Column
from rich.text import Text

from uploader.core.job import Job
from uploader.core.text import shown

_BAR = 8
#: Confirmed, only sent, and the rest: these differ even without colour.
_TONES = (("█", "green"), ("▒", "green dim"), ("░", "dim"))
_PLAIN_TONES = (("#", "green"), ("=", "green dim"), (".", "dim"))
#: A narrower terminal only has room for the words.
_MIN_WIDTH_WITH_BAR = 72


class TwoTones(ProgressColumn):
    """The bytes the server has confirmed solid, those that are only sent lighter."""

    def __init__(self, encoding: str) -> None:
        super().__init__()
        try:
            "".join(tone for tone, _ in _TONES).encode(encoding)
        except UnicodeEncodeError:
            self._tones = _PLAIN_TONES
        else:
            self._tones = _TONES

    def render(self, task: Task) -> Text:
        """The bar of one task: confirmed, sent, and still to send."""
        ends = (task.completed, task.fields["sent"], task.total or 1)
        cells = [int(_BAR * end / (task.total or 1)) for end in ends]
        bar, begin = Text(), 0
        for (tone, style), end in zip(self._tones, cells, strict=True):
            bar.append(tone * max(end - begin, 0), style)
            begin = max(begin, end)
        return bar


class Bars:
    """One bar per job: what is confirmed, what is sent, and the job's stage."""

    def __init__(self, line: Callable[[Job, int], str], stream: TextIO) -> None:
        self._stream = stream
        console = Console(file=stream, highlight=False, width=self._width())
        # What does not fit goes on in the next line: half a number is misleading.
        words = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=False))
        columns: list[ProgressColumn] = [words]
        if console.width >= _MIN_WIDTH_WITH_BAR:
            columns.insert(0, TwoTones(console.encoding))
        self._taken = (_BAR + 1) * (len(columns) - 1)
        self._line = line
        self._rows: dict[int, TaskID] = {}
        # What is shown changes once a second: a thread that draws more often would only cost time.
        self._progress = Progress(*columns, console=console, auto_refresh=False)

    def __call__(self, jobs: Sequence[Job]) -> None:
        """Draw the bars as the jobs are now: a new job gets one, one that is gone loses it."""
        for gone in self._rows.keys() - {job.id for job in jobs}:
            self._progress.remove_task(self._rows.pop(gone))
        self._progress.console.width = self._width()  # a terminal may change its size
        for job in jobs:
            words = shown(self._line(job, self._progress.console.width - self._taken))
            total, done, sent = max(job.bytes_total, 1), job.bytes_confirmed, job.bytes_marked
            if job.id not in self._rows:
                row = self._progress.add_task(words, total=total, completed=done, sent=sent)
                self._rows[job.id] = row
            row = self._rows[job.id]
            self._progress.update(row, total=total, completed=done, sent=sent, description=words)
        self._progress.refresh()

    def _width(self) -> int:
        """Two columns are left for the ^C of the terminal: it may not push the bars down."""
        at_least = os.get_terminal_size(self._stream.fileno())
        return max(shutil.get_terminal_size(at_least).columns - len("^C"), 1)

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
