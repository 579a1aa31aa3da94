"""Ends the sessions that others left open for a model, before anybody sends to it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

from uploader.core.errors import JobRefused, RemoteError, UploaderError
from uploader.core.retry import is_final
from uploader.engine.context import WorkerContext
from uploader.runtime import StopToken
from uploader.store.held import Held
from uploader.store.leftovers import Leftover

#: For how long a worker ends sessions for one job before it is another one's turn.
CLEANING_S = 60.0
#: After so many sessions that could not be ended it waits, as after any failure.
_MOST_FAILED = 10


class Ending:
    """A job's turn at ending leftovers: there may be more than fit into one."""

    def __init__(self, context: WorkerContext, held: Held, stop: StopToken) -> None:
        self._context = context
        self._held = held
        self._stop = stop
        self._until_s = context.clock.boot_s() + CLEANING_S
        self._failed: list[tuple[Leftover, UploaderError]] = []

    @property
    def error(self) -> UploaderError | None:
        """What kept a session open last; it may pass."""
        return self._failed[-1][1] if self._failed else None

    def end(self, found: Sequence[Leftover]) -> bool:
        """True if each of them is over now, or the service refuses to end it, which is told.

        One that cannot be ended keeps no other one open, but a service that is down is not asked
        about all of them.
        """
        clock, ended = self._context.clock, list[Leftover]()
        refused: list[tuple[Leftover, str]] = []
        try:
            with closing(self._context.storage(self._stop)) as storage:
                for one in found:
                    self._stop.check()
                    if clock.boot_s() >= self._until_s or len(self._failed) >= _MOST_FAILED:
                        return False
                    try:
                        storage.end(one.session)
                        ended.append(one)
                    except (RemoteError, JobRefused) as error:
                        if is_final(error):
                            refused.append((one, error.message))
                        else:
                            self._failed.append((one, error))
        finally:
            if ended or refused:
                self._held.end_leftovers(ended, refused)
        return not self._failed

    def give_up(self) -> None:
        """Leave those open that could not be ended: it was tried often enough."""
        self._held.end_leftovers([], [(one, error.message) for one, error in self._failed])
