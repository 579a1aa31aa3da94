"""What a sandbox remembers over a restart: key, models, objects, sessions, counters.

So that an outage can be rehearsed: killed at any moment and started again on the same ports and
folder, it answers old signed URLs and old sessions as if nothing had been. What a session holds
is read from its file and not from here, so no byte that arrived is forgotten.
"""

from __future__ import annotations

import base64
import fcntl
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict
from typing import Any

from uploader.sandbox.folder import check_key
from uploader.sandbox.part import Part
from uploader.sandbox.world import Model, Session, StorageObject, Stored, World

_FILE, _LOCK = ".sandbox.json", ".sandbox.lock"
_VERSION = 1
_COUNTERS = ("body_bytes_read", "bytes_below_confirmed", "sessions_started", "puts", "queries")
_SESSION = ("created_at", "limits", "total", "gone", "unseen")


class StateFile:
    """The state of a world in its data folder. Raises ValueError, OSError if it cannot be taken.

    `fixed` names the switches that the caller has set: they win over what was kept.
    """

    def __init__(self, world: World, fixed: Collection[str] = ()) -> None:
        self._world = world
        self._lock = world.folder.open(_LOCK)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise ValueError("another sandbox is using this data folder") from None
        try:
            if content := world.folder.read(_FILE):
                self._restore(content, fixed)
            self.save()
        except BaseException:
            self._lock.close()
            raise

    def save(self) -> None:
        """Keep the state as it is now."""
        with self._world.lock:
            self._world.folder.write(_FILE, json.dumps(_document(self._world)).encode())

    def close(self) -> None:
        """Keep the state for the last time, and let others use the folder."""
        self.save()
        self._lock.close()

    def _restore(self, content: bytes, fixed: Collection[str]) -> None:
        try:
            _restore(self._world, json.loads(content), fixed)
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
            raise ValueError(f"{_FILE} in the data folder is not a state of the sandbox") from None


def _document(world: World) -> dict[str, Any]:
    return {
        "version": _VERSION,
        "api_key": world.config.api_key,
        "account_id": world.config.account_id,
        "control_token": world.doors.control_token,
        "secret": base64.b64encode(world.doors.secret).decode(),
        "generation": world.ledger.generation,
        "counts": world.ledger.counts,
        "leaked_keys": world.ledger.leaked_keys,
        "refused": world.ledger.refused,
        "models": [asdict(model) for model in world.models.values()],
        "objects": [_object(entry) for entry in world.objects.values()],
        "sessions": {upload_id: _session(entry) for upload_id, entry in world.sessions.items()},
    }


def _object(entry: StorageObject) -> dict[str, Any]:
    counters = {name: getattr(entry, name) for name in _COUNTERS}
    stored = asdict(entry.stored) if entry.stored else None
    return {"key": entry.key, "stored": stored, "cuts": entry.cuts, **counters}


def _session(entry: Session) -> dict[str, Any]:
    return {
        "key": entry.target.key,
        "part": entry.part.key,
        "persisted": entry.part.persisted,
        "finished": asdict(entry.finished) if entry.finished else None,
        **{name: getattr(entry, name) for name in _SESSION},
    }


def _restore(world: World, document: Mapping[str, Any], fixed: Collection[str]) -> None:
    if document["version"] != _VERSION:
        raise ValueError(document["version"])
    kept = {name: document[name] for name in ("api_key", "account_id") if name not in fixed}
    world.config.change(kept)
    world.doors.control_token = str(document["control_token"])
    world.doors.secret = base64.b64decode(document["secret"], validate=True)
    world.ledger.generation = int(document["generation"])
    world.ledger.counts |= {name: int(document["counts"][name]) for name in world.ledger.counts}
    world.ledger.leaked_keys = int(document["leaked_keys"])
    world.ledger.refused = [str(reason) for reason in document["refused"]]
    for fields in document["models"]:
        model = Model(**fields)
        world.models[model.account, model.model_id] = model
    for fields in document["objects"]:
        _restore_object(world, fields)
    for upload_id, fields in document["sessions"].items():
        world.sessions[upload_id] = _restored_session(world, fields)


def _restore_object(world: World, fields: Mapping[str, Any]) -> None:
    check_key(fields["key"])
    entry = world.object_at(fields["key"])
    for name in _COUNTERS:
        setattr(entry, name, int(fields[name]))
    entry.earlier_cuts = int(fields["cuts"])
    entry.stored = _stored(fields["stored"])


def _restored_session(world: World, fields: Mapping[str, Any]) -> Session:
    check_key(fields["part"])
    target = world.objects[fields["key"]]
    part = Part(world.folder, fields["part"])
    finished = _stored(fields["finished"])
    if finished is None and fields["gone"] is None:
        part.recover(int(fields["persisted"]))
    target.parts.append(part)
    low, high = fields["limits"]
    others = {name: fields[name] for name in _SESSION if name != "limits"}
    return Session(target=target, limits=(low, high), part=part, finished=finished, **others)


def _stored(fields: Mapping[str, Any] | None) -> Stored | None:
    make: Callable[..., Stored] = Stored
    return None if fields is None else make(**fields)
