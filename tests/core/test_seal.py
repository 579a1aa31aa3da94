"""Seals: over what they are, and whose."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from uploader.core.job import FileState, Job, Kind, Stage, Status
from uploader.core.redact import SessionUri
from uploader.core.resumable import read_url
from uploader.core.seal import NO_SEAL, Seal, SealedJob

SEAL = Seal(b"s" * 32)
NOW = datetime(2026, 11, 26, tzinfo=UTC)
JOB = SealedJob(Job(
    1, "https://h", "a", "m", "/m", Kind.BASE, {"model": {"b": 1, "a": 2}}, Stage.CREATE,
    Status.ACTIVE, NOW, NOW, options={"allow": ["x"]},
))  # fmt: skip
FILE = FileState(1, "a.bin", 5, "local:1:2")
URL = "https://storage.example/b/o?upload_id=1"


def test_a_seal_holds_for_what_it_was_made_over() -> None:
    assert SEAL.holds_job(replace(JOB, seal=SEAL.job(JOB)))
    own = SEAL.file(FILE.job_id, FILE.path, FILE.size_bytes, FILE.fingerprint)
    assert SEAL.holds_file(replace(FILE, seal=own))
    address = SEAL.address(1, "a.bin", URL)
    assert SEAL.holds_address(replace(FILE, session=SessionUri(URL), address_seal=address))
    assert SEAL.holds_address(replace(FILE, url=read_url(URL), address_seal=address))
    assert SEAL.holds_address(FILE), "there is no address"


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
        {"seal": None},
        {"seal": ""},
        {"seal": "é"},
    ],
)
def test_it_holds_for_no_other_job(changed: dict[str, Any]) -> None:
    sealed = replace(JOB, seal=SEAL.job(JOB))
    assert not SEAL.holds_job(replace(sealed, **changed))


def test_the_order_of_names_does_not_matter_and_progress_does_not() -> None:
    turned = replace(JOB, create_body={"model": {"a": 2, "b": 1}}, stage=Stage.UPLOAD, attempts=3)
    assert SEAL.holds_job(replace(turned, seal=SEAL.job(JOB)))


@pytest.mark.parametrize("changed", [{"job_id": 2}, {"path": "b"}, {"session": SessionUri("x")}])
def test_an_address_is_good_for_one_file_alone(changed: dict[str, Any]) -> None:
    address = SEAL.address(1, "a.bin", URL)
    sealed = replace(FILE, session=SessionUri(URL), address_seal=address)
    assert not SEAL.holds_address(replace(sealed, **changed))
    assert not SEAL.holds_address(replace(sealed, url=read_url(f"{URL}2"))), "both are looked at"


def test_one_kind_of_seal_is_not_another() -> None:
    assert SEAL.address(1, "a", "b") != SEAL.file(1, "a", 0, "b")


def test_another_secret_makes_another_seal_and_none_makes_none() -> None:
    assert Seal(b"t" * 32).job(JOB) != SEAL.job(JOB)
    assert NO_SEAL.job(JOB) is None
    assert NO_SEAL.holds_job(replace(JOB, seal="whatever"))
    assert "ssss" not in repr(SEAL)
