"""The state of one stand-in: models, objects, sessions, counters, and the report on them."""

from __future__ import annotations

import base64
import hashlib
import secrets
import shutil
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from uploader.sandbox.config import Config
from uploader.sandbox.folder import DataFolder
from uploader.sandbox.part import Part
from uploader.sandbox.script import Script
from uploader.sandbox.wire import Request

#: How many reasons the report lists, so that a client cannot fill the memory.
_MAX_REFUSED = 1000
#: It may repeat what anybody has sent, and all of them are written down each time.
_MAX_REASON_CHARS = 200


@dataclass
class Model:
    """A model and the files registered for it by the last getUploadEndpoint."""

    account: str
    model_id: str
    fields: dict[str, Any]
    created_at: float
    state: str = "UPLOADING"
    #: File name → size in bytes, and file name → key of its object.
    files: dict[str, int] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    polls: int = 0
    #: validateUpload was called too early: the model stays UPLOADING forever
    #: (docs/fireworks.md §0.8).
    wedged: bool = False
    updated_at: float | None = None
    #: What it was prepared for (`:prepare`).
    precisions: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The resource name: ``accounts/ACCOUNT/models/MODEL``."""
        return f"accounts/{self.account}/models/{self.model_id}"


@dataclass(frozen=True)
class Stored:
    """What the storage service knows about a finished object."""

    size: int
    crc32c: str
    generation: int
    md5: str | None = None


@dataclass
class StorageObject:
    """One object path: what is stored there, and how many bytes that took."""

    key: str
    path: Path
    stored: Stored | None = None
    #: Where its bytes arrive: one per session or plain PUT, the newest last.
    parts: list[Part] = field(default_factory=list)
    body_bytes_read: int = 0
    bytes_below_confirmed: int = 0
    sessions_started: int = 0
    puts: int = 0
    queries: int = 0
    #: Cuts of parts that a restart has forgotten.
    earlier_cuts: int = 0

    @property
    def cuts(self) -> int:
        """Requests that ended before their last byte was kept."""
        return self.earlier_cuts + sum(part.cuts for part in self.parts)

    def report(self) -> dict[str, Any]:
        """The counters; `size` and `crc32c` are null until the object is complete."""
        stored = self.stored
        persisted = self.parts[-1].persisted if self.parts else 0
        return {
            "size": stored.size if stored else None,
            "crc32c": stored.crc32c if stored else None,
            "persisted": stored.size if stored else persisted,
            "body_bytes_read": self.body_bytes_read,
            "bytes_below_confirmed": self.bytes_below_confirmed,
            "sessions_started": self.sessions_started,
            "puts": self.puts,
            "queries": self.queries,
            "cuts": self.cuts,
        }


@dataclass
class Session:
    """A resumable session. `gone` is the HTTP status if it is cancelled (499) or dead."""

    target: StorageObject
    created_at: float
    limits: tuple[int, int]
    part: Part
    total: int | None = None
    finished: Stored | None = None
    gone: int | None = None
    #: Persisted but not yet confirmed: the confirmed count grows after a query
    #: (docs/gcs-resumable.md §1.3).
    unseen: int = 0

    @property
    def confirmed(self) -> int:
        """Bytes [0, confirmed) are what the server answers with."""
        return self.part.persisted - self.unseen


class Ledger:
    """Counts of what clients did, for tests and reports, without secrets."""

    def __init__(self) -> None:
        self.counts = dict.fromkeys(
            ("creates", "create_calls", "early_validations", "validate_calls", "urls_calls"), 0
        )
        self.leaked_keys = 0
        self.refused: list[str] = []
        self.call_times: list[float] = []
        self.generation = 0
        self._exchanges = 0
        self._exchange = threading.local()
        self._lock = threading.Lock()

    @property
    def touched(self) -> set[tuple[str, str]]:
        """What this thread's exchange may change: a part of the world, and a key in it."""
        found: set[tuple[str, str]] = vars(self._exchange).setdefault("touched", set())
        return found

    def count(self, name: str) -> None:
        """Add one to the count ``name``."""
        with self._lock:
            self.counts[name] += 1

    def refuse(self, reason: str) -> None:
        """Record a breach of the protocol; `reason` never contains a secret."""
        with self._lock:
            if len(self.refused) < _MAX_REFUSED:
                self.refused.append(reason[:_MAX_REASON_CHARS])
                self.touched.add(("refused", ""))

    def next_id(self) -> str:
        """The id of the next exchange; the same sequence of exchanges gives the same ids."""
        with self._lock:
            self._exchanges += 1
            return f"sandbox-{self._exchanges:06}"

    def next_generation(self) -> int:
        """The number of the next stored object."""
        with self._lock:
            self.generation += 1
            return self.generation


@dataclass
class Doors:
    """What the sandbox signs with, and what a caller of `/_sandbox/` must show."""

    secret: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    control_token: str = field(default_factory=lambda: secrets.token_urlsafe(32))


@dataclass
class Pace:
    """Time for the services: epoch seconds, and waits that end when the services stop."""

    now: Callable[[], float]
    sleep: Callable[[float], object]
    stopping: threading.Event
    #: When the link that all connections share has carried what was put on it.
    link_free_at: float = 0.0


class World:
    """Everything the two services remember.

    `now` gives epoch seconds and `sleep` waits (for the faults that take time); a simulation passes
    its own. Without `data_dir` the objects live in a temporary folder, removed with the world.
    `switches` are the fields of Config; a wrong one raises ValueError, a wrong fault ScriptError.
    `base_url` and `storage_url` are set by the code that serves the world at an address.
    """

    def __init__(
        self,
        *,
        data_dir: Path | str | None = None,
        faults: Iterable[dict[str, Any]] | None = None,
        seed: int = 0,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], object] | None = None,
        **switches: Any,
    ) -> None:
        self.config = Config()
        self.config.change(switches)
        self.script = Script(faults or (), seed)
        stopping = threading.Event()
        self.pace = Pace(now, sleep or stopping.wait, stopping)
        self.lock = threading.RLock()
        self.base_url = "http://127.0.0.1:1"
        self.storage_url = "http://127.0.0.1:2"
        self.folder = DataFolder(Path(data_dir) if data_dir else self._temporary_folder())
        self.models: dict[tuple[str, str], Model] = {}
        self.objects: dict[str, StorageObject] = {}
        self.sessions: dict[str, Session] = {}
        self.ledger = Ledger()
        self.doors = Doors()

    def now(self) -> float:
        """Epoch seconds by the clock of the services."""
        return self.pace.now() + self.config.clock_skew_s

    def object_at(self, key: str) -> StorageObject:
        """The object with this key; created empty on first use."""
        with self.lock:
            self.ledger.touched.add(("objects", key))
            return self.objects.setdefault(key, StorageObject(key, self.folder.root / key))

    def session_at(self, upload_id: str) -> Session | None:
        """The session of that id, about to be used."""
        with self.lock:
            found = self.sessions.get(upload_id)
            if found:
                self.ledger.touched.update({("sessions", upload_id), ("objects", found.target.key)})
            return found

    def receiving(self) -> bool:
        """Is the body of any request still being received?"""
        with self.lock:
            return any(part.receiving for found in self.objects.values() for part in found.parts)

    def new_session(self, target: StorageObject, limits: tuple[int, int]) -> str:
        """Start a session; returns its upload id."""
        with self.lock:
            upload_id = secrets.token_urlsafe(32)
            session = Session(target, self.now(), limits, self.new_part(target))
            target.sessions_started += 1
            self.sessions[upload_id] = session
            self.ledger.touched.add(("sessions", upload_id))
            return upload_id

    def new_part(self, target: StorageObject) -> Part:
        """A new file of received bytes next to the object's own place."""
        with self.lock:
            place = target.key.rpartition("/")[0]
            part = Part(self.folder, f"{place}/{secrets.token_hex(8)}.part")
            target.parts.append(part)
            return part

    def store(self, target: StorageObject, part: Part) -> Stored:
        """The upload in `part` is complete: make it the object."""
        part.move_to(target.key)
        md5 = self.md5(target.key) if self.config.md5 else None
        with self.lock:
            generation = self.ledger.next_generation()
            target.stored = Stored(part.persisted, part.crc32c, generation, md5)
            return target.stored

    def forget_objects(self, model: Model) -> None:
        """The model is deleted, and with it its objects and sessions."""
        folder = f"/{model.account}/{model.model_id}/"
        for key in [key for key in self.objects if folder in f"/{key}"]:
            gone = self.objects.pop(key)
            self.ledger.touched.add(("objects", key))
            self.folder.remove(gone.key)
            for upload_id in [i for i, s in self.sessions.items() if s.target is gone]:
                self.sessions.pop(upload_id).part.discard()
                self.ledger.touched.add(("sessions", upload_id))

    def report(self) -> dict[str, Any]:
        """The counters of the report, without secrets."""
        with self.lock:
            objects = {key: entry.report() for key, entry in sorted(self.objects.items())}
            below = sum(entry.bytes_below_confirmed for entry in self.objects.values())
            return {
                **self.ledger.counts,
                "leaked_keys": self.ledger.leaked_keys,
                "bytes_below_confirmed": below,
                "refused": list(self.ledger.refused),
                "models": {model.name: model.state for model in self.models.values()},
                "objects": objects,
            }

    def leaks(self, request: Request) -> bool:
        """True if a storage request has credentials that only the control plane may see."""
        sent = " ".join([request.target, *request.headers.values()])
        return "authorization" in request.headers or self.config.api_key in sent

    def md5(self, key: str) -> str:
        """The MD5 of a file in the data folder, in base64."""
        with self.folder.open(key) as file:
            return base64.b64encode(hashlib.file_digest(file, "md5").digest()).decode()

    def _temporary_folder(self) -> Path:
        folder = Path(tempfile.mkdtemp(prefix="uploader-sandbox-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return folder
