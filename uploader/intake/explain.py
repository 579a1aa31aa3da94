"""What there is to say about a job, for the command line and HTTP alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from uploader.core.explanation import LAST_EVENTS
from uploader.core.job import Event, Job
from uploader.core.limit_documents import LimitsJson
from uploader.core.limit_words import held_back
from uploader.core.why import sentences

if TYPE_CHECKING:
    from uploader.store.jobs import Jobs

_LAST_MOVES = 4


@dataclass(frozen=True, slots=True)
class Explained:
    """A job, what there is to say about it in whole sentences, and what happened last."""

    job: Job
    sentences: Sequence[str]
    last: Sequence[Event]


def explained(table: Jobs, ref: str, limits: LimitsJson, base_url: str, now: datetime) -> Explained:
    """The job that ``ref`` names, explained as of ``now``.

    ``limits`` are those in force; workers of this configuration work for ``base_url``. Raises
    NotFound, UsageError, StoreError.
    """
    job = table.find(ref)
    moves = table.limits.moves(job.lease.owner, _LAST_MOVES) if job.lease else []
    told = [
        *sentences(job, table.files(job.id), base_url, now),
        *held_back(job, limits, moves),
    ]
    return Explained(job, told, table.last_events(job.id, LAST_EVENTS))
