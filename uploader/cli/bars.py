"""The bars of jobs as they move. Imported only for a terminal: rich is slow to import."""

from __future__ import annotations

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
        console = Console(file=stream, highlight=False)
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
        for job in jobs:
            words = shown(self._line(job, self._progress.console.width - self._taken))
            if job.id not in self._rows:
                self._rows[job.id] = self._progress.add_task(words, sent=0)
            self._progress.update(
                self._rows[job.id],
                total=max(job.bytes_total, 1),
                completed=job.bytes_confirmed,
                sent=job.bytes_marked,
                description=words,
            )
        self._progress.refresh()

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
