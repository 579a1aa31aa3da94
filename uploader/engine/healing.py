"""Watches the API key: jobs that a key has stopped are tried again (docs/life.md §6)."""

from __future__ import annotations

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
#: How many times it does not ask for others after its own key was refused in answer to that.
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
                self._ask(key)
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
            self._ask(key)
        self._key, self._further = key, _FURTHER if changed else max(0, self._further - 1)

    def _try_own(self, codes: tuple[Code, ...]) -> None:
        self._owner, self._unasked = None, 0
        self._context.rest.end()
        self._context.claims.heal(self._context.base_url, codes)

    def _ask(self, key: str | None) -> None:
        if key is not None:
            self._ask_the_service()
        elif self._context.rest.is_unsure:
            self._context.rest.begin()

    def _ask_the_service(self) -> None:
        """If the service accepts the key, end a rest, or try what another worker's key stopped.

        If not, a rest begins, once a job was stopped by the key, or by words that sound like it.
        A key that was refused before is not tried for others: asked, the service may know it.
        """
        rest = self._context.rest
        if not (rest.is_on() if rest.refused else not self._unasked and self._are_any()):
            return
        try:
            with closing(self._context.control(StopToken())) as control:
                self._owner = control.owner()
        except RemoteError as error:
            if error.verdict is Verdict.BLOCKED and rest.refused:
                rest.begin()
            elif error.verdict is Verdict.BLOCKED:
                self._unasked = _UNASKED
            return
        if rest.refused:
            if self._owner is not None:
                rest.wake()
        elif self._are_any():
            base_url, account = self._context.base_url, self._account()
            self._context.claims.heal(base_url, _BY_ANOTHER_KEY, account=account, free=True)

    def _are_any(self) -> bool:
        own = self._context.account
        if own and self._owner and own != self._owner:  # it takes no job of either
            return False
        base_url, account = self._context.base_url, self._account()
        return self._context.claims.any_blocked(base_url, _BY_ANOTHER_KEY, account=account)

    def _account(self) -> str | None:
        """Whose jobs it takes, as far as that is known."""
        return self._context.account or self._owner
