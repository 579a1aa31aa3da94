"""Writes the log of a worker without ever waiting for whoever reads it.

A paused `less`, a terminal that was stopped or a disk below the log that hangs would otherwise stop
every thread that has something to say: jobs, leases, and the drain (docs/architecture.md §6).
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import queue
from typing import TextIO

from uploader.threads import spawn

#: So many lines wait for a reader; further ones are counted.
MOST_LINES = 1000
#: How many seconds the last lines of a process are waited for.
_FLUSH_S = 1.0


class LogWriter(logging.Handler):
    """Lines go to ``stream`` in a thread of its own, in their order. Raises NoThread."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self.stream = stream
        self._lines = queue.Queue[str](MOST_LINES)
        self._dropped = 0
        spawn("log", self._write)

    def emit(self, record: logging.LogRecord) -> None:
        """Take the line; if there is no room, only count it."""
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001 - as every handler of `logging` does
            self.handleError(record)
            return
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self._dropped += 1

    def flush(self) -> None:
        """Wait until every line is written, but not for long."""
        done = self._lines.all_tasks_done
        with done:
            done.wait_for(lambda: not self._lines.unfinished_tasks, _FLUSH_S)

    def _write(self) -> None:
        while True:
            line = self._lines.get()
            # A stream that is closed takes none, and nobody is left who could be told.
            with contextlib.suppress(OSError, ValueError):
                self._put("".join(f"{one}\n" for one in (*self._told_of_dropped(), line)))
            self._lines.task_done()

    def _put(self, text: str) -> None:
        """Past the stream's own lock: a process does not end while a thread hangs with that."""
        try:
            descriptor = self.stream.fileno()
        except io.UnsupportedOperation:
            self.stream.write(text)
            return
        left = text.encode(self.stream.encoding or "utf-8", "backslashreplace")
        while left:
            left = left[os.write(descriptor, left) :]

    def _told_of_dropped(self) -> list[str]:
        dropped, self._dropped = self._dropped, 0
        if not dropped:
            return []
        message = f"{dropped} lines of the log were dropped: nobody read them in time"
        facts = {"name": "uploader.log", "levelno": logging.WARNING, "levelname": "WARNING"}
        return [self.format(logging.makeLogRecord({**facts, "msg": message}))]
