"""The bar of files that are read. Imported only for a terminal: rich is slow to import."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from uploader.core.text import size


class _Rate(ProgressColumn):
    """As every other rate is shown; rich has its own units."""

    def render(self, task: Task) -> Text:
        return Text(f"{size(task.speed)}/s" if task.speed else "")


@contextmanager
def reading(total_bytes: int, stream: TextIO) -> Iterator[Callable[[int], None]]:
    """A bar as long as the context lasts; what it yields takes the lengths of blocks."""
    columns = (
        TextColumn("reading"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        _Rate(),
        TimeRemainingColumn(),
    )
    console = Console(file=stream, highlight=False)
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=total_bytes)
        yield lambda count: progress.advance(task, count)
