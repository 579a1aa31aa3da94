"""Seals: over what they are, and whose."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from uploader.core.job import FileState, Kind, PrefixCrc, Stage, Status
from uploader.core.redact import SessionUri
from uploader.core.resumable import read_url
from uploader.core.seal import NO_SEAL, RunSeal, Seal, SealedJob
from uploader.core.whole_job import WholeJob

SEAL = Seal(b"s" * 32)
NOW = datetime(2026, 11, 26, tzinfo=UTC)
LATER = NOW + timedelta(microseconds=1)
JOB = SealedJob(WholeJob(
    1, "https://h", "a", "m", "/m", Kind.BASE, Stage.CREATE, Status.ACTIVE, NOW, NOW,
    create_body={"model": {"b": 1, "a": 2}}, options={"allow": ["x"]},
))  # fmt: skip
RUN, NO_RUN = SEAL.run_of(JOB), NO_SEAL.run_of(JOB)
FILE = FileState(1, "a.bin", 5, "local:1:2")
URL = "https://storage.example/b/o?upload_id=1"
SENT = replace(FILE, session=SessionUri(URL), checkpoint=PrefixCrc(2, 1), mark=PrefixCrc(3, 2))
PLANNED = replace(FILE, url=read_url(URL))
STORED = replace(
    FILE, stored=True, verified=True, crc32c=7, sha256="a" * 64, generation=3, object_path="o"
)


def test_a_seal_holds_for_what_it_was_made_over() -> None:
    assert SEAL.holds_job(replace(JOB, seal=SEAL.job(JOB)))
    own = RUN.file(FILE.path, FILE.size_bytes, FILE.fingerprint)
    assert RUN.holds_file(replace(FILE, seal=own))
    for standing in (FILE, SENT, PLANNED, STORED):
        assert RUN.holds_standing(replace(standing, address_seal=RUN.standing(standing)))
    assert RUN.standing(FILE) is None, "nothing is known of it"
    assert SEAL.holds_address(1, "a.bin", URL, RUN.standing(SENT))
    assert SEAL.holds_address(1, "a.bin", URL, SEAL.address(1, "a.bin", URL))
    assert not SEAL.holds_address(1, "a.bin", URL, RUN.standing(STORED))


@pytest.mark.parametrize(
    "changed",
    [
        {"id": 2},
        {"base_url": "https://i"},
        {"account": "b"},
        {"model_id": "n"},
        {"path": "/n"},
        {"snapshot": "/m"},
        {"kind": Kind.LORA},
        {"create_body": {"model": {"b": 1, "a": 3}}},
        {"options": {}},
        {"run_number": 2},
        {"files_run": 2},
        {"created_at": LATER},
        {"stage": Stage.UPLOAD},
        {"model_exists": True},
        {"created_remotely": True},
        {"status": Status.CANCELLED},
        {"seal": None},
        {"seal": ""},
        {"seal": "é"},
    ],
)
def test_it_holds_for_no_other_job(changed: dict[str, Any]) -> None:
    sealed = replace(JOB, seal=SEAL.job(JOB))
    assert not SEAL.holds_job(replace(sealed, **changed))


def test_the_order_of_names_does_not_matter_and_progress_does_not() -> None:
    turned = replace(JOB, create_body={"model": {"a": 2, "b": 1}}, status=Status.PAUSED, attempts=3)
    assert SEAL.holds_job(replace(turned, seal=SEAL.job(JOB)))


def test_whoever_writes_a_field_seals_it_only_if_the_job_was_sealed() -> None:
    sealed = replace(JOB, seal=SEAL.job(JOB))
    later = replace(sealed, stage=Stage.UPLOAD, seal=SEAL.after(sealed, stage=Stage.UPLOAD))
    assert SEAL.holds_job(later)
    turned = replace(sealed, run_number=2)
    assert SEAL.after(turned, stage=Stage.UPLOAD) == turned.seal
    assert NO_SEAL.after(sealed, stage=Stage.UPLOAD) == sealed.seal, "others have the secret"


@pytest.mark.parametrize(
    ("standing", "changed"),
    [
        *((one, which) for one in (SENT, PLANNED, STORED) for which in (
            {"path": "b"}, {"size_bytes": 6}, {"fingerprint": "local:2:2"},
        )),
        (SENT, {"session": SessionUri("https://storage.example/b/o?upload_id=2")}),
        (SENT, {"session": None, "url": read_url(URL)}),
        (SENT, {"url": read_url(URL)}),
        (SENT, {"checkpoint": PrefixCrc(2, 2)}),
        (SENT, {"mark": PrefixCrc(4, 2)}),
        (SENT, {"gap": True}),
        (SENT, {"unproven": True}),
        (SENT, {"stored": True}),
        (SENT, {"session": None, "stored": True}),
        (PLANNED, {"url": read_url(f"{URL}2")}),
        (PLANNED, {"session": SessionUri(URL)}),
        (STORED, {"crc32c": 8}),
        (STORED, {"sha256": None}),
        (STORED, {"sha256_as_sent": True}),
        (STORED, {"verified": False}),
        (STORED, {"generation": 4}),
        (STORED, {"object_path": "p"}),
        (STORED, {"session": SessionUri(URL)}),
    ],
)  # fmt: skip
def test_how_far_a_file_is_holds_for_nothing_else(
    standing: FileState, changed: dict[str, Any]
) -> None:
    sealed = replace(standing, address_seal=RUN.standing(standing))
    assert not RUN.holds_standing(replace(sealed, **changed))
    assert NO_RUN.holds_standing(replace(sealed, **changed))


@pytest.mark.parametrize(
    "other", [{"job_id": 2}, {"created_at": LATER}, {"run_number": 2}], ids=["job", "time", "run"]
)
def test_nor_for_another_run(other: dict[str, Any]) -> None:
    of_it = RunSeal(SEAL, JOB.id, JOB.created_at, JOB.run_number)
    assert of_it == RUN
    for standing in (SENT, PLANNED, STORED):
        sealed = replace(standing, address_seal=RUN.standing(standing))
        assert not replace(of_it, **other).holds_standing(sealed)


def test_a_file_belongs_to_its_job_in_each_of_its_runs() -> None:
    """`Held.recreate` begins a run with the rows that are there."""
    sealed = replace(FILE, seal=RUN.file(FILE.path, FILE.size_bytes, FILE.fingerprint))
    assert replace(RUN, run_number=2).holds_file(sealed)
    assert not replace(RUN, job_id=2).holds_file(sealed)
    assert not replace(RUN, created_at=LATER).holds_file(sealed)
    assert not replace(RUN, files_run=2).holds_file(sealed), "a new snapshot has rows of its own"


def test_the_zone_of_a_database_does_not_matter() -> None:
    there = NOW.astimezone(timezone(timedelta(hours=5, minutes=30)))
    elsewhere = replace(JOB, created_at=there, seal=SEAL.job(JOB))
    assert SEAL.holds_job(elsewhere)
    sent = replace(SENT, address_seal=RUN.standing(SENT))
    assert SEAL.run_of(elsewhere).holds_standing(sent)


def test_one_kind_of_seal_is_not_another() -> None:
    assert len({SEAL.address(1, "a", "b"), RUN.file("a", 0, "b"), RUN.standing(PLANNED)}) == 3


def test_another_secret_makes_another_seal_and_none_makes_none() -> None:
    assert Seal(b"t" * 32).job(JOB) != SEAL.job(JOB)
    assert NO_SEAL.job(JOB) is None
    assert NO_SEAL.holds_job(replace(JOB, seal="whatever"))
    assert "ssss" not in repr(SEAL)
