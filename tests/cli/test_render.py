from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from uploader.cli import render
from uploader.cli.terminal import out, out_json, out_table, shorten
from uploader.core.job import (
    Event,
    FileState,
    Job,
    Kind,
    Mode,
    PrefixCrc,
    Reason,
    Stage,
    Status,
)

NOW = datetime(2026, 11, 22, 12, 0, 30, 123456, tzinfo=UTC)
URL = "https://api.fireworks.ai"
JOB = Job(
    id=12,
    base_url=URL,
    account="acme",
    model_id="llama-70b-ft-v3",
    path="/models/llama",
    kind=Kind.BASE,
    create_body={},
    stage=Stage.UPLOAD,
    status=Status.ACTIVE,
    created_at=NOW - timedelta(hours=1),
    updated_at=NOW - timedelta(seconds=2),
    rate_bps=1000.6,
    files_total=31,
    files_stored=9,
    bytes_total=131_000,
    bytes_confirmed=41_000,
    bytes_marked=42_000,
    bytes_sent=43_000,
)
FILE = FileState(
    12, "model.safetensors", 1000, 5, 6, checkpoint=PrefixCrc(256, 1), crc32c=0xE3069283
)


def test_a_job_document_has_the_documented_keys_in_order() -> None:
    document = render.job_document(JOB, [FILE], NOW)
    assert " ".join(document) == (
        "schema id model path kind stage status reason files_total files_stored bytes_total"
        " bytes_confirmed bytes_sent rate_bps eta_s attempts not_before priority created_at"
        " updated_at ready_at warnings preflight files"
    )
    assert document["schema"] == "uploader.job/1"
    assert document["model"] == "accounts/acme/models/llama-70b-ft-v3"
    assert document["created_at"] == "2026-11-22T11:00:30.123Z"
    assert (document["rate_bps"], document["eta_s"]) == (1001, 89)
    assert document["reason"] is None


def test_a_file_has_the_documented_keys_in_order() -> None:
    assert render.file_json(FILE) == {
        "path": "model.safetensors",
        "size_bytes": 1000,
        "offset": 256,
        "stored": False,
        "verified": False,
        "crc32c": "4waSgw==",
        "mode": "session",
        "attempts": 0,
        "last_error": None,
    }
    assert " ".join(render.file_json(FILE)) == (
        "path size_bytes offset stored verified crc32c mode attempts last_error"
    )


def test_a_stored_file_is_confirmed_as_a_whole() -> None:
    stored = replace(FILE, stored=True, mode=Mode.PUT, checkpoint=PrefixCrc())
    assert render.file_json(stored)["offset"] == 1000
    assert render.file_row(stored, NOW)[3:6] == ("100%", "unverified", "put")


def test_a_list_of_jobs() -> None:
    document = render.jobs_document([JOB], NOW)
    assert list(document) == ["schema", "jobs"]
    assert document["schema"] == "uploader.jobs/1"
    assert document["jobs"] == [render.job_json(JOB, NOW)]


def test_a_reason_has_three_fields() -> None:
    blocked = replace(JOB, status=Status.BLOCKED, reason=Reason("key", "no key", "set one"))
    assert render.job_json(blocked, NOW)["reason"] == {
        "code": "key",
        "message": "no key",
        "hint": "set one",
    }


@pytest.mark.parametrize(
    "change",
    [
        {"status": Status.PAUSED},
        {"stage": Stage.VALIDATE},
        {"updated_at": NOW - timedelta(seconds=11)},
        {"rate_bps": None},
        {"rate_bps": 0.0},
    ],
)
def test_a_rate_that_is_over_is_not_told(change: dict[str, Any]) -> None:
    document = render.job_json(replace(JOB, **change), NOW)
    assert (document["rate_bps"], document["eta_s"]) == (None, None)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, ""),
        ({"base_url": "http://127.0.0.1:9"}, "for http://127.0.0.1:9: workers"),
        (
            {"not_before": NOW + timedelta(seconds=9), "reason": Reason("remote", "503", "")},
            "waits 9s: 503",
        ),
        ({"status": Status.BLOCKED, "reason": Reason("key", "no key", "")}, "no key"),
        ({"plain_put": True}, "plain PUT: a file is confirmed as a whole"),
    ],
)
def test_the_note_of_a_job(change: dict[str, Any], said: str) -> None:
    note = render.note(replace(JOB, **change), URL, NOW)
    assert note.startswith(said)
    assert bool(note) == bool(said)


def test_the_columns_of_a_job_are_for_programs() -> None:
    assert render.job_columns(JOB, URL, NOW) == (
        *("12", "accounts/acme/models/llama-70b-ft-v3", "upload", "active"),
        *("9", "31", "41000", "131000", "1001", "89", ""),
    )


def test_an_event_in_words() -> None:
    event = Event(3, 12, NOW, "resumed", "at byte 5", "a.bin")
    assert render.event_line(event) == "2026-11-22T12:00:30Z job 12 resumed: a.bin: at byte 5"


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_a_table_fits_its_terminal(columns: int, capsys: pytest.CaptureFixture[str]) -> None:
    long = replace(JOB, id=123456, model_id="m" * 63, rate_bps=62e6, bytes_total=10**13)
    rows = [render.job_row(job, NOW) for job in (JOB, long)]
    out_table(render.JOB_HEADINGS, rows, columns)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= columns
    assert lines[0].split()[:3] == ["ID", "MODEL", "STAGE"]
    assert ("m" * 63 in lines[2]) == (columns == 200)
    assert ("…" in lines[2]) == (columns < 200)


def test_an_empty_column_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    out_table(render.JOB_HEADINGS, [render.job_row(replace(JOB, rate_bps=None), NOW)], 80)
    assert "RATE" not in capsys.readouterr().out


def test_names_are_shortened_in_their_middle() -> None:
    assert shorten("model-00001-of-00030.safetensors", 13) == "model-…ensors"
    assert shorten("short", 5) == "short"


def test_nothing_steers_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    nasty = "\x1b[2J\x07\r\n\t\x9b\u202e\x7f"
    out(nasty, "b")
    out_json({"message": nasty}, indent=None)
    out_table(("A", "B"), [(nasty, nasty)], 200)
    printed = capsys.readouterr().out
    assert printed.count("\n") == 4
    assert printed.count("\t") == 1
    for char in "\x1b\x07\r\x9b\u202e\x7f":
        assert char not in printed
