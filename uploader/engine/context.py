"""What a worker works with: the store, the two services, time, threads and limits."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from uploader.core.events import EventKind
from uploader.core.limits import InForce
from uploader.core.resumable import half_a_put
from uploader.core.retry import Backoff, Cause, Decision, RetryAt, cause_of, decide
from uploader.core.text import size
from uploader.engine.hashing import Digests
from uploader.engine.prefix import Kept
from uploader.engine.puts import PutLengths
from uploader.engine.rest import Rest
from uploader.engine.throttle import Slots, Throttle
from uploader.engine.tuning import AutoFiles
from uploader.model.links import Private
from uploader.remote.fireworks import Fireworks
from uploader.remote.storage import Storage
from uploader.runtime import METERS, Clock, StopToken
from uploader.store.claims import Claims
from uploader.store.held import Held
from uploader.store.jobs import Jobs
from uploader.store.marks import Marks
from uploader.threads import Spawn


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is done at once, and for how long: bytes, seconds (docs/configuration.md §4)."""

    #: "auto": as the network is, see `PutLengths`.
    max_put_bytes: int | Literal["auto"]
    poll_interval_s: float
    deadline_s: float
    lease_s: float
    backoff: Backoff
    #: May a model without finished files be deleted and created again?
    recreate: bool = True
    digests: Digests = Digests.OFF


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """There is one per worker; `control` and `storage` make a client tied to a stop token."""

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
    auto: AutoFiles
    #: What users chose by now, else what is configured. Raises StoreError.
    in_force: Callable[[], InForce]
    #: Files that are never sent, whatever they are called.
    private: Private
    #: Is that worker alive? With SQLite only a file lock decides (docs/architecture.md §9).
    alive: Callable[[str], bool]
    changed: Callable[[], bool]
    rest: Rest
    key_fingerprint: Callable[[], str | None]
    #: The file in which the API key is, if it is in one.
    key_file: Path | None
    control: Callable[[StopToken], Fireworks]
    storage: Callable[[StopToken], Storage]
    #: What is known of transfers that were killed, beyond their rows.
    marks: Marks
    kept: Kept = field(default_factory=Kept)
    #: Removes what only ended jobs needed; called after each run and about once a minute.
    tidy: Callable[[], None] = lambda: None
    #: Forgets a little of what ended long ago; is there more?
    prune: Callable[[], bool] = lambda: False
    #: validateUpload calls of this process, by job: a deadline waits for three (docs/life.md §4).
    polls: Counter[int] = field(default_factory=Counter)
    #: How many times in a row a job has waited for what others left open for its model.
    waits: Counter[int] = field(default_factory=Counter)
    #: Since when a storage host has not answered about any session that others left open: seconds
    #: since boot, by host.
    unheard_s: dict[str, float] = field(default_factory=dict)
    #: The polling time at which validateUpload first missed a file we stored, by job.
    missed_s: dict[int, float] = field(default_factory=dict)
    #: Failures in a row without confirmed progress, by job, then by file and cause.
    in_a_row: defaultdict[int, Counter[tuple[str, Cause]]] = field(
        default_factory=lambda: defaultdict(Counter)
    )
    puts: PutLengths = field(default_factory=PutLengths)

    def most_put_bytes(self, job_id: int) -> int:
        """The most bytes of one PUT of that job, as the bandwidth limit is now."""
        given = self.limits.max_put_bytes
        most_bytes = self.puts.most(job_id, None if given == "auto" else given)
        in_time = self.throttle.put_bytes(job_id)
        return most_bytes if in_time is None else min(most_bytes, in_time)

    def halve_puts(self, held: Held, path: str, put_bytes: int) -> bool:
        """A PUT of this many bytes did not get through; False if it was short enough."""
        job_id, half = held.job.id, half_a_put(put_bytes)
        if half is None:
            return False
        if half < self.most_put_bytes(job_id):
            self.puts.limit(job_id, half)
            message = f"a PUT of {size(put_bytes)} does not get through; they have {size(half)} now"
            held.add_event(EventKind.PUT_HALVED, message, path)
        return True

    def decide(self, error: Exception, failures: int, job_id: int, path: str = "") -> Decision:
        """What to do after the ``failures``-th failure in a row of a job or of one file.

        Each cause has its own count: a long network outage does not count against an error that
        comes after it.
        """
        if path:
            self.auto.failed(error)
        in_a_row = self.in_a_row[job_id]
        if failures == 1:  # there was progress, or the user asked for a retry
            for known in Cause:
                del in_a_row[path, known]
        if (cause := cause_of(error)) is not None:
            in_a_row[path, cause] += 1
            failures = min(failures, in_a_row[path, cause])
        clock = self.clock
        decision = decide(error, failures, clock.now(), clock.jitter(), self.limits.backoff)
        if isinstance(decision, RetryAt):
            METERS.add("retries", label=decision.reason.code)
        return decision

    def forget(self, job_id: int) -> None:
        """Remember nothing of a job that has ended, or waits for a human.

        A worker may live for years, and it is the service that says how much there is to remember.
        """
        for of_jobs in (self.polls, self.waits, self.missed_s, self.in_a_row):
            of_jobs.pop(job_id, None)
