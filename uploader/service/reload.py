"""SIGHUP: the configuration is read again, and what can change while the worker runs changes.

The rest waits for a restart, and the log says of each such setting that it does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

from uploader.core.errors import UsageError
from uploader.core.text import some
from uploader.service.logs import log_as
from uploader.settings.load import HOOKS, KEYS
from uploader.settings.schema import Settings

#: The settings that hold from the moment on at which they are read.
LIVE = (
    "transfer.bandwidth_limit",
    "transfer.max_files",
    "transfer.max_jobs",
    "log.level",
    "log.format",
    HOOKS,
)
_MAX_NAMED = len(KEYS)

_log = logging.getLogger("uploader.worker")


class Configured:
    """The settings by now: those of the start, less what a reload has changed."""

    def __init__(self, settings: Settings, read: Callable[[], Settings]) -> None:
        self.settings = settings
        #: Files with secrets that the configuration names, even if only for the next start.
        self.private_paths = settings.private_paths
        self._read = read

    def reload(self) -> tuple[str, ...]:
        """Read the settings again; the names of those in `LIVE` that are different now.

        Settings that cannot be used leave everything as it was, and the log says why.
        """
        try:
            found = self._read()
        except UsageError as error:
            _log.error("the configuration stays as it was: %s (%s)", error.message, error.hint)
            return ()
        changed = tuple(_differences(self.settings, found))
        now = tuple(key for key in changed if key in LIVE)
        later = [key for key in changed if key not in LIVE]
        self.settings = _taken_over(self.settings, found)
        self.private_paths = found.private_paths
        log_as(self.settings.log)  # first: the lines that follow are told as is wanted now
        if now:
            _log.info("configuration read again; in force now: %s", some(now, _MAX_NAMED))
        if later:
            _log.warning("these settings change at the next start: %s", some(later, _MAX_NAMED))
        if not changed:
            _log.info("configuration read again; nothing has changed")
        return now


def _differences(before: Settings, after: Settings) -> Iterator[str]:
    for key in (*KEYS, HOOKS):
        if _value(before, key) != _value(after, key):
            yield key


def _value(settings: Settings, key: str) -> object:
    value: object = settings
    for name in KEYS.get(key, key).split("."):
        value = getattr(value, name)
    return value


def _taken_over(before: Settings, after: Settings) -> Settings:
    """``before`` with what is `LIVE` of ``after``: what waits for a restart is logged each time."""
    update: dict[str, Any] = {HOOKS: after.hooks}
    for key in LIVE:
        section, _, name = KEYS.get(key, key).rpartition(".")
        if section:
            part = update.get(section) or getattr(before, section)
            update[section] = part.model_copy(update={name: _value(after, key)})
    return before.model_copy(update=update)
