"""Waiting for jobs until each of them is done or needs a human."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

from uploader.core.errors import WaitTimedOut
from uploader.core.job import Job, Status
from uploader.runtime import Clock
from uploader.store.database.answers import answering_within

if TYPE_CHECKING:
    from uploader.store.jobs import Jobs  # SQLAlchemy is slow to import

#: A wait ends in these: only a human can move the job on. A paused job was paused on purpose.
ENDS = (Status.DONE, Status.FAILED, Status.BLOCKED, Status.CANCELLED)

_ANSWERS_S = 10.0
_POLL_S = 1.0


def wait_for(
    jobs: Jobs,
    ids: Sequence[int],
    clock: Clock,
    timeout_s: float | None = None,
    show: Callable[[Sequence[Job]], None] = lambda _: None,
) -> list[Job]:
    """The jobs as they ended; ``show`` is called with them about once a second.

    Raises WaitTimedOut after ``timeout_s`` seconds, NotFound; StoreError, also if PostgreSQL has
    not answered for as long, or for ten seconds if that is longer.
    """
    never = threading.Event()
    ends_s = math.inf if timeout_s is None else clock.boot_s() + timeout_s
    with nullcontext() if timeout_s is None else answering_within(max(timeout_s, _ANSWERS_S)):
        while True:
            found = _these(jobs, ids)
            show(found)
            if all(job.status in ENDS for job in found):
                return found
            if (left_s := ends_s - clock.boot_s()) <= 0:
                raise _timed_out(found)
            clock.wait(never, min(_POLL_S, left_s))


def _these(jobs: Jobs, ids: Sequence[int]) -> list[Job]:
    """In the order of ``ids``, each once; one that cannot be read has failed. Raises NotFound."""
    known = {job.id: job for job in jobs.these(ids)}
    return [known.get(job_id) or jobs.job(job_id) for job_id in dict.fromkeys(ids)]


def _timed_out(jobs: Sequence[Job]) -> WaitTimedOut:
    waiting = ", ".join(str(job.id) for job in jobs if job.status not in ENDS)
    return WaitTimedOut(f"timed out waiting for job {waiting}")
