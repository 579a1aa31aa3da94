"""The log on standard error: lines for a person, or JSON for a supervisor that collects it.

Every line is redacted twice: values that are secret have a type that does not print them, and here
the finished line is searched for whatever got into a text (docs/invariants.md §8).
"""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import Any

from uploader.core.errors import NoThread
from uploader.core.redact import redact
from uploader.core.text import and_more, shown, timestamp
from uploader.runtime import about
from uploader.service.log_writer import LogWriter
from uploader.settings.load import supervised
from uploader.settings.schema import Log

#: The attribute of a record with facts that only this line is about.
FACTS = "facts"
_logger = logging.getLogger("uploader")
#: Lines of these can be caused by somebody without the token. One of each kind is logged in this
#: many seconds.
_OF_STRANGERS = ("asyncio", "uvicorn", "uploader.service.http")
_SELDOM_S = 60.0


def log_as(log: Log) -> None:
    """Log as the settings say, for a worker; may be called again with others."""
    as_json = log.format == "json" or (log.format == "auto" and supervised().collects_logs)
    level = logging.getLevelNamesMapping()[log.level.upper()]
    writer = _writer()
    log_to_stderr(level, as_json=as_json, to=writer)
    if isinstance(writer, LogWriter):
        _write_all_to(writer)


def flush() -> None:
    """Wait for the lines that are not written yet, but not for long."""
    for handler in _logger.handlers:
        if isinstance(handler, LogWriter):
            handler.flush()


def _writer() -> logging.Handler:
    """One for the life of the process: lines keep their order, whatever settings are read again."""
    for handler in _logger.handlers:
        if isinstance(handler, LogWriter) and handler.stream is sys.stderr:
            return handler
    try:
        return LogWriter(sys.stderr)
    except NoThread:
        return logging.StreamHandler(sys.stderr)


def _write_all_to(writer: LogWriter) -> None:
    """Also what libraries and Python itself say: else its thread would wait for a reader."""
    writer.addFilter(_is_for_root)
    root = logging.getLogger()
    for one in [*root.handlers]:
        if isinstance(one, LogWriter):
            root.removeHandler(one)
    root.addHandler(writer)
    logging.lastResort = writer
    logging.captureWarnings(capture=True)
    sys.unraisablehook = _unraisable


def _is_for_root(record: logging.LogRecord) -> bool:
    """All others show only warnings and errors, whatever level they set."""
    ours = record.name == _logger.name or record.name.startswith(f"{_logger.name}.")
    return ours or record.levelno >= logging.WARNING


def _unraisable(of: sys.UnraisableHookArgs) -> None:
    """As `sys.unraisablehook`, without the object: its words may raise, or hold a key."""
    _logger.error("%s", of.err_msg or "an error that nobody waits for", exc_info=of.exc_value)


def log_to_stderr(
    level: int = logging.INFO, *, as_json: bool = False, to: logging.Handler | None = None
) -> None:
    """Show our own loggers only: urllib3's debug lines contain whole URLs."""
    stream = to or logging.StreamHandler(sys.stderr)
    formatter = _json_formatter() if as_json else TextFormatter()
    stream.setFormatter(formatter)
    stream.filters = [Seldom()]
    _logger.handlers = [stream]
    _logger.setLevel(level)
    _logger.propagate = False
    if logging.lastResort:  # what a library says of its own errors may repeat foreign words
        logging.lastResort.setFormatter(formatter)
        logging.lastResort.filters = stream.filters


class Seldom(logging.Filter):
    """What a stranger can cause fills no disk: it is logged once a minute, and how often it came.

    Lines from one place in the code are of one kind, so that no kind hides another.
    """

    def __init__(self) -> None:
        super().__init__()
        #: By place: when the last one was told, and how many have been left out since.
        self._told: dict[tuple[str, int], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """As `logging.Filter.filter`."""
        if not record.name.startswith(_OF_STRANGERS):
            return True
        place = (record.pathname, record.lineno)
        last_s, left_out = self._told.get(place, (float("-inf"), 0))
        if 0 <= record.created - last_s < _SELDOM_S:  # or the clock was set back
            self._told[place] = (last_s, left_out + 1)
            return False
        self._told[place] = (record.created, 0)
        if left_out:
            words = f"{record.getMessage().strip()} ({and_more(left_out)} like it were left out)"
            record.msg, record.args = words, ()
        return True


class TextFormatter(logging.Formatter):
    """One line per record, in UTC."""

    def format(self, record: logging.LogRecord) -> str:
        """As `logging.Formatter.format`."""
        at = timestamp(datetime.fromtimestamp(record.created, UTC))
        message = shown(record.getMessage())  # a server's words may try to control the terminal
        line = f"{at} {record.levelname.lower():7} {message}"
        if record.exc_info:
            trace = redact(self.formatException(record.exc_info))  # first: a key may be broken
            line += "".join(f"\n{shown(one)}" for one in trace.splitlines())
        return redact(line)


def _json_formatter() -> logging.Formatter:
    """One JSON object per record (docs/monitoring.md), in ASCII."""
    import structlog  # noqa: PLC0415 - only needed if somebody collects the log

    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[_with_facts],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            _redacted,
            structlog.processors.JSONRenderer(),
        ],
    )


_Line = MutableMapping[str, Any]


def _with_facts(_logger: object, _name: str, line: _Line) -> _Line:
    """When, how bad, by whom, and which job, file, attempt and request it is about."""
    record: logging.LogRecord = line["_record"]
    facts = {**about(), **getattr(record, FACTS, {})}
    return {
        "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname.lower(),
        "logger": record.name,
        **line,
        **{name: fact for name, fact in facts.items() if fact is not None},
    }


def _redacted(_logger: object, _name: str, line: _Line) -> _Line:
    """Before it is JSON: there, a mask could take a quotation mark away."""
    return {k: _harmless(v) if isinstance(v, str) else v for k, v in line.items()}


def _harmless(text: str) -> str:
    return redact(text).replace("\x7f", "\ufffd")
