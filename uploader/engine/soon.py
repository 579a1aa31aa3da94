"""How long whoever is stopped may still ask the server what it holds."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from uploader.core.errors import NoThread
from uploader.engine.context import WorkerContext
from uploader.runtime import StopToken

#: In seconds.
ASK_S = 1.0


@contextlib.contextmanager
def soon(context: WorkerContext, stop: StopToken, job_id: int) -> Iterator[StopToken]:
    """A token like ``stop`` before it was set; it stops whatever takes longer than `ASK_S`."""
    token, over = stop.fresh(), threading.Event()

    def limit() -> None:
        if not context.clock.wait(over, ASK_S):
            token.cut()

    with contextlib.suppress(NoThread):  # without a thread for it, nothing is cut
        context.spawn(f"job {job_id} limit", limit)
    try:
        yield token
    finally:
        over.set()
