"""SIGHUP: the configuration is read again, and what can change while the worker runs changes.

The rest waits for a restart, and the log says of each such setting that it does. The disks that are
asked, those of the files that the configuration names among them, may never answer: so it is read
in a thread, and the worker's loop takes over what was found.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from uploader.core.errors import NoThread, UsageError
from uploader.core.text import some
from uploader.runtime import Clock, log_end
from uploader.service.logs import log_as
from uploader.settings.load import HOOKS, KEYS
from uploader.settings.schema import Settings
from uploader.threads import Spawn

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
#: Seconds after which the log says that a disk does not answer.
PATIENCE_S = 10.0

_log = logging.getLogger("uploader.worker")


class Found(NamedTuple):
    """Settings that were read again; nobody has to ask a disk about them."""

    settings: Settings
    #: Files with secrets that they name, even if only for the next start.
    private_paths: tuple[Path, ...]


class Reading:
    """Reads the settings again, once at a time; for the thread of the worker's loop."""

    def __init__(self, read: Callable[[], Settings], clock: Clock, spawn: Spawn) -> None:
        #: What was read last; None if it cannot be used, and then the log says why.
        self.found: Found | None = None
        self._read = read
        self._clock = clock
        self._spawn = spawn
        self._asked = False
        self._began_s: float | None = None
        self._over = threading.Event()
        #: Does the log say already what the reading waits for?
        self._told = False

    def ask(self) -> None:
        """Read them, after a reading that is under way. Safe in a signal handler."""
        self._asked = True

    def begins(self) -> bool:
        """Begin to read them, if that was asked for and need not wait; whether it was begun."""
        if not self._asked or self._began_s is not None:
            return False
        self._asked = False  # first: what asks from here on may have changed them meanwhile
        self._over.clear()
        try:
            self._spawn("configuration", self._look)
        except NoThread as error:
            self._asked = True
            self._tell_once("the configuration is read later: %s (%s)", error.message, error.hint)
            return False
        self._began_s, self._told = self._clock.boot_s(), False
        return True

    def ends(self) -> bool:
        """True once for each reading, after it has ended: see `found`."""
        if self._began_s is None:
            return False
        if self._over.is_set():
            self._began_s, self._told = None, False
            return True
        if self._clock.boot_s() - self._began_s >= PATIENCE_S:
            self._tell_once(
                "the configuration stays as it was for now: its disk, or that of a file that it"
                " names, does not answer"
            )
        return False

    def _look(self) -> None:
        """A thread."""
        self.found = None
        try:
            settings = self._read()
            self.found = Found(settings, settings.private_paths)
        except UsageError as error:
            _log.error("the configuration stays as it was: %s (%s)", error.message, error.hint)
        except Exception as error:  # noqa: BLE001 - the worker goes on with what it has
            log_end("the configuration stays as it was", error)
        finally:
            self._over.set()

    def _tell_once(self, words: str, *of: str) -> None:
        if not self._told:
            self._told = True
            _log.warning(words, *of)


class Configured:
    """The settings by now: those of the start, less what a reload has changed."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def take_over(self, found: Settings) -> tuple[str, ...]:
        """The names of those in `LIVE` that are different from now on."""
        changed = tuple(_differences(self.settings, found))
        now = tuple(key for key in changed if key in LIVE)
        later = [key for key in changed if key not in LIVE]
        self.settings = _taken_over(self.settings, found)
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
