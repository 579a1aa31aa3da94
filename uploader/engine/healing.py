"""Watches the API key: jobs that a key has stopped are tried again (docs/life.md §6)."""

from __future__ import annotations

import math
from contextlib import closing
from functools import partial

from uploader.core.errors import NoThread, RemoteError
from uploader.core.reasons import Code
from uploader.core.verdict import Verdict
from uploader.engine.context import WorkerContext
from uploader.engine.rest import REFUSED
from uploader.runtime import StopToken, log_end

#: How many more times, after a change, it tries the jobs that the key has stopped since: an answer
#: to the old key may take two minutes, and the service may not know the new one at once.
_FURTHER = 3
_BY_THE_KEY = (*REFUSED, Code.OTHER_ACCOUNT, Code.PERMISSION, Code.NO_ACCOUNT)
#: What the key of one worker has stopped may be right for that of another.
_BY_ANOTHER_KEY = (*REFUSED, Code.OTHER_ACCOUNT)
#: Seconds between two tries of what the key has stopped, although the service accepts it: that
#: answer may have been wrong. Four times as long each time, as it may be right, too.
_FIRST_S, _LONGEST_S = 60.0, 4 * 3600.0
#: How many times it does not ask after its own key was refused in answer to that.
_UNASKED = 15


class Healing:
    """One look at a time, in a thread of its own: the command that prints the key may hang."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._key = context.key_fingerprint()
        self._further = 0
        #: The account of the key, as far as the service has said so.
        self._owner: str | None = None
        self._unasked = 0
        self._pause_s, self._paused_until_s = _FIRST_S, -math.inf
        #: Is a thread at it? A disk that hangs may hold it for ever.
        self.busy = False

    def start(self, *, due: bool) -> None:
        """Look alongside the caller; nothing if it is neither due nor asked for, or has no thread.

        ``due``: a minute has passed since the last one that was.
        """
        if not due and not self._context.rest.is_unsure:
            return
        self.busy = True
        try:
            self._context.spawn("key", partial(self.look, due=due))
        except NoThread:
            self.busy = False

    def look(self, *, due: bool = True) -> None:
        """Tidy; try the jobs that a key has stopped, if it may help. Raises nothing.

        Only whether the key is accepted is asked if it is not ``due``.
        """
        try:
            key = self._context.key_fingerprint()
            if due:
                self._look(key)
            else:
                self._ask(key, due=False)
        except Exception as error:  # noqa: BLE001 - it is due again in a minute
            log_end("looking after the key", error)
        finally:
            self._context.rest.be_sure()
            self.busy = False

    def _look(self, key: str | None) -> None:
        self._context.tidy()
        self._unasked = max(0, self._unasked - 1)
        changed = key != self._key
        if key is not None and (changed or self._further):
            # A command may print another key each time, which cures no quota.
            self._try_own(() if changed and not self._further else _BY_THE_KEY)
        else:
            self._ask(key, due=True)
        self._key, self._further = key, _FURTHER if changed else max(0, self._further - 1)

    def _try_own(self, codes: tuple[Code, ...]) -> None:
        self._owner, self._unasked = None, 0
        self._pause_s, self._paused_until_s = _FIRST_S, -math.inf
        self._context.rest.end()
        self._context.claims.heal(self._context.base_url, codes)

    def _ask(self, key: str | None, *, due: bool) -> None:
        rest = self._context.rest
        if key is None:
            if rest.is_unsure:
                rest.begin()
        elif rest.refused and rest.is_on():
            self._ask_for_itself()
        elif not self._unasked:
            self._ask_for_jobs(due=due)

    def _ask_for_itself(self) -> None:
        """If the service accepts the key, end the rest; if not, another one begins."""
        try:
            owner = self._ask_the_service()
        except RemoteError as error:
            if error.verdict is Verdict.BLOCKED:
                self._context.rest.begin()
            return
        if owner is not None:
            self._context.rest.wake()

    def _ask_for_jobs(self, *, due: bool) -> None:
        """If the service accepts the key, try what that of another worker, or a mistake, stopped.

        A key that was refused before is not tried for others: asked, the service may know it.
        """
        if not self._are_any(_BY_THE_KEY):
            return
        rest = self._context.rest
        for_others = not rest.refused and rest.has_others() and self._are_any(_BY_ANOTHER_KEY)
        if not for_others and not (due and self._may_try()):
            return
        try:
            owner = self._ask_the_service()
        except RemoteError as error:
            if error.verdict is Verdict.BLOCKED:
                self._unasked = _UNASKED
            return
        if for_others:
            self._try(_BY_ANOTHER_KEY)
        elif owner is not None:
            self._pause()
            self._try(_BY_THE_KEY)

    def _may_try(self) -> bool:
        return self._context.clock.boot_s() >= self._paused_until_s

    def _pause(self) -> None:
        boot_s = self._context.clock.boot_s()
        if boot_s - self._paused_until_s > _LONGEST_S:  # nothing was stopped for as long
            self._pause_s = _FIRST_S
        self._paused_until_s = boot_s + self._pause_s
        self._pause_s = min(4 * self._pause_s, _LONGEST_S)

    def _ask_the_service(self) -> str | None:
        with closing(self._context.control(StopToken())) as control:
            self._owner = control.owner()
        return self._owner

    def _try(self, codes: tuple[Code, ...]) -> None:
        if self._are_any(codes):
            base_url, account = self._context.base_url, self._account()
            self._context.claims.heal(base_url, codes, account=account, free=True)

    def _are_any(self, codes: tuple[Code, ...]) -> bool:
        own = self._context.account
        if own and self._owner and own != self._owner:  # it takes no job of either
            return False
        base_url, account = self._context.base_url, self._account()
        return self._context.claims.any_blocked(base_url, codes, account=account)

    def _account(self) -> str | None:
        """Whose jobs it takes, as far as that is known."""
        return self._context.account or self._owner
