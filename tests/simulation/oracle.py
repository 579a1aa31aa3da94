"""What must hold after every simulated life, whatever happened in it."""

from __future__ import annotations

from sqlalchemy import text

from tests.engine.conftest import GRANULE
from tests.simulation.lab import FILES, TOTAL, SimLab

#: Files in flight at once, over both jobs.
IN_FLIGHT = 4
_SECRETS = ("upload_id", "X-Goog", "fw_sandbox")


def assert_all_is_well(lab: SimLab, *, bounded: bool = True) -> None:
    """READY, identical, created once, nothing early, nothing below the confirmed, no secret.

    ``bounded``: beyond a granule per file in flight and crash, nothing is sent twice.
    """
    for job in lab.jobs.jobs():
        lab.assert_ready(job.id)
        _assert_history(lab, job.id)
    report = lab.world.report()
    assert report["creates"] == len(FILES)
    kind = lab.world.config.url_kind
    if kind != "refused":
        assert report["refused"] == [], "the services were asked something they must refuse"
    if bounded and kind in ("resumable", "session"):
        read = sum(entry["body_bytes_read"] for entry in report["objects"].values())
        assert read - TOTAL <= lab.crashes * IN_FLIGHT * GRANULE
    assert_no_secret(lab)


def _assert_history(lab: SimLab, job_id: int) -> None:
    events = lab.jobs.events(job_id)
    kinds = [event.kind for event in events]
    assert [event.seq for event in events] == sorted({event.seq for event in events})
    assert kinds[0] == "enqueued"
    assert kinds[-1] == "ready"
    assert kinds.count("ready") == 1
    assert kinds.count("created") + kinds.count("adopted") == 1
    for file in lab.jobs.files(job_id):
        assert sum(e.kind == "stored" and e.path == file.path for e in events) == 1


def assert_no_secret(lab: SimLab) -> None:
    """In no column but those of the session and the URL; a finished job has not even those."""
    with lab.engine.connect() as connection:
        for table in ("jobs", "files", "leftovers", "events"):
            for row in connection.execute(text(f"SELECT * FROM {table}")).mappings():
                for column, value in row.items():
                    if column not in ("session_uri", "upload_url"):
                        assert not any(secret in str(value) for secret in _SECRETS), (table, column)
