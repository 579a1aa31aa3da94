"""Writes the log of a worker without ever waiting for whoever reads it.

A paused `less`, a terminal that was stopped or a disk below the log that hangs would otherwise stop
every thread that has something to say: jobs, leases, and the drain (docs/architecture.md §6).
"""

from __future__ import annotations

import io
import logging
import os
import queue
import select
import threading
from typing import TextIO

from uploader.threads import spawn

#: This many lines wait for a reader; further ones are counted.
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
        #: Was the last line written in part only?
        self._is_cut = False
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
            dropped = self._dropped
            try:
                self._put("".join(f"{one}\n" for one in (*self._told_of(dropped), line)))
            except (OSError, ValueError):  # it is closed, or its disk is full
                self._dropped += 1
            else:
                self._dropped -= dropped

    def _put(self, text: str) -> None:
        """Past the stream's own lock: a process does not end while a thread hangs with that."""
        try:
            descriptor = self.stream.fileno()
        except io.UnsupportedOperation:
            self.stream.write(text)
            return
        left = text.encode(self.stream.encoding or "utf-8", "backslashreplace")
        left = b"\n" + left if self._is_cut else left
        while left:
            try:
                written = os.write(descriptor, left)
            except BlockingIOError:  # whoever shares the pipe may have made it so
                _until_writable(descriptor)
                continue
            left = left[written:]
            self._is_cut = bool(left)

    def _told_of(self, dropped: int) -> list[str]:
        message = f"{dropped} lines of the log were dropped: they could not be written in time"
        return [self._warning(message)] if dropped else []

    def _warning(self, message: str) -> str:
        facts = {"name": "uploader.log", "levelno": logging.WARNING, "levelname": "WARNING"}
        return self.format(logging.makeLogRecord({**facts, "msg": message}))


def _until_writable(descriptor: int) -> None:
    waiting = select.poll()
    waiting.register(descriptor, select.POLLOUT)
    waiting.poll()
