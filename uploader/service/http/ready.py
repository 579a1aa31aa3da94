"""Can the store be used? Anybody may ask as often as they like: it costs one question a second.

So nobody has to be refused: another user cannot make a daemon look as if it were not ready.
"""

from __future__ import annotations

import asyncio
import math

from starlette.concurrency import run_in_threadpool

from uploader.core.errors import StoreError
from uploader.service.http.site import Site

_HOLDS_S = 1.0


class Ready:
    """All who ask at the same time wait for one answer, which holds for a second."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._asked_s = -math.inf
        self._answer: asyncio.Future[bool] | None = None

    async def __call__(self) -> bool:
        """Whether the store can be used."""
        now_s = self._site.clock.boot_s()
        if self._answer is None or (self._answer.done() and now_s - self._asked_s >= _HOLDS_S):
            self._asked_s = now_s
            self._answer = asyncio.ensure_future(run_in_threadpool(self._ask))
        return await asyncio.shield(self._answer)  # who leaves ends it for nobody else

    def _ask(self) -> bool:
        try:
            self._site.jobs.last_event()
        except StoreError:
            return False
        return True
