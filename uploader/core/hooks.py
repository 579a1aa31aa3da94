"""Which hook hears of which event, when it is tried again, and what it gets.

Source: docs/hooks.md.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from uploader.core.events import EventKind
from uploader.core.text import timestamp


class Occasion(StrEnum):
    """What a hook may be told of."""

    READY = "ready"
    FAILED = "failed"
    BLOCKED = "blocked"
    HEALED = "healed"
    NEEDS_HUMAN = "needs_human"  #: any of failed and blocked
    STARTED = "started"  #: for a ping: a job's upload begins
    HEARTBEAT = "heartbeat"  #: for a ping: the daemon lives


_KINDS: Mapping[Occasion, tuple[EventKind, ...]] = {
    Occasion.READY: (EventKind.READY,),
    Occasion.FAILED: (EventKind.FAILED,),
    Occasion.BLOCKED: (EventKind.BLOCKED,),
    Occasion.HEALED: (EventKind.HEALED,),
    Occasion.NEEDS_HUMAN: (EventKind.FAILED, EventKind.BLOCKED),
    Occasion.STARTED: (EventKind.CREATED, EventKind.ADOPTED),
    Occasion.HEARTBEAT: (),
}
#: Every kind of event that some hook may be told of.
KINDS = frozenset(kind for kinds in _KINDS.values() for kind in kinds)
#: A receiver that is away this long is given up; what happened is in the job's history.
GIVE_UP_AFTER = timedelta(days=3)
#: But not before this many tries: a clock that was set ahead does not turn a minute into a day.
LEAST_TRIES = 20
#: More than these wait for no receiver: the oldest are dropped.
MAX_WAITING = 1000
#: Nor more than this of their documents: that of a job of countless names is 10 MB.
MAX_WAITING_BYTES = 64 << 20
HEARTBEAT_S = 60.0
_FIRST_S, _LONGEST_S = 5.0, 3600.0


class Gone(Exception):
    """The receiver has said that it wants nothing more (410)."""


class Undelivered(Exception):
    """It did not take it: why, in words without secrets, and when it wants to be asked again."""

    def __init__(self, why: str, retry_after_s: float | None = None) -> None:
        super().__init__(why)
        self.why = why
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class HookState:
    """How a hook stands: deliveries that wait, and why the last try failed, if it did."""

    name: str
    waiting: int
    off: bool
    last_error: str | None
    last_at: datetime | None


def choice_of(occasions: Collection[Occasion]) -> tuple[str, ...]:
    """What a hook with ``on = occasions`` can be told of, in that order: kinds, and heartbeats."""
    beats = {Occasion.HEARTBEAT: ("heartbeat",)}
    return tuple(dict.fromkeys(word for one in occasions for word in beats.get(one, _KINDS[one])))


def kinds_of(occasions: Collection[Occasion]) -> frozenset[EventKind]:
    """The kinds of events that a hook with ``on = occasions`` is told of, each once."""
    return frozenset(kind for occasion in occasions for kind in _KINDS[occasion])


def is_given_up(waited: timedelta, failures: int) -> bool:
    """Is a delivery that has ``failures`` so far, and has ``waited``, not tried again?"""
    return waited > GIVE_UP_AFTER and failures >= LEAST_TRIES


def again_after_s(failures: int, retry_after_s: float | None, jitter: float) -> float:
    """Seconds until the next try after ``failures`` in a row; ``jitter`` is in [0, 1).

    Retry-After is honoured, up to the longest delay.
    """
    delay_s = min(_LONGEST_S, _FIRST_S * 2.0 ** max(-20, min(failures - 1, 20)))
    delay_s *= 0.5 + jitter / 2
    return min(_LONGEST_S, max(delay_s, retry_after_s or 0.0))


def body_of(kind: str, at: datetime, document: Mapping[str, Any]) -> dict[str, Any]:
    """What a webhook gets: an event after the Standard Webhooks specification."""
    return {"type": f"job.{kind}", "timestamp": timestamp(at), "data": dict(document)}


def sentence_of(kind: str, document: Mapping[str, Any]) -> tuple[str, str]:
    """(title, text) for people: mail and chat."""
    model = str(document["model"]).rpartition("/")[2]
    reason = document.get("reason") or {}
    lines = [f"Job {document['id']}: {document['model']}", f"Folder: {document['path']}"]
    if reason:
        lines.append(f"Why: {reason['message']}")
        lines.append(f"To do: {reason['hint']}")
    return f"{model} is {kind.upper() if kind == 'ready' else kind}", "\n".join(lines)
