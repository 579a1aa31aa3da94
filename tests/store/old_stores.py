"""The store of version 0001 in `fixtures/`, laid out again: its rows, its folders, its services."""

from __future__ import annotations

import base64
import json
import os
import random
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import google_crc32c
import psycopg

from uploader.sandbox.world import Model, Session, Stored, World

_FIXTURES = Path(__file__).with_name("fixtures")
_MTIME_NS = 1_760_000_000_123_456_789


def rows(kind: str, root: Path) -> str:
    """The statements that make the store, for ``sqlite`` or ``postgresql``."""
    return (_FIXTURES / f"store-0001.{kind}.sql").read_text().replace("@ROOT@", str(root))


def fill_sqlite(path: Path, root: Path) -> None:
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(rows("sqlite", root))
    path.chmod(0o600)


def fill_postgresql(url: str, root: Path) -> None:
    """Its leases ended an hour ago, by the clock that decides."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(rows("postgresql", root).encode())
        connection.execute(
            "UPDATE public.jobs SET lease_expires_at = clock_timestamp() - interval '1 hour'"
            " WHERE lease_token IS NOT NULL"
        )


class Services:
    """What the services and the folders held when the store was left."""

    def __init__(self) -> None:
        self._held: dict[str, Any] = json.loads((_FIXTURES / "services.json").read_text())

    @property
    def persisted(self) -> dict[str, int]:
        """How many bytes each live session has, by the key of its object."""
        return {session["key"]: session["persisted"] for session in self._held["sessions"]}

    @property
    def stored(self) -> dict[str, int]:
        """The size of each finished object, by its key."""
        return dict(self._held["stored"])

    def lay_out(self, root: Path) -> None:
        """The models' folders, each file as old as it was."""
        for model, source in self._held["sources"].items():
            (root / model).mkdir()
            for name in source["sizes"]:
                path = root / model / name
                path.write_bytes(self._content(f"sandbox/{model}/{name}"))
                os.utime(path, ns=(_MTIME_NS, _MTIME_NS))

    def _content(self, key: str, least: int = 0) -> bytes:
        """The file's; of one that an earlier run had, any ``least`` bytes."""
        _, model, name = key.split("/")
        source = self._held["sources"][model]
        dice = random.Random(f"{model}{source['salt']}/{name}")
        return dice.randbytes(source["sizes"].get(name, least))

    def restore(self, world: World) -> None:
        """Into a sandbox that has seen nothing yet."""
        for fields in self._held["models"]:
            world.models[fields["account"], fields["model_id"]] = Model(**fields)
        for number, (key, size) in enumerate(self.stored.items()):
            content = self._content(key, size)
            self._put(world, key, content)
            crc32c = base64.b64encode(google_crc32c.value(content).to_bytes(4, "big")).decode()
            world.object_at(key).stored = Stored(size, crc32c, number)
        for fields in self._held["sessions"]:
            target = world.object_at(fields["key"])
            part = world.new_part(target)
            held = fields["persisted"]
            self._put(world, part.key, self._content(fields["key"], held)[:held])
            part.recover(held)
            limits = (fields["limits"][0], fields["limits"][1])
            session = Session(target, fields["created_at"], limits, part, fields["total"])
            world.sessions[fields["upload_id"]] = session

    def _put(self, world: World, key: str, content: bytes) -> None:
        with world.folder.open(key) as file:
            file.write(content)
