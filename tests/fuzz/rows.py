"""Whatever reads a job table."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path

from tests.fuzz.parser import JSON, NOW, Parser, text
from tests.sqlite import sqlite_url
from uploader.core.documents import event_json, job_document, jobs_document
from uploader.core.errors import NotFound, StoreError
from uploader.core.job import Kind, Manifest, ManifestFile, NewJob
from uploader.core.limit_documents import limits_json, status_document
from uploader.core.limits import InForce
from uploader.core.text import event_line, progress_line
from uploader.core.timetable import UNLIMITED
from uploader.store.database import migrate
from uploader.store.database.dialect import open_engine
from uploader.store.jobs import Jobs

LIMITS = limits_json(
    InForce(UNLIMITED, "auto", 2), dict.fromkeys(("bandwidth", "files", "jobs"), "default"), NOW
)


def rows(folder: Path) -> Parser:
    """Any value in any column of any row, as somebody with another program might have put there."""
    folder.mkdir(mode=0o700)
    path = folder / "uploader.db"
    engine = open_engine(sqlite_url(path))
    migrate.ensure(engine, folder)
    manifest = Manifest(str(folder), (ManifestFile("a.bin", 9, "local:1:1"),), lambda a, b: a == b)
    jobs = Jobs(engine)
    jobs.enqueue(
        NewJob("https://api.fireworks.ai", "a", "m", Kind.BASE, manifest, {"model": {}}, {}), NOW
    )
    with contextlib.closing(sqlite3.connect(path)) as found:
        tables = ("jobs", "files", "events")
        columns = [
            (table, row[1])
            for table in tables
            for row in found.execute(f"PRAGMA table_info({table})").fetchall()
            if row[1] not in ("id", "job_id", "seq")
        ]

    def read(raw: bytes) -> None:
        table, column = columns[raw[0] % len(columns)] if raw else columns[0]
        word = text(raw[2:]).encode("utf-8", "replace").decode()
        value: object = (word, raw[2:], len(raw), -1, 1e300, None)[(raw[1:2] or b"\0")[0] % 6]
        with contextlib.closing(sqlite3.connect(path)) as wrong:
            (before,) = wrong.execute(f"SELECT {column} FROM {table}").fetchone()
            try:
                wrong.execute(f"UPDATE {table} SET {column} = ?", (value,))
                wrong.commit()
            except sqlite3.Error:  # a constraint refuses it
                return
            try:
                _read_all(jobs)
            finally:
                wrong.execute(f"UPDATE {table} SET {column} = ?", (before,))
                wrong.commit()

    every = tuple(
        bytes((number, kind)) + word
        for number in range(len(columns))
        for kind, word in (
            (0, b"{}"),
            (0, b"7"),
            (0, b""),
            (0, b"[" * 5000),
            (2, b""),
            (3, b""),
            (4, b""),
        )
    )
    return Parser(read, ("\0", "\1", "\2", "7", *JSON), every, long=False)


def _read_all(jobs: Jobs) -> None:
    for look in (
        lambda: json.dumps(status_document(jobs_document(jobs.jobs(), [], NOW), LIMITS)),
        lambda: json.dumps(job_document(jobs.job(1), jobs.files(1), NOW)),
        lambda: jobs.find("m"),
        lambda: json.dumps([*map(event_json, jobs.events(1))]),
        lambda: [event_line(event) for event in jobs.events()],
        lambda: [progress_line(job, NOW) for job in jobs.jobs()],
    ):
        with contextlib.suppress(StoreError, NotFound):
            look()
