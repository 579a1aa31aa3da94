"""Looking after the API key: once it has changed, blocked jobs are tried again."""

from __future__ import annotations

from uploader.core.errors import NoThread
from uploader.engine.context import WorkerContext
from uploader.runtime import log_end


class Healing:
    """One look at a time, in a thread of its own: the command that prints the key may hang."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._key = context.key_fingerprint()
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
        """Tidy; if the key has changed, try blocked jobs once. Raises nothing."""
        try:
            self._context.tidy()
            key = self._context.key_fingerprint()
            if key == self._key:
                return
            if key is not None:
                self._context.claims.heal(self._context.base_url)
        except Exception as error:  # noqa: BLE001 - it is due again in a minute
            log_end("looking after the key", error)
        else:
            self._key = key
        finally:
            self.busy = False
