"""Jobs that are left alone for a while, because the database refuses what is written of them.

Only in memory: nothing can be written of such a job. One job's rows never stop another job
(docs/invariants.md §10).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from typing import TypeVar

from sqlalchemy import ColumnElement, and_, select

from uploader.core.errors import StoreError
from uploader.core.retry import SHORT_LIMIT, reason_of
from uploader.runtime import METERS
from uploader.store.journal import Journal, Transaction
from uploader.store.tables import jobs

_log = logging.getLogger(__name__)

_T = TypeVar("_T")
#: Writes those jobs, of a condition, and returns what was done.
Write = Callable[[Transaction, ColumnElement[bool]], Collection[_T]]

_FIRST, _LONGEST = timedelta(seconds=10), timedelta(hours=1)
#: More are not remembered; those that would be tried first are forgotten first.
_MOST = 1000
#: In place of none, for a condition that names at least one.
_NOBODY = 0


class Aside:
    """Which jobs, until when, and how often in a row. Any thread may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[int, tuple[datetime, int]] = {}

    def add(self, job_id: int, error: Exception, now: datetime) -> None:
        """Leave the job alone for a while: longer each time, unless the last one is long ago."""
        with self._lock:
            until, before = self._found.get(job_id, (now, 0))
            times = before + 1 if now - until < _LONGEST else 1
            pause = min(_LONGEST, _FIRST * 2 ** min(times - 1, 16))
            self._found[job_id] = (now + pause, times)
            if len(self._found) > _MOST:
                del self._found[min(self._found, key=lambda one: self._found[one][0])]
        METERS.add("jobs_set_aside")
        if times == 1:
            reason = reason_of(error)
            said = "job %s is left alone for a while: %s (%s)"
            _log.warning(said, job_id, reason.message, reason.hint)

    def write(
        self, journal: Journal, now: datetime, which: ColumnElement[bool], write: Write[_T]
    ) -> list[_T]:
        """Write all jobs of ``which`` at once; one by one if the database refuses that.

        Then only the jobs that it refuses to write stay as they are. Raises StoreError.
        """
        some = and_(which, jobs.c.id.not_in(self.ids(now)))
        try:
            with journal.writing(now) as transaction:
                return [*write(transaction, some)]
        except StoreError as error:
            check_is_about_rows(error)
        with journal.reading() as connection:
            ids = connection.scalars(select(jobs.c.id).where(some)).all()
        done: list[_T] = []
        for job_id in ids:
            try:
                with journal.writing(now) as transaction:
                    done += write(transaction, and_(some, jobs.c.id == job_id))
            except StoreError as error:
                check_is_about_rows(error)
                self.add(job_id, error, now)
        return done

    def ids(self, now: datetime) -> list[int]:
        """Those whose time has not come; never empty."""
        with self._lock:
            return [_NOBODY, *(one for one, (until, _) in self._found.items() if until > now)]

    def given_up(self) -> list[int]:
        """Those for which nobody needs to wait; never empty."""
        with self._lock:
            return [_NOBODY, *(one for one, (_, n) in self._found.items() if n >= SHORT_LIMIT)]

    def clear(self) -> None:
        """Try them all at once: the clock was set back."""
        with self._lock:
            self._found.clear()


def check_is_about_rows(error: StoreError) -> None:
    """Raises ``error`` if it is about the store as a whole."""
    if not error.is_about_rows:
        raise error
