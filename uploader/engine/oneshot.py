"""One-shot: some jobs brought to their ends by whoever wants them there, without a daemon.

The caller's thread only waits: it reads the jobs about once a second and shows them. The work is
done by a worker. If one that takes the jobs is alive already, in whatever process, it is left to
do so. Otherwise a worker of this process is started in a thread of its own, which takes these jobs
and changes no others; it is started too when the other one dies, or when a paused job is resumed.
Two that work on the same job do no harm: only one of them holds its lease.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

from uploader.core.errors import NoThread
from uploader.core.job import Job, Status
from uploader.core.lifecycle import Verb
from uploader.engine.worker import DRAIN_S, Worker
from uploader.runtime import Clock
from uploader.store.jobs import Jobs
from uploader.store.wait import wait_for
from uploader.threads import Spawn

#: Seconds for a worker whose jobs have ended to end by itself: a cancelled job is cleaned up after.
_PATIENCE_S = 5.0
#: Seconds for its thread to close what it had open once it is drained.
_CLOSING_S = 2.0


def work_on(  # noqa: PLR0913 - what a caller without a terminal can hand in
    jobs: Jobs,
    ids: Sequence[int],
    clock: Clock,
    spawn: Spawn,
    open_worker: Callable[[], AbstractContextManager[Worker]],
    *,
    show: Callable[[Sequence[Job]], None] = lambda _: None,
    timeout_s: float | None = None,
) -> list[Job]:
    """Bring those jobs to their ends; returns them as they ended: done, failed, blocked, cancelled.

    - While another worker is alive that takes the jobs, nothing is sent from here. If it dies, the
      jobs are taken over, about two seconds later. A job that is blocked or has failed is tried
      again once, at the beginning; a paused one is waited for.
    - ``jobs`` has to know which workers live (`wiring.Store` gives such a table). ``open_worker``
      makes a worker for these jobs, which counts as alive while the context lasts.
    - ``show`` is called in this thread about once a second with the jobs, in the order of ``ids``,
      each once. ``Job.unattended`` is False from the moment at which a worker is started here.
    - It works in any thread, prints nothing and handles no signal. Whatever ends it early
      (KeyboardInterrupt, SystemExit, an exception of ``show``) drains the worker first: for at
      most ten seconds, after which every row says what the server holds. The jobs stay as they
      are, and any worker goes on with them. A second KeyboardInterrupt leaves at once, which is
      safe at any time.

    Raises WaitTimedOut after ``timeout_s`` seconds, NotFound, StoreError; and, if the worker of
    this process cannot start, what kept it: StoreError, UsageError, NoThread. ProgramEnds, if
    Python is ending, so that no more of the job can be done here.
    """
    own = _OwnWorker(clock, spawn, open_worker)
    for job_id in ids:
        if jobs.job(job_id).status in (Status.BLOCKED, Status.FAILED):
            jobs.apply(job_id, Verb.RETRY, clock.now())

    def tend(found: Sequence[Job]) -> None:
        own.check()
        if any(job.unattended and job.status is Status.ACTIVE for job in found):
            own.start()
        show([replace(job, unattended=False) for job in found] if own.running else found)

    try:
        ended = wait_for(jobs, ids, clock, timeout_s, tend)
    except BaseException:
        own.end(patience_s=0.0)
        raise
    own.end(patience_s=_PATIENCE_S)
    return ended


class _OwnWorker:
    """The worker of this process: it is started when it is needed, and ends once it is idle."""

    def __init__(
        self,
        clock: Clock,
        spawn: Spawn,
        open_worker: Callable[[], AbstractContextManager[Worker]],
    ) -> None:
        self._clock = clock
        self._spawn = spawn
        self._open = open_worker
        self._worker: Worker | None = None
        self._leaving = False
        self._error: Exception | None = None
        self._over = threading.Event()
        self._over.set()

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended yet."""
        return not self._over.is_set()

    def check(self) -> None:
        """Raises what ended it, if anything went wrong."""
        if self._error is not None:
            raise self._error

    def start(self) -> None:
        """Start it, unless it is running."""
        if not self.running:
            self._over.clear()
            try:
                self._spawn("worker", self._run)
            except NoThread:
                self._over.set()
                raise

    def end(self, *, patience_s: float) -> None:
        """Give it ``patience_s`` seconds to end by itself; then drain it."""
        self._clock.wait(self._over, patience_s)
        self._leaving = True
        if worker := self._worker:
            worker.drain()
        self._clock.wait(self._over, DRAIN_S + _CLOSING_S)

    def _run(self) -> None:
        """Its thread."""
        try:
            with self._open() as worker:
                self._worker = worker
                if self._leaving:  # `end` may have looked just before
                    worker.drain()
                worker.run(until_idle=True)
        except Exception as error:  # noqa: BLE001 - raised in the caller's thread
            self._error = error
        finally:
            self._worker = None
            self._over.set()
