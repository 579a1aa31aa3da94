"""Watches the API key: jobs that a key has stopped are tried again (docs/life.md §6)."""

from __future__ import annotations

from contextlib import closing

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

    def start(self) -> None:
        """Tidy and look at the key alongside the caller; nothing if there is no thread now."""
        self.busy = True
        try:
            self._context.spawn("key", self.look)
        except NoThread:
            self.busy = False

    def look(self) -> None:
        """Tidy; try the jobs that a key has stopped, if it may help. Raises nothing."""
        try:
            self._context.tidy()
            key = self._context.key_fingerprint()
            changed = key != self._key
            if key is not None and (changed or self._further):
                # A command may print another key each time, which cures no quota.
                self._try_own(() if changed and not self._further else _BY_THE_KEY)
            elif key is not None:
                self._ask()
        except Exception as error:  # noqa: BLE001 - it is due again in a minute
            log_end("looking after the key", error)
        else:
            self._key, self._further = key, _FURTHER if changed else max(0, self._further - 1)
        finally:
            self.busy = False

    def _try_own(self, codes: tuple[Code, ...]) -> None:
        self._owner, self._unasked = None, 0
        self._context.rest.end()
        self._context.claims.heal(self._context.base_url, codes)

    def _ask(self) -> None:
        """If the service accepts the key, end a rest, or try what another worker's key stopped.

        A key that was refused before is not tried for others: asked, the service may know it.
        """
        rest = self._context.rest
        self._unasked = max(0, self._unasked - 1)
        if not (rest.asks() if rest.refused else not self._unasked and self._are_any()):
            return
        try:
            with closing(self._context.control(StopToken())) as control:
                self._owner = control.owner()
        except RemoteError as error:
            if error.verdict is Verdict.BLOCKED and not rest.refused:  # a rest has its own end
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
