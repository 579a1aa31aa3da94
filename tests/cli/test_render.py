from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from uploader.cli import render
from uploader.cli.cells import shorten
from uploader.cli.terminal import out, out_json, out_table
from uploader.core.job import (
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
    12, "model.safetensors", 1000, "x", checkpoint=PrefixCrc(256, 1), mark=PrefixCrc(600, 2),
    bytes_sent=700, crc32c=0xE3069283,
)  # fmt: skip


def test_a_stored_file_is_confirmed_as_a_whole() -> None:
    stored = replace(FILE, stored=True, mode=Mode.PUT, checkpoint=PrefixCrc())
    assert render.file_row(stored, NOW)[3:7] == ("100%", "100%", "unverified", "put")
    assert render.file_row(FILE, NOW)[3:5] == ("60%", "25%")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, ""),
        ({"base_url": "http://127.0.0.1:9"}, "made for http://127.0.0.1:9; workers"),
        (
            {"not_before": NOW + timedelta(seconds=9), "reason": Reason("remote", "503", "")},
            "waits 9s: 503",
        ),
        ({"status": Status.BLOCKED, "reason": Reason("key", "no key", "")}, "no key"),
        ({"awaiting_since": NOW - timedelta(seconds=2)}, ""),
        (
            {"awaiting_since": NOW - timedelta(seconds=95), "plain_put": True},
            "waiting for the storage service's answer since 11:58:55Z, 1m35s",
        ),
        (
            {"awaiting_since": NOW - timedelta(seconds=95), "bytes_marked": 0, "files_stored": 0},
            "waiting for Fireworks' answer since 11:58:55Z, 1m35s",
        ),
        ({"plain_put": True}, "plain PUT: files are confirmed as a whole"),
    ],
)
def test_the_note_of_a_job(change: dict[str, Any], said: str) -> None:
    note = render.note(replace(JOB, **change), URL, NOW)
    assert note.startswith(said)
    assert bool(note) == bool(said)


def test_the_columns_of_a_job_are_for_programs() -> None:
    assert render.job_columns(JOB, URL, NOW) == (
        *("12", "accounts/acme/models/llama-70b-ft-v3", "upload", "active"),
        *("9", "31", "42000", "41000", "131000", "1001", "89", ""),
    )


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_a_table_fits_its_terminal(columns: int, capsys: pytest.CaptureFixture[str]) -> None:
    long = replace(JOB, id=123456, model_id="m" * 63, rate_bps=62e6, bytes_total=10**13)
    rows = [render.job_row(job, NOW) for job in (JOB, long)]
    out_table(render.JOB_HEADINGS, rows, columns)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= columns
    assert lines[0].split()[:3] == ["ID", "MODEL", "STAGE"]
    if columns >= 80:
        assert lines[0].split()[3:8] == ["STATUS", "SENT", "CONFIRMED", "RATE", "ETA"]
    assert ("m" * 63 in lines[2]) == (columns == 200)
    assert ("…" in lines[2]) == (columns < 200)


@pytest.mark.parametrize("columns", [40, 60, 80])
def test_a_table_of_names_keeps_its_figures_and_shortens_the_names(
    columns: int, capsys: pytest.CaptureFixture[str]
) -> None:
    row = ("", "m" * 200, "4.0 GiB", "100%", "50%", "no", "session", "", "")
    out_table(render.FILE_HEADINGS, [row], columns)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= columns
    assert lines[0].split()[:4] == ["FILE", "SIZE", "SENT", "CONFIRMED"]
    assert "…" in lines[1]


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
