"""Looks after the API key: once it has changed, blocked jobs are tried again (docs/life.md §6)."""

from __future__ import annotations

from uploader.core.errors import NoThread
from uploader.core.reasons import Code
from uploader.engine.context import WorkerContext
from uploader.runtime import log_end

#: Looks after a change at which jobs are tried that the key has stopped meanwhile: the answer to
#: the key before may take two minutes, and the service may not know the new one at once.
_FURTHER = 3
_BY_THE_KEY = (Code.KEY_REJECTED, Code.NO_KEY, Code.OTHER_ACCOUNT, Code.PERMISSION)


class Healing:
    """One look at a time, in a thread of its own: the command that prints the key may hang."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._key = context.key_fingerprint()
        self._further = 0
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
        """Tidy; if the key has changed, or did lately, try blocked jobs. Raises nothing."""
        try:
            self._context.tidy()
            key = self._context.key_fingerprint()
            changed = key != self._key
            if key is not None and (changed or self._further):
                codes = () if changed else _BY_THE_KEY
                self._context.claims.heal(self._context.base_url, codes)
        except Exception as error:  # noqa: BLE001 - it is due again in a minute
            log_end("looking after the key", error)
        else:
            self._key, self._further = key, _FURTHER if changed else max(0, self._further - 1)
        finally:
            self.busy = False
