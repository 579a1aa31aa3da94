"""What the engine works with: the store, the two services, time, threads and limits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from uploader.core.retry import Backoff
from uploader.engine.throttle import Slots, Throttle
from uploader.remote.fireworks import Fireworks
from uploader.remote.storage import Storage
from uploader.runtime import Clock, Spawn, StopToken
from uploader.store.claims import Claims
from uploader.store.jobs import Jobs


@dataclass(frozen=True, slots=True)
class Limits:
    """How much at once, and how long (design §6). Seconds and bytes."""

    max_jobs: int
    max_put_bytes: int
    poll_interval_s: float
    deadline_s: float
    lease_s: float
    backoff: Backoff


class Liveness(Protocol):
    """Which workers live; with SQLite a file lock alone decides (design §4 Leases)."""

    def __call__(self, owner: str) -> bool: ...


@dataclass(frozen=True, slots=True)
class Tools:
    """One of each per worker; `control` and `storage` make a client tied to a stop token."""

    owner: str
    base_url: str
    account: str | None
    jobs: Jobs
    claims: Claims
    clock: Clock
    spawn: Spawn
    limits: Limits
    slots: Slots
    throttle: Throttle
    alive: Liveness
    changed: Callable[[], bool]
    key_fingerprint: Callable[[], str | None]
    control: Callable[[StopToken], Fireworks]
    storage: Callable[[StopToken], Storage]
    #: validateUpload calls of this process, by job: a deadline waits for three (design §3).
    polls: Counter[int] = field(default_factory=Counter)
