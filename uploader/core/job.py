"""A job, its files and its manifest: the terms of docs/words.md as frozen values."""

from __future__ import annotations

import hashlib
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from uploader.core.redact import SessionUri

if TYPE_CHECKING:  # the protocol's errors end in reasons, which this package defines
    from uploader.core.resumable import UploadUrl

#: docs/fireworks.md §1.1.
MODEL_ID = re.compile(r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
#: The short id in accounts/ID.
ACCOUNT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}", re.ASCII)
#: As a digest is written everywhere.
SHA256 = re.compile(r"[0-9a-f]{64}")
#: The job table keeps whole numbers below this, and no size of a file is as large.
INT64_END = 1 << 63
#: The highest whole number that every reader of JSON knows: of bytes in a job, and of any count.
MOST = 1 << 53
#: The account of a job that asks the service for it when it is first claimed.
UNKNOWN_ACCOUNT = "-"


class Stage(StrEnum):
    """Where in the pipeline a job stands."""

    CREATE = "create"  #: the model is not known to exist remotely
    UPLOAD = "upload"  #: it exists; its files are being sent
    VALIDATE = "validate"  #: every file is stored; the service checks them
    READY = "ready"  #: the service called the model READY


class Status(StrEnum):
    """May a job run?"""

    ACTIVE = "active"  #: a worker may claim it, now or at `not_before`
    PAUSED = "paused"  #: the user has paused it
    BLOCKED = "blocked"  #: the account needs a human; goes on by itself once that is fixed
    FAILED = "failed"  #: this job needs a human
    CANCELLED = "cancelled"  #: the user gave it up
    DONE = "done"  #: READY; nothing is left to do


OPEN_STATUSES = (Status.ACTIVE, Status.PAUSED, Status.BLOCKED, Status.FAILED)
ENDED_STATUSES = (Status.CANCELLED, Status.DONE)

#: The stages of each pool: jobs being uploaded and jobs being validated do not share places.
POOLS = (frozenset({Stage.CREATE, Stage.UPLOAD}), frozenset({Stage.VALIDATE}))


class Mode(StrEnum):
    """How a file is sent."""

    SESSION = "session"  #: resumable: goes on at the byte where it stopped
    PUT = "put"  #: one plain signed PUT: starts over at the file where it stopped


class Kind(StrEnum):
    """What the folder becomes; the value is the word that the user writes."""

    BASE = "base"
    LORA = "lora"
    EMBEDDING = "embedding"
    DRAFT = "draft"

    @property
    def remote(self) -> str:
        """The service's name for it (docs/fireworks.md §1.2)."""
        return _REMOTE_KINDS[self]


_REMOTE_KINDS = {
    Kind.BASE: "HF_BASE_MODEL",
    Kind.LORA: "HF_PEFT_ADDON",
    Kind.EMBEDDING: "EMBEDDING_MODEL",
    Kind.DRAFT: "DRAFT_ADDON",
}


#: Ends a fingerprint that was taken while somebody had the file open for writing; or that of a file
#: whose change time moved while it was sent, if that shows nowhere else.
WRITTEN = ":written"


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """One file of the snapshot; ``path`` is relative to the manifest's root.

    ``fingerprint`` is made and compared by `model.fingerprint` (docs/invariants.md §6).
    """

    path: str
    size_bytes: int
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """The snapshot taken at enqueue. ``root`` is a real path.

    ``same`` is how whoever made the fingerprints compares a known one with a new one.
    """

    root: str
    files: tuple[ManifestFile, ...]
    same: Callable[[str, str], bool] = field(default=operator.eq, compare=False, repr=False)

    @property
    def size_bytes(self) -> int:
        """The size of all files together."""
        return sum(file.size_bytes for file in self.files)


@dataclass(frozen=True, slots=True)
class PrefixCrc:
    """A proven fact about a source: the CRC32C of its bytes [0, offset)."""

    offset: int = 0
    crc32c: int = 0


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a job is stopped or waits: a stable code, one sentence, one thing to do."""

    code: str
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write to a job; every worker write carries ``token`` (docs/invariants.md §5)."""

    job_id: int
    owner: str
    token: str


@dataclass(frozen=True, slots=True)
class Scope:
    """Which jobs a worker takes: those of its base URL, or ``only`` some of them.

    An empty ``base_url`` is one that is not known: it counts as that of every job. It may also be
    the `short` form of one.
    """

    base_url: str = ""
    only: frozenset[int] | None = None
    #: Has it the secret of the job table? Without it, it takes no job that has a seal.
    secret: bool = True

    def covers(self, job: Job) -> bool:
        """Whether the worker takes ``job`` once nobody else holds it."""
        own = self.only is None or job.id in self.only
        return self.is_at(job.base_url) and own and (self.secret or job.seal is None)

    def takes_all(self, base_url: str, *, sealed: bool) -> bool:
        """Whether the worker takes every job of that base URL; if ``sealed``, those with a seal."""
        return self.only is None and self.is_at(base_url) and (self.secret or not sealed)

    def is_at(self, base_url: str) -> bool:
        """Whether that may be its base URL."""
        return self.base_url in ("", base_url, short(base_url))


def short(base_url: str) -> str:
    """What stands for a base URL if there is no room for it; empty for none."""
    digest = hashlib.sha256(base_url.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:8] if base_url else ""


@dataclass(frozen=True, slots=True)
class LivingWorker:
    """A running worker, and the ids of the jobs that it holds; ``id`` goes into its leases."""

    id: str
    jobs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class FileState:
    """One file of a job, as stored in its row.

    ``checkpoint`` is what the server confirmed, ``mark`` what went to a socket. ``url`` is kept
    until the file has a session, so that a crash before that costs nothing. ``sessions``
    counts the sessions opened in this run and fences late progress of an earlier one.
    """

    job_id: int
    path: str
    size_bytes: int
    fingerprint: str
    mode: Mode = Mode.SESSION
    session: SessionUri | None = None
    session_at: datetime | None = None
    url: UploadUrl | None = None
    #: Where the object is of its session, or of a file that is stored.
    object_path: str | None = None
    sessions: int = 0
    old_sessions_lost: int = 0
    #: Sessions lost since the last one that got further than all before it, to ``furthest``.
    sessions_lost: int = 0
    furthest: int = 0
    checkpoint: PrefixCrc = PrefixCrc()
    mark: PrefixCrc = PrefixCrc()
    bytes_sent: int = 0
    #: Since when the service has not answered its PUT, or has taken nothing more of it.
    awaiting_since: datetime | None = None
    stored: bool = False
    verified: bool = False
    crc32c: int | None = None
    #: Which version of the object the server made of it; None if it gave none.
    generation: int | None = None
    #: In lower-case hexadecimal; None if it was not computed while the file was sent.
    sha256: str | None = None
    #: It is that of the bytes that were sent, even if somebody wrote to the file meanwhile.
    sha256_as_sent: bool = False
    #: It was touched, and of bytes that its session has from before, only CRC32C shows that it
    #: still consists of them. So there is no SHA-256 of what this session stores.
    unproven: bool = False
    #: Its session was found to hold bytes that are not known to have been sent: only a CRC32C shows
    #: that the object is ours (docs/invariants.md §4).
    gap: bool = False
    #: The most that its session has confirmed, although it may have taken some of it back since.
    reached: int = 0
    mismatches: int = 0
    attempts: int = 0
    failures: int = 0
    not_before: datetime | None = None
    last_error: str | None = None
    #: See `core/seal.py`; None if the job table has no secret.
    seal: str | None = None
    address_seal: str | None = None

    @property
    def place(self) -> str | None:
        """Host, bucket and key of the object that a transfer of it makes; None if unknown."""
        url = self.url if self.mode is Mode.PUT else None
        return url.object_path if url else self.object_path

    @property
    def in_doubt(self) -> bool:
        """May the server hold more than it has confirmed?"""
        return (
            self.session is not None
            and not self.stored
            and self.mark.offset > self.checkpoint.offset
        )


#: A century: an end that far away is not known, whatever the rate is now.
_UNKNOWABLE_S = 100 * 365 * 86400.0
#: A cut of a plain PUT sends its file again; from this size on that is worth a warning.
_COSTLY_PUT_BYTES = 20 * 10**9


def is_costly_put(file: FileState) -> bool:
    """Is the file so large that a cut costs hours, and not resumable?"""
    return file.mode is Mode.PUT and file.size_bytes >= _COSTLY_PUT_BYTES and not file.stored


@dataclass(frozen=True, slots=True)
class Job:
    """One model on its way to READY, with the sums over its files: what a list shows of it."""

    id: int
    base_url: str
    account: str
    model_id: str
    path: str
    kind: Kind
    stage: Stage
    status: Status
    created_at: datetime
    updated_at: datetime
    #: A folder that keeps the files, whatever becomes of ``path`` (sources/snapshot.py).
    snapshot: str | None = None
    reason: Reason | None = None
    priority: int = 0
    #: `retry --rescan` and `--replace` begin another run.
    run_number: int = 1
    #: The later run whose snapshot its files are of; None for the first one's.
    files_run: int | None = None
    attempts: int = 0
    failures: int = 0
    not_before: datetime | None = None
    #: Is the model known to exist remotely? ``created_remotely``: this job's own POST made it.
    model_exists: bool = False
    created_remotely: bool = False
    start_accepted: bool = False
    plain_put: bool = False
    #: When the URLs kept in the files' rows can no longer start a session.
    urls_until: datetime | None = None
    recreations: int = 0
    #: If the job is cancelled, delete its model, too.
    delete_on_cancel: bool = False
    #: In stage `create`: delete the model of an earlier run first.
    replace_first: bool = False
    #: When this run's stage `upload` began, and when its last file was stored.
    upload_started_at: datetime | None = None
    uploaded_at: datetime | None = None
    polling_s: float = 0.0
    rate_bps: float | None = None
    ready_at: datetime | None = None
    lease: Lease | None = None
    warnings: tuple[str, ...] = ()
    preflight: tuple[Mapping[str, Any], ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    files_total: int = 0
    files_stored: int = 0
    bytes_total: int = 0
    bytes_confirmed: int = 0
    #: Bytes that went to a socket of the present sessions; each byte counts once.
    bytes_marked: int = 0
    #: All bytes that went to a socket in this run, including those sent again.
    bytes_sent: int = 0
    #: The earliest `FileState.awaiting_since` of its files; for readers also since when Fireworks
    #: has not answered, in the stages that only ask it.
    awaiting_since: datetime | None = None
    #: No living worker holds it or would take it; only set for readers, never for workers.
    unattended: bool = False
    #: See `core/seal.py`; None if the job table has no secret.
    seal: str | None = None

    @property
    def model(self) -> str:
        """The resource name (docs/fireworks.md §1.1)."""
        return f"accounts/{self.account}/models/{self.model_id}"

    @property
    def source(self) -> str:
        """Where its files are read."""
        return self.snapshot or self.path

    @property
    def asks_fireworks(self) -> bool:
        """Is Fireworks, and not its storage, what a worker waits for?

        In stage `upload` that is so until the first map of URLs has come.
        """
        if self.stage is Stage.UPLOAD:
            return self.urls_until is None and not (self.bytes_marked or self.files_stored)
        return self.stage in (Stage.CREATE, Stage.VALIDATE)

    @property
    def eta_s(self) -> float | None:
        """Seconds until every byte is sent at the present rate; None if that is unknown.

        Once all were sent, only the service knows when they are confirmed.
        """
        left_bytes = self.bytes_total - self.bytes_marked
        if not self.rate_bps or not left_bytes:
            return None
        eta_s = max(left_bytes / self.rate_bps, 1.0)
        return eta_s if eta_s < _UNKNOWABLE_S else None


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a job's history."""

    seq: int
    job_id: int
    at: datetime
    kind: str
    message: str
    path: str | None = None


@dataclass(frozen=True, slots=True)
class NewJob:
    """What enqueue writes. ``options`` are what the user asked for, compared for idempotency."""

    base_url: str
    account: str
    model_id: str
    kind: Kind
    manifest: Manifest
    create_body: Mapping[str, Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    priority: int = 0
    preflight: tuple[Mapping[str, Any], ...] = ()
    #: As `Job.snapshot`.
    snapshot: str | None = None

    @property
    def model(self) -> str:
        """The resource name of its model: ``accounts/ACCOUNT/models/MODEL``."""
        return f"accounts/{self.account}/models/{self.model_id}"
