"""The thread that notifies: fill the outbox, deliver what is due, put off what was not taken."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from uploader.core.errors import NoThread, StoreError
from uploader.core.hooks import (
    HEARTBEAT_S,
    Gone,
    Occasion,
    Undelivered,
    again_after_s,
    is_given_up,
    kinds_of,
)
from uploader.runtime import Clock, keep_running
from uploader.service.hooks.deliver import beat, deliver
from uploader.settings.hooks import Hook
from uploader.store.outbox import Delivery, Outbox
from uploader.threads import Spawn

_log = logging.getLogger("uploader.hooks")

LOOK_S = 1.0
#: A worker that dies with a delivery in hand keeps it from the others for as long as that.
_LEND_MORE_S = 30.0
#: From this many failures in a row on, the job's history says so.
_TELL_AT = 3


@dataclass(frozen=True, slots=True)
class Hooks:
    """The hooks of one daemon, each notified by its own thread: a slow one delays no other."""

    hooks: Sequence[Hook]
    outbox: Outbox
    clock: Clock
    tls: Any

    def run(self, ended: threading.Event, spawn: Spawn) -> None:
        """Until ``ended``: the outbox is filled here, and every hook notified in its own thread.

        If a thread cannot be started yet, its hook is notified once it can be. No thread ends
        before ``ended``, whatever happens in it.
        """
        waiting = list(self.hooks)
        fill = partial(self._fill, waiting, ended, spawn)
        keep_running("the outbox of the hooks", fill, ended, self.clock)

    def _fill(self, waiting: list[Hook], ended: threading.Event, spawn: Spawn) -> None:
        """Those ``waiting`` have no thread yet."""
        wanted = {hook.name: kinds_of(hook.on) for hook in self.hooks}
        warned = 0
        while True:
            self._start(waiting, ended, spawn)
            if waiting and len(waiting) != warned:
                warned = len(waiting)
                names = ", ".join(hook.name for hook in waiting)
                _log.warning("no thread can be started: these hooks are told later: %s", names)
            try:
                self.outbox.fill(wanted, self.clock.now())
            except StoreError as error:
                _log.warning("the outbox of the hooks: %s", error.message)
            if self.clock.wait(ended, LOOK_S):
                return

    def _start(self, waiting: list[Hook], ended: threading.Event, spawn: Spawn) -> None:
        """A thread for each of ``waiting``, as long as they can be started."""
        with contextlib.suppress(NoThread):
            while waiting:
                name = f"hook-{waiting[0].name}"
                serve = partial(self._serve, waiting[0], ended)
                spawn(name, partial(keep_running, name, serve, ended, self.clock))
                del waiting[0]

    def _serve(self, hook: Hook, ended: threading.Event) -> None:
        beats = Occasion.HEARTBEAT in hook.on
        next_beat_s = self.clock.boot_s()
        while not ended.is_set():
            if beats and self.clock.boot_s() >= next_beat_s:
                next_beat_s = self.clock.boot_s() + HEARTBEAT_S
                self._beat(hook)
            if not self.tell_next(hook) and self.clock.wait(ended, LOOK_S):
                return

    def tell_next(self, hook: Hook) -> bool:
        """Deliver the next delivery that is due; False if there is none."""
        lend_s = hook.timeout_s + _LEND_MORE_S
        try:
            delivery = self.outbox.take([hook.name], self.clock.now(), lend_s)
            if delivery is None:
                return False
            self._tell(hook, delivery)
        except StoreError as error:
            _log.warning("the outbox of the hooks: %s", error.message)
            return False
        return True

    def _tell(self, hook: Hook, delivery: Delivery) -> None:
        named = f"hook {hook.name} ({delivery.kind} of job {delivery.job_id})"
        try:
            deliver(hook, delivery, self.clock, self.tls)
        except Gone:
            _log.warning("%s: the receiver wants nothing more (410): it is off", named)
            self.outbox.switch_off(hook.name, "the receiver answered 410", self.clock.now())
        except Undelivered as failed:
            self._put_off(hook, delivery, failed, named)
        except Exception as bug:  # noqa: BLE001 - its thread goes on, and tells of other jobs
            # Its words may hold the receiver's URL, which may be a secret.
            self._put_off(hook, delivery, Undelivered(f"a bug: {type(bug).__name__}"), named)
        else:
            _log.info("%s was told", named)
            self.outbox.mark_delivered(delivery, self.clock.now())

    def _put_off(self, hook: Hook, delivery: Delivery, failed: Undelivered, named: str) -> None:
        now, failures = self.clock.now(), delivery.failures + 1
        if is_given_up(now - delivery.at, failures):
            _log.error("%s is given up: %s", named, failed.why)
            words = f"hook {hook.name} is given up for this event: {failed.why}"
            self.outbox.tell(delivery, words, now)
            self.outbox.give_up(delivery, failed.why, now)
            return
        after_s = again_after_s(failures, failed.retry_after_s, self.clock.jitter())
        _log.warning("%s: %s; again in %.0f s", named, failed.why, after_s)
        self.outbox.put_off(delivery, failed.why, now + timedelta(seconds=after_s), now)
        if failures == _TELL_AT:
            words = f"hook {hook.name} does not take it, and is tried again: {failed.why}"
            self.outbox.tell(delivery, words, now)

    def _beat(self, hook: Hook) -> None:
        try:
            beat(hook, self.clock, self.tls)
        except (Gone, Undelivered) as failed:
            _log.warning("hook %s: no heartbeat: %s", hook.name, failed)
        except Exception as bug:  # noqa: BLE001 - its thread goes on, and tells of jobs
            _log.warning("hook %s: no heartbeat: a bug: %s", hook.name, type(bug).__name__)
