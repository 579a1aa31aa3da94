from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from uploader.core.job import (
    MODEL_ID,
    FileState,
    Job,
    Kind,
    Manifest,
    ManifestFile,
    Stage,
    Status,
)
from uploader.core.redact import SessionUri

NOW = datetime(2026, 11, 22, tzinfo=UTC)
JOB = Job(
    id=1,
    base_url="https://api.fireworks.ai",
    account="acme",
    model_id="tiny",
    path="/models/tiny",
    kind=Kind.BASE,
    stage=Stage.UPLOAD,
    status=Status.ACTIVE,
    created_at=NOW,
    updated_at=NOW,
    bytes_total=100,
    bytes_marked=40,
)


def test_a_job_names_its_model() -> None:
    assert JOB.model == "accounts/acme/models/tiny"


@pytest.mark.parametrize(
    ("rate_bps", "eta_s"), [(None, None), (0.0, None), (1e-320, None), (30.0, 2.0)]
)
def test_an_eta_needs_a_rate(rate_bps: float | None, eta_s: float | None) -> None:
    assert replace(JOB, rate_bps=rate_bps).eta_s == eta_s


def test_a_manifest_has_a_size() -> None:
    files = (ManifestFile("a", 3, "x"), ManifestFile("b", 4, "y"))
    assert Manifest("/models/tiny", files).size_bytes == 7
    assert Manifest("/models/tiny", ()).size_bytes == 0


def test_a_file_hides_its_session() -> None:
    file = FileState(1, "a", 3, "x", session=SessionUri("https://h/o?upload_id=canary"))
    assert "canary" not in repr(file)


def test_kinds_have_the_services_names() -> None:
    assert {kind: kind.remote for kind in Kind} == {
        Kind.BASE: "HF_BASE_MODEL",
        Kind.LORA: "HF_PEFT_ADDON",
        Kind.EMBEDDING: "EMBEDDING_MODEL",
        Kind.DRAFT: "DRAFT_ADDON",
    }


@pytest.mark.parametrize("model_id", ["a", "a-b", "a" * 63, "llama-v3p1-8b"])
def test_legal_ids(model_id: str) -> None:
    assert MODEL_ID.fullmatch(model_id)


@pytest.mark.parametrize("model_id", ["", "A", "a_b", "1a", "-a", "a-", "a.b", "a" * 64, "a\n"])
def test_illegal_ids(model_id: str) -> None:
    assert not MODEL_ID.fullmatch(model_id)
