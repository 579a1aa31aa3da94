"""`uploader run`: the worker loop with signals, a log of events and a line of progress.

SIGTERM and SIGINT drain; a second one exits at once, which is safe at any time. SIGHUP reads the
configuration again; from a terminal that is closed it drains, too.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

from uploader import wiring
from uploader.core.errors import NoThread, StoreError, UploaderError
from uploader.core.events import Level, level_of
from uploader.core.exits import Exit, combined, exit_of
from uploader.core.job import Event, Scope
from uploader.core.text import event_line, progress_line
from uploader.engine.worker import DRAIN_S, Worker
from uploader.runtime import keep_running, threads_end_in_the_log
from uploader.service.ending import at_signals
from uploader.service.logs import FACTS, flush, log_as
from uploader.service.reload import Configured, Found, Reading
from uploader.service.supervisor import Supervisor
from uploader.settings.load import HOOKS, supervised
from uploader.settings.schema import Settings
from uploader.store.jobs import Jobs
from uploader.threads import spawn

PROGRESS_EVERY_S = 30.0
_LOOK_S = 1.0
#: How long an idle worker waits for what its hooks have not been told yet, besides their time-out.
_CATCH_UP_S = 5.0
_CATCH_UP_LOOK_S = 0.1
#: How long hooks that could not be begun wait for the next try.
_HOOKS_AGAIN_S = 10.0

_LEVELS = {Level.INFO: logging.INFO, Level.WARNING: logging.WARNING, Level.ERROR: logging.ERROR}

_log = logging.getLogger("uploader.worker")
_events = logging.getLogger("uploader.events")
_progress = logging.getLogger("uploader.progress")


def log_event(event: Event) -> None:
    """Log every event of every job, in words, at the level of its kind."""
    facts = {"job": event.job_id, "event_kind": event.kind}
    if event.path is not None:  # the thread's last request may have been about something else
        facts |= {"file": event.path, "request_id": None}
    _events.log(_LEVELS[level_of(event.kind)], "%s", event_line(event), extra={FACTS: facts})


def run(
    settings: Settings,
    *,
    until_idle: bool,
    listens: bool = False,
    read: Callable[[], Settings] | None = None,
) -> int:
    """`uploader run` until it has drained or is idle; returns its exit code (docs/cli.md §4).

    ``read`` reads the settings again, as the same command line would now. Raises StoreError and
    UsageError.
    """
    log_as(settings.log)
    ended = threading.Event()
    configured = Configured(settings)
    by_now = lambda: configured.settings  # noqa: E731
    with (
        threads_end_in_the_log(),
        wiring.worker(settings, log_event, by_now=by_now) as (worker, jobs),
        _api(by_now, worker, listens=listens),
    ):
        supervisor = Supervisor(supervised(), wiring.clock())
        reading = Reading(read or (lambda: settings), wiring.clock(), spawn)
        turn = _Turn(worker, supervisor, configured, _Hooks(), reading)
        worker.on_turn = turn
        signals = _on_signals(worker.drain, reading.ask)
        turn.hooks.start(settings)
        log_progress = partial(_log_progress, jobs, supervisor, ended)
        spawn("progress", partial(keep_running, "progress", log_progress, ended, wiring.clock()))
        spawn("drain", lambda: _leave_if_stuck(worker, ended))
        _log.info("worker started, state in %s", settings.state_dir)
        if others := _others(settings):
            _log.info("%s with this job table, too: each job has one worker", others)
        try:
            idle = worker.run(until_idle=until_idle)
            if idle:
                _catch_up(configured.settings, turn)
        finally:
            ended.set()
            turn.hooks.end()
            supervisor.ended()
            flush()
        _log.info("worker drained" if worker.draining else "worker is idle")
        flush()
        if until_idle and not idle:
            return 128 + signals[0]  # whoever waits for the jobs must not take that for success
        return _result(jobs, worker.seen, settings.fireworks.base_url) if idle else Exit.OK


def _others(settings: Settings) -> str:
    """Which workers take the same jobs; empty if there are none, or if the store does not say."""
    url, scopes = settings.fireworks.base_url, list[Scope]()
    sealed = settings.database_secret_file is not None
    with wiring.Store(settings) as store, contextlib.suppress(StoreError):
        scopes += store.living().values()  # of this worker, too
    count = sum(scope.takes_all(url, sealed=sealed) for scope in scopes) - 1
    if count < 1:
        return ""
    return "another worker runs" if count == 1 else f"{count} other workers run"


@dataclass(slots=True)
class _Turn:
    """What the worker's loop does for others at each of its turns, in its own thread."""

    worker: Worker
    supervisor: Supervisor
    configured: Configured
    hooks: _Hooks
    reading: Reading

    def __call__(self) -> None:
        """One turn."""
        worker = self.worker
        self.hooks.tend()
        self.supervisor.turned(
            running=worker.running,
            draining=worker.draining,
            trouble="the state store cannot be used" if worker.store_broken else "",
        )
        if not worker.draining:
            self._reload()

    def _reload(self) -> None:
        if self.reading.begins():
            self.supervisor.reloading()
        if self.reading.ends():
            if found := self.reading.found:
                self._take_over(found)
            self.supervisor.reloaded()

    def _take_over(self, found: Found) -> None:
        changed = self.configured.take_over(found.settings)
        self.worker.never_send(found.private_paths)
        self.worker.follow_limits()
        if HOOKS in changed:
            self.hooks.end()
            self.hooks.start(self.configured.settings)


@contextlib.contextmanager
def _api(by_now: Callable[[], Settings], worker: Worker, *, listens: bool) -> Iterator[None]:
    """The HTTP API next to the worker, with connections of its own to the store."""
    if not listens:
        yield
        return
    from uploader.service.http.listen import listening  # noqa: PLC0415 - many do not listen

    def turned_s() -> float:
        return worker.turned_s

    with (
        wiring.Store(by_now()) as store,
        listening(by_now, store.need(), wiring.clock(), turned_s),
    ):
        yield


@dataclass(slots=True)
class _Hooks:
    """The threads that tell; a reload ends them and starts others."""

    _ended: threading.Event = field(default_factory=threading.Event)
    #: The settings whose hooks have no thread yet.
    _due: Settings | None = None

    def start(self, settings: Settings) -> None:
        """Tell the hooks of these settings, if there are any, until `end`."""
        self._due = settings if settings.hooks else None
        self._ended = threading.Event()
        try:
            self._begin()
        except NoThread as error:
            _log.warning("the hooks are told later: %s (%s)", error.message, error.hint)

    def tend(self) -> None:
        """Start what could not be started before."""
        with contextlib.suppress(NoThread):
            self._begin()

    def _begin(self) -> None:
        """Raises NoThread."""
        if (settings := self._due) is not None:
            ended = self._ended
            tell = partial(_tell, settings, ended)
            spawn("hooks", partial(keep_running, "the hooks", tell, ended, wiring.clock()))
            self._due = None

    def end(self) -> None:
        """Tell nothing more once what is on its way has been told."""
        self._due = None
        self._ended.set()


def _tell(settings: Settings, ended: threading.Event) -> None:
    """A thread: tell the hooks until ``ended``, as soon as the store can be used."""
    from uploader.service.hooks.loop import Hooks  # noqa: PLC0415 - few have any

    while not ended.is_set():
        try:
            with wiring.Store(settings) as store:
                if (outbox := store.outbox()) is not None:
                    tls = wiring.trust(settings)
                    Hooks(settings.hooks, outbox, wiring.clock(), tls).run(ended, spawn)
        except UploaderError as error:
            _log.warning("the hooks are told later: %s (%s)", error.message, error.hint)
        wiring.clock().wait(ended, _HOOKS_AGAIN_S)


def _catch_up(settings: Settings, turn: _Turn) -> None:
    """An idle worker leaves once its hooks were told of what ended last, if they take it.

    Otherwise the next worker tells them.
    """
    names, clock = [hook.name for hook in settings.hooks], wiring.clock()
    longest_s = max((hook.timeout_s for hook in settings.hooks), default=0.0)
    until_s, never = clock.boot_s() + longest_s + _CATCH_UP_S, threading.Event()
    with wiring.Store(settings) as store, contextlib.suppress(StoreError):
        outbox = store.outbox() if names else None
        while outbox is not None and outbox.behind(names) and not turn.worker.draining:
            if clock.boot_s() >= until_s:
                _log.warning("the hooks were not told of all that happened: the next worker will")
                return
            turn.worker.has_turned()
            clock.wait(never, _CATCH_UP_LOOK_S)


def _on_signals(drain: Callable[[], None], reload: Callable[[], None]) -> list[int]:
    """Drain at the first signal, leave at the second; the first is in the list then."""
    numbers = [signal.SIGTERM, signal.SIGINT]
    if not sys.stderr.isatty():
        signal.signal(signal.SIGHUP, lambda _number, _frame: reload())
    elif signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as `nohup` has it
        numbers.append(signal.SIGHUP)  # the terminal was closed
    return at_signals(numbers, drain)


def _leave_if_stuck(worker: Worker, ended: threading.Event) -> None:
    """A drain also ends in time if the store never answers: a row is written or it is not."""
    clock = wiring.clock()
    while not worker.draining:
        if clock.wait(ended, _LOOK_S):
            return
    if not clock.wait(ended, DRAIN_S + _LOOK_S):
        _log.error("the state store does not answer: leaving without it")
        flush()
        os._exit(Exit.STORE)


def _log_progress(jobs: Jobs, supervisor: Supervisor, ended: threading.Event) -> None:
    while not wiring.clock().wait(ended, PROGRESS_EVERY_S):
        with contextlib.suppress(StoreError):  # the worker's loop reports that
            now = wiring.clock().now()
            lines = [
                f"job {job.id} {job.model_id}: {progress_line(job, now)}"
                for job in jobs.uploading()
            ]
            for line in lines:
                _progress.info("%s", line)
            supervisor.progress = lines[0] if lines else ""


def _result(jobs: Jobs, seen: set[int], base_url: str) -> Exit:
    """One code for the jobs of this run.

    If this configuration skips a job, the configuration is wrong, or the job should not be there.
    """
    exits = {exit_of(job.status, job.reason) for job in jobs.these(seen)}
    for job in jobs.active_elsewhere(base_url):
        exits.add(Exit.USAGE)
        _log.warning(
            "job %d is for %s: a worker configured for %s does not take it",
            job.id,
            job.base_url,
            base_url,
        )
    for job in jobs.needing_secret(base_url):
        exits.add(Exit.USAGE)
        _log.warning("job %d has a seal: a worker without the secret does not take it", job.id)
    return combined(exits)
