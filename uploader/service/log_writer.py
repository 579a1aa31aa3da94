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
import threading
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
        # Unlike that of `Queue`, its `put` is reentrant: a garbage collection in it may log.
        self._lines = queue.SimpleQueue[str | threading.Event]()
        self._dropped = 0
        spawn("log", self._write)

    def emit(self, record: logging.LogRecord) -> None:
        """Take the line; if there is no room, only count it."""
        try:
            line = self.format(record)
        except Exception as error:  # noqa: BLE001 - `handleError` would write to the stream itself
            place, kind = f"{record.name}, line {record.lineno}", type(error).__name__
            line = self._warning(f"a line of the log cannot be written ({place}): {kind}")
        if self._lines.qsize() < MOST_LINES:
            self._lines.put(line)
        else:
            self._dropped += 1

    def flush(self) -> None:
        """Wait until every line is written, but not for long."""
        written = threading.Event()
        self._lines.put(written)
        written.wait(_FLUSH_S)

    def _write(self) -> None:
        while True:
            line = self._lines.get()
            if isinstance(line, threading.Event):
                line.set()
                continue
            # A stream that is closed takes none, and nobody is left who could be told.
            with contextlib.suppress(OSError, ValueError):
                self._put("".join(f"{one}\n" for one in (*self._told_of_dropped(), line)))

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
        return [self._warning(f"{dropped} lines of the log were dropped: nobody read them in time")]

    def _warning(self, message: str) -> str:
        facts = {"name": "uploader.log", "levelno": logging.WARNING, "levelname": "WARNING"}
        return self.format(logging.makeLogRecord({**facts, "msg": message}))
