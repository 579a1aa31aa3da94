"""What a sandbox remembers across a restart: key, models, objects, sessions, counters.

This is for rehearsing an outage: if the sandbox is killed at any moment and started again on the
same ports and folder, it answers old signed URLs and old sessions as if nothing had happened. The
bytes of a session are read from its file, not from here, so that none that arrived is forgotten.
"""

from __future__ import annotations

import base64
import fcntl
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict
from typing import Any

from uploader.sandbox.folder import check_key, write_whole
from uploader.sandbox.part import Part
from uploader.sandbox.world import Model, Session, StorageObject, Stored, World

_FILE, _CHANGES, _LOCK = ".sandbox.json", ".sandbox.changes", ".sandbox.lock"
_VERSION = 2
#: The changes are folded into the state when they are this long, and four times as long as it.
_COMPACT_BYTES = 4 << 20
_COUNTERS = ("body_bytes_read", "bytes_below_confirmed", "sessions_started", "puts", "queries")
_SESSION = ("created_at", "limits", "total", "gone", "unseen")


class StateFile:
    """The state of a world in its data folder. Raises ValueError, OSError if it cannot be taken.

    One file contains all of it, a second one what has changed since: after each exchange a line
    with just that change is appended, because writing everything for each of many files would be
    slow. `fixed` names the switches that the caller has set: they win over what was kept.
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
            self._restore(fixed)
            self._changes = world.folder.open(_CHANGES)
            self._save_all()
        except BaseException:
            self._lock.close()
            raise

    def save(self) -> None:
        """Keep what this thread's exchange has changed."""
        touched = self._world.ledger.touched
        with self._world.lock:
            line = json.dumps(_document(self._world, touched)) + "\n"
            self._append(line.encode())
            if self._changes.tell() > self._longest:
                self._save_all()
        touched.clear()

    def _append(self, line: bytes) -> None:
        """All of it, or nothing: the next line would be one with what is left of this one."""
        place = self._changes.tell()
        try:
            write_whole(self._changes, line)
        except OSError:
            self._changes.truncate(place)
            self._changes.seek(place)
            raise

    def close(self) -> None:
        """Write the state a last time, and let others use the folder."""
        self._save_all()
        self._changes.close()
        self._lock.close()

    def _save_all(self) -> None:
        world = self._world
        with world.lock:
            everything = {("models", ""), ("refused", "")}
            everything |= {("objects", key) for key in world.objects}
            everything |= {("sessions", upload_id) for upload_id in world.sessions}
            state = json.dumps(_document(world, everything)).encode()
            world.folder.write(_FILE, state)
            self._longest = max(_COMPACT_BYTES, 4 * len(state))
            self._changes.seek(0)
            self._changes.truncate()

    def _restore(self, fixed: Collection[str]) -> None:
        try:
            kept = self._kept()
            if kept is not None:
                _restore(self._world, kept, fixed)
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
            raise ValueError(f"{_FILE} in the data folder is not a state of the sandbox") from None

    def _kept(self) -> dict[str, Any] | None:
        content = self._world.folder.read(_FILE)
        if not content:
            return None
        kept: dict[str, Any] = json.loads(content)
        *changes, _ = self._world.folder.read(_CHANGES).split(
            b"\n"
        )  # an incomplete line never counted
        for change in map(json.loads, changes):
            for part in ("objects", "sessions"):
                kept[part] |= change.pop(part)
            kept |= change
        return kept


def _document(world: World, touched: Collection[tuple[str, str]]) -> dict[str, Any]:
    """All small values, and of the rest those that were ``touched``; null for a deleted one."""
    objects = {key: world.objects.get(key) for part, key in touched if part == "objects"}
    sessions = {key: world.sessions.get(key) for part, key in touched if part == "sessions"}
    models = world.models.values() if ("models", "") in touched else None
    return {
        "version": _VERSION,
        "api_key": world.config.api_key,
        "account_id": world.config.account_id,
        "control_token": world.doors.control_token,
        "secret": base64.b64encode(world.doors.secret).decode(),
        "generation": world.ledger.generation,
        "counts": world.ledger.counts,
        "leaked_keys": world.ledger.leaked_keys,
        "objects": {key: _object(entry) if entry else None for key, entry in objects.items()},
        "sessions": {key: _session(entry) if entry else None for key, entry in sessions.items()},
        **({"models": [*map(asdict, models)]} if models is not None else {}),
        **({"refused": world.ledger.refused} if ("refused", "") in touched else {}),
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
    for fields in filter(None, document["objects"].values()):
        _restore_object(world, fields)
    for upload_id, fields in document["sessions"].items():
        if fields:
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
