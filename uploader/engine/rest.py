"""A worker whose own API key does not do leaves jobs to other workers (docs/life.md §6)."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass

from uploader.core.errors import StoreError
from uploader.core.reasons import Code
from uploader.core.text import duration
from uploader.runtime import Clock

#: The service does not accept the key of the worker that had the job, or it has none.
REFUSED = (Code.KEY_REJECTED, Code.NO_KEY)
#: Seconds. The first is twice as long as the others need to look after blocked jobs.
_FIRST_S, _LONGEST_S = 120.0, 960.0
#: Seconds. Whoever asks the service may hang.
_UNSURE_S = 60.0
#: Seconds after which a pause does not count as one in a row.
_LONG_AGO_S = 3600.0
#: More jobs are not remembered; the one whose pause ends first is forgotten first.
_MOST = 1000

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Pause:
    until_s: float = -math.inf
    in_a_row: int = 0

    def begin(self, boot_s: float) -> None:
        """Twice as long as the last one."""
        if boot_s >= self.until_s:
            self.in_a_row = self.in_a_row + 1 if boot_s - self.until_s < _LONG_AGO_S else 1
            self.until_s = boot_s + min(_LONGEST_S, _FIRST_S * 2.0 ** min(self.in_a_row - 1, 16))


class Rest:
    """Which jobs the worker leaves to others for now. Any thread may use it.

    Each pause is twice as long as the last one: whoever has an old key takes a job now and then.
    """

    def __init__(self, clock: Clock, others: Callable[[], bool]) -> None:
        """``others``: do other workers live that take every job of this base URL?"""
        #: Has the key stopped a job, and neither changed nor done anything since?
        self.refused = False
        self._clock = clock
        self._others = others
        self._lock = threading.Lock()
        self._all = _Pause()
        #: By job, of those that it has blocked by its key or account.
        self._left: dict[int, _Pause] = {}
        #: Until then it is not known whether the job or the key was refused, so it takes no other.
        self._unsure_until_s = -math.inf

    def note(self, code: str, job_id: int) -> None:
        """The job is about to be blocked with ``code``."""
        self.refused |= code in REFUSED
        if code not in (*REFUSED, Code.OTHER_ACCOUNT) or not self.has_others():
            return
        with self._lock:
            left = self._left
            left.setdefault(job_id, _Pause()).begin(self._clock.boot_s())
            if len(left) > _MOST:
                del left[min(left, key=lambda one: left[one].until_s)]
            if code in REFUSED:
                self._unsure_until_s = self._clock.boot_s() + _UNSURE_S

    @property
    def is_unsure(self) -> bool:
        """Is the service to be asked whether it accepts the key?"""
        return self._clock.boot_s() < self._unsure_until_s

    def begin(self) -> None:
        """The service does not accept the key, whatever it is asked."""
        boot_s = self._clock.boot_s()
        with self._lock:
            if boot_s < self._all.until_s:
                return
            self._all.begin(boot_s)
            pause = duration(self._all.until_s - boot_s)
        _log.warning("the API key is not accepted: jobs are left to other workers for %s", pause)

    def is_on(self) -> bool:
        """Does the worker take no job now? Without other workers it takes all as ever."""
        with self._lock:
            paused = self._clock.boot_s() < max(self._unsure_until_s, self._all.until_s)
            if not paused and not self._left:
                return False
        if not self.has_others():
            self._forget()
            return False
        return paused

    def left(self) -> list[int]:
        """The jobs that it leaves alone, because it has blocked them itself."""
        boot_s = self._clock.boot_s()
        with self._lock:
            return [one for one, pause in self._left.items() if boot_s < pause.until_s]

    def end(self) -> None:
        """The key has changed."""
        self.refused = False
        self._forget()

    def wake(self) -> None:
        """The service accepts the key; so what stopped a job just now was the job."""
        boot_s = self._clock.boot_s()
        with self._lock:
            if boot_s < self._all.until_s:
                self._all.until_s = boot_s
                self._left.clear()

    def be_sure(self) -> None:
        """The service was asked; if it did not say, it is asked after the next such job."""
        self._unsure_until_s = -math.inf

    def accepted(self) -> None:
        """The service has done by this key what nobody may do without one."""
        with self._lock:
            self.refused, self._unsure_until_s = False, -math.inf
            self._all = _Pause()

    def _forget(self) -> None:
        with self._lock:
            self._unsure_until_s = -math.inf
            self._all = _Pause()
            self._left.clear()

    def has_others(self) -> bool:
        """Do other workers live that may take the jobs?"""
        try:
            return self._others()
        except StoreError:  # whoever needs the store now says so
            return False
