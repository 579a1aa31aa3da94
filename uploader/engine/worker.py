"""The worker loop: claims jobs, watches them, drains. One per process; it holds the leases.

Theory of operation
===================

Threads. The *loop* is the process's main thread, in `Worker.run`. It does no network I/O, so that
it notices within a second what users asked for from other processes. The other threads are

    one thread per claimed job   drives it stage by stage (`engine/job_run.py`); in stage upload
                                 it is the deciding thread of `engine/upload.py`
    "leases"                     with PostgreSQL: cuts connections when a lease has ended, even
                                 while the loop waits for a store that does not answer
    "key"                        checks once a minute if the API key changed (`engine/healing.py`)

Who writes what. The loop writes leases (claim, renew, reap) and `_runs`; a job's thread writes its
job's rows through its `Held`, and removes itself from `_runs` at its end; only that it waits for a
disk is written by the loop. Others only tell a run to stop; its own thread acts on that. No thread
is ever joined: a drain waits for `_runs` to become empty, for a limited time.

Orders that matter.
1. The moment at which a lease ends is taken *before* it is asked for: the store's end is later.
2. A lease without a run is released, and a run without a lease is stopped: `_watch` and `_renew`
   look at both, since either may be lost alone. A cancelled job's run that was cut and waits
   for a silent disk counts as none.
3. Stop, then cut: a stopped thread has `GRACE_S` to reach a block boundary, which costs nothing;
   then its sockets are shut down, which costs what was not confirmed.
4. `wake` is cleared before the loop looks at its runs: one that ends later sets it again.
5. The next time at which a job is due is asked for after a claim that found none: in between, only
   a commit, which is seen, can make a job claimable.

A quiet loop does not ask the store: it claims when somebody has committed, when a run has ended, or
when a job is due. What it does at every turn costs microseconds; the periodic duties, which do ask,
are seconds apart.
"""

from __future__ import annotations

import contextlib
import logging
import math
import threading
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import partial
from pathlib import Path

from uploader.core.errors import NoThread, ProgramEnds, StoreError, UsageError
from uploader.core.job import POOLS, Lease, Stage, Status
from uploader.engine.context import WorkerContext
from uploader.engine.disks import places
from uploader.engine.duties import Duties, Every, wall_clock_at_boot
from uploader.engine.healing import Healing
from uploader.engine.job_run import JobRun
from uploader.engine.steering import Steering
from uploader.runtime import keep_running, log_end
from uploader.store.held import Held

#: Until a job for which there was no thread is claimed again.
_NO_THREAD_PAUSE_S = 10.0
_TICK_S = 0.25
#: As long as no job runs: a signal, and what others commit, is still noticed within a second.
_QUIET_TICK_S = 0.5
#: Seconds for a stopped thread to reach a block boundary before its sockets are shut down.
GRACE_S = 1.0
#: Seconds after which a drain ends, whatever hangs: every row is written by then
#: (docs/architecture.md §6).
DRAIN_S = 8.0
#: Cancelled jobs that are cleaned up after at once; they take no place of those at work.
_MOST_CLOSING = 4
#: Seconds without a usable store that end the process; its supervisor starts it again.
STORE_PATIENCE_S = 60.0
#: A wall clock set back by more than this would keep jobs waiting; less does no harm.
SET_BACK = timedelta(minutes=1)
#: A wall clock set ahead by more than this would make young jobs look old.
_SET_AHEAD = timedelta(hours=1)

_log = logging.getLogger(__name__)


class Worker:
    """Works on every claimable job until it is told to drain."""

    def __init__(self, context: WorkerContext) -> None:
        self.wake = threading.Event()
        self.seen: set[int] = set()
        #: When the loop last turned, on the clock that goes on during suspend.
        self.turned_s = context.clock.boot_s()
        #: Called at every turn, in the loop's thread, also while it drains: whoever wants to know
        #: that the loop lives hears it from the loop itself.
        self.on_turn: Callable[[], None] = lambda: None
        self._context = context
        self._runs: dict[Lease, JobRun] = {}
        self._steering = Steering(context)
        self._draining = False
        self._booted_at = wall_clock_at_boot(context.clock)
        self._healing = Healing(context)
        self._store_broken_since: float | None = None
        self._duties = Duties(
            watching=Every(5.0),
            resting=Every(10.0),
            claiming=Every(30.0),
            renewing=Every(context.limits.lease_s / 4),
            healing=Every(60.0, last_s=context.clock.boot_s()),
            pruning=Every(3600.0),
            sweeping=Every(3600.0, last_s=context.clock.boot_s()),  # a start sweeps, too
        )

    def drain(self) -> None:
        """Stop claiming, stop at a block boundary, persist, return. Safe in a signal handler."""
        # Nothing but a flag: the thread that a signal interrupts may hold the lock of an Event.
        self._draining = True

    def run(self, *, until_idle: bool = False) -> bool:
        """Run until drained or, with ``until_idle``, until no job is active.

        True if, with ``until_idle``, no job is left. Raises StoreError, NoThread; ProgramEnds once
        no job can be started any more, drained.
        """
        over = threading.Event()
        if self._context.claims.leases_end:
            watch = partial(self._watch_lease_ends, over)
            clock = self._context.clock
            self._context.spawn("leases", partial(keep_running, "leases", watch, over, clock))
        try:
            return self._loop(until_idle=until_idle)
        except ProgramEnds:
            self._drain()
            raise
        finally:
            over.set()

    def _loop(self, *, until_idle: bool) -> bool:
        self._context.claims.heal(self._context.base_url)  # a new start tries blocked jobs once
        self._duties.pruning.restart(self._context.clock.boot_s())
        while not self._draining:
            self.has_turned()
            if ended := self.wake.is_set():  # a run has ended: its slot is free
                self.wake.clear()
            if self._turn(claim=ended, until_idle=until_idle):
                self._prune_at_the_end()
                return True
            self._context.clock.wait(self.wake, _TICK_S if self._runs else _QUIET_TICK_S)
        self._drain()
        return until_idle and self._nothing_left()

    @property
    def draining(self) -> bool:
        """Whether the worker has been told to end: it claims no more jobs."""
        return self._draining

    @property
    def running(self) -> int:
        """How many jobs it works on, validation included."""
        return len(self._runs)

    @property
    def store_broken(self) -> bool:
        """Whether the last turns could not use the state store."""
        return self._store_broken_since is not None

    def follow_limits(self) -> None:
        """Read the limits in force again; for the loop's thread."""
        self._steering.outdate()

    def never_send(self, paths: Iterable[Path]) -> None:
        """No job sends the files at these ``paths`` from now on."""
        self._context.private.add(paths)

    def has_turned(self) -> None:
        """The loop lives: say so. For its thread."""
        self.turned_s = self._context.clock.boot_s()
        self.on_turn()

    def _turn(self, *, claim: bool, until_idle: bool) -> bool:
        """One turn of the loop; True if a run ``until_idle`` is finished."""
        idle = False
        try:
            changed = self._housekeep()
            self._steering.follow(changed=changed)
            wanted = claim or changed or self._duties.claim_is_due(self._context.clock)
            if wanted and self._context.clock.boot_s() >= self._duties.no_thread_until_s:
                self._claim(rests=not until_idle)
                self._duties.claimable_at = self._context.claims.next_due(self._context.base_url)
                self._store_broken_since = None  # a turn that claims has used the store
                idle = until_idle and self._idle()
            self._prune()
        except StoreError as error:
            self._tolerate_store_error(error)
            return False
        except ProgramEnds:
            raise
        except NoThread as error:
            _log.warning("%s (%s)", error.message, error.hint)
            self._duties.claimable_at = self._context.clock.now()
            self._duties.no_thread_until_s = self._context.clock.boot_s() + _NO_THREAD_PAUSE_S
        return idle

    def _tolerate_store_error(self, error: StoreError) -> None:
        now = self._context.clock.boot_s()
        # The turn is taken again, all of it: a claim that finds nothing has only read, and says
        # nothing of a store that cannot be written.
        self._duties.repeat(self._context.clock)
        self._steering.outdate()
        if self._store_broken_since is None:
            _log.warning("the state store: %s (%s)", error.message, error.hint)
            self._store_broken_since = now
        elif now - self._store_broken_since > STORE_PATIENCE_S:
            raise error

    def _nothing_left(self) -> bool:
        try:
            return self._idle()
        except StoreError:
            return False

    def _idle(self) -> bool:
        return not self._runs and not self._context.claims.any_open(self._context.base_url)

    # -- claiming --------------------------------------------------------------------------

    def _claim(self, *, rests: bool) -> None:
        context, lease_s = self._context, self._context.limits.lease_s
        if rests and context.rest.is_on():
            return
        context.claims.left = context.rest.left()
        # First what was given up: a later job of that model waits until its clean-up has ended.
        while places([run for run in tuple(self._runs.values()) if run.closing]) < _MOST_CLOSING:
            ends_s = self._lease_ends_s()
            given_up = context.claims.claim_cancelled(context.owner, context.base_url, lease_s)
            if given_up is None:
                break
            self._start(given_up, ends_s)
        for pool in POOLS:
            while self._busy(pool) < self._steering.max_jobs:
                ends_s = self._lease_ends_s()
                held = context.claims.claim(context.owner, context.base_url, pool, lease_s)
                self.seen |= context.claims.set_aside
                if held is None:
                    break
                self.seen.add(held.job.id)
                self._start(held, ends_s)

    def _lease_ends_s(self) -> float:
        """When a lease that is asked for now has certainly ended, in seconds since boot."""
        context = self._context
        if not context.claims.leases_end:
            return math.inf
        return context.clock.boot_s() + context.limits.lease_s

    def _busy(self, pool: frozenset[Stage]) -> int:
        runs = tuple(self._runs.values())
        return places([run for run in runs if run.stage in pool and not run.closing])

    def _start(self, held: Held, lease_ends_s: float) -> None:
        run = JobRun(self._context, held, lease_ends_s)
        self._runs[held.lease] = run
        try:
            self._context.spawn(f"job {held.job.id}", lambda: self._drive(run))
        except NoThread:
            del self._runs[held.lease]
            held.release()
            raise

    def _drive(self, run: JobRun) -> None:
        """A job's thread."""
        try:
            run.drive()
            self._context.tidy()
        except Exception as error:  # noqa: BLE001 - a job whose thread dies has failed a try
            log_end(f"job {run.held.job.id}", error)
            self._context.claims.put_aside(run.held.job.id, error)
        finally:
            del self._runs[run.held.lease]
            self.wake.set()

    # -- tending ---------------------------------------------------------------------------

    def _housekeep(self) -> bool:
        """Handle leases, verbs of other processes and keys; True if a job may now be claimed."""
        context, boot_s = self._context, self._context.clock.boot_s()
        self._handle_clock_set()
        changed = context.changed()
        self._cut_after_grace(boot_s)
        if changed or self._watching().due(boot_s):
            context.claims.reap(context.alive)
            self._watch(boot_s)
        if self._runs and self._duties.renewing.due(boot_s):
            self._renew(boot_s)
        if not self._healing.busy:
            self._healing.start(due=self._duties.healing.due(boot_s))
        if self._duties.sweeping.due(boot_s):
            with contextlib.suppress(UsageError, OSError):  # marks are hints; a start says why
                context.marks.sweep(context.clock.now())
        runs = tuple(self._runs.values())
        told = [run for run in runs if run.look_at_disk(boot_s)]
        return changed or bool(told) or any(run.slowed for run in runs)

    def _watching(self) -> Every:
        """How often leases are looked at: one that ends by itself does so only after a while."""
        rests = self._context.claims.leases_end and not self._runs
        return self._duties.resting if rests else self._duties.watching

    def _prune(self) -> None:
        """Once an hour, and then a step a turn as long as there is more; claims come first.

        Not within an hour of a start, or of a clock set ahead: whatever looks old then is forgotten
        for good, and the clock may not be right yet.
        """
        pruning = self._duties.pruning
        if pruning.due(self._context.clock.boot_s()) and self._context.prune():
            pruning.last_s = -math.inf

    def _prune_at_the_end(self) -> None:
        """For who starts a worker for as long as there is work, and so none that runs for an hour.

        Only if it had any: then the service has answered, and its certificate has not ended by
        this clock.
        """
        with contextlib.suppress(StoreError):  # the next worker does it
            while self.seen and self._context.prune():
                pass

    def _handle_clock_set(self) -> None:
        """If the wall clock was set back, for any worker, no job waits for it to catch up."""
        clock, claims = self._context.clock, self._context.claims
        booted_at = wall_clock_at_boot(clock)
        if booted_at - self._booted_at > _SET_AHEAD:
            self._duties.pruning.restart(clock.boot_s())
        if set_back := self._booted_at - booted_at > SET_BACK:
            claims.clear_future_waits()
        if set_back or (self._duties.clearing.due(clock.boot_s()) and claims.clear_false_waits()):
            self._duties.claimable_at = clock.now()
        self._booted_at = booted_at

    def _watch(self, boot_s: float) -> None:
        """Stop every run whose job a user paused or ended; release leases that nobody needs."""
        leases = self._context.claims.leases_of(self._context.owner)
        for lease, run in tuple(self._runs.items()):
            taken_away = leases.get(lease) in (Status.PAUSED, Status.CANCELLED)
            if lease not in leases or (taken_away and not run.closing):
                run.stop(boot_s)
        free = [lease for lease, status in leases.items() if self._is_free(lease, status, boot_s)]
        if free:
            self._context.claims.release(free)

    def _is_free(self, lease: Lease, status: Status, boot_s: float) -> bool:
        """Does it have no run, or, if its job is cancelled, one that was cut and hangs in a disk?

        Then others may end the job's sessions and have the name of its model, although the thread
        of the run is there for as long as the disk does not answer.
        """
        run = self._runs.get(lease)
        if run is None:
            return True
        is_cut = run.stopped_s is not None and boot_s - run.stopped_s >= GRACE_S
        return status is Status.CANCELLED and not run.closing and is_cut and run.held_up

    def _renew(self, boot_s: float) -> None:
        """Renew the leases: a run whose lease is still ours goes on; one that has lost it stops."""
        context, runs, ends_s = self._context, tuple(self._runs.items()), self._lease_ends_s()
        renewed = context.claims.renew(context.owner, context.limits.lease_s)
        for lease, run in runs:
            if lease in renewed:
                run.lease_ends_s = ends_s
            else:
                run.stop(boot_s)

    def _watch_lease_ends(self, over: threading.Event) -> None:
        """Cut every run whose lease has ended, until ``over``: nothing more may be sent.

        It runs alongside the loop, which a store that does not answer may block for longer than a
        lease lasts.
        """
        while not self._context.clock.wait(over, _TICK_S if self._runs else _QUIET_TICK_S):
            for run in tuple(self._runs.values()):
                if run.lapsed():
                    run.cut()

    def _cut_after_grace(self, boot_s: float) -> None:
        for run in tuple(self._runs.values()):
            if run.stopped_s is not None and boot_s - run.stopped_s >= GRACE_S:
                run.cut()

    # -- draining --------------------------------------------------------------------------

    def _drain(self) -> None:
        clock = self._context.clock
        began_s = clock.boot_s()
        for run in tuple(self._runs.values()):
            run.stop(began_s)
        while self._runs and clock.boot_s() - began_s < DRAIN_S:
            self.has_turned()
            self.wake.clear()
            self._cut_after_grace(clock.boot_s())
            if self._runs:
                clock.wait(self.wake, _TICK_S)
