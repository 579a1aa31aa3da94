from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any, get_type_hints

import pytest

from tests.cli.test_render import FILE, JOB, NOW
from uploader.core import documents, limit_documents
from uploader.core.job import Event, LivingWorker, Mode, PrefixCrc, Reason, Stage, Status
from uploader.core.limits import InForce
from uploader.core.text import event_line, timestamp
from uploader.core.timetable import UNLIMITED

EVENT = Event(3, 12, NOW, "stored", "at byte 5", "a.bin")

ORIGINS = dict.fromkeys(("bandwidth", "files", "jobs"), "default")
LIMITS = limit_documents.limits_json(InForce(UNLIMITED, "auto", 2), ORIGINS, NOW)


def test_a_job_document_has_the_documented_keys_in_order() -> None:
    document = documents.job_document(JOB, [FILE], NOW)
    assert " ".join(document) == (
        "schema id model path snapshot kind stage status reason files_total files_stored"
        " bytes_total bytes_confirmed bytes_sent bytes_sent_once rate_bps eta_s"
        " awaiting_since attempts not_before priority created_at"
        " updated_at ready_at warnings preflight options files"
    )
    assert document["schema"] == "uploader.job/1"
    assert document["model"] == "accounts/acme/models/llama-70b-ft-v3"
    assert document["created_at"] == "2026-11-22T11:00:30.123Z"
    assert (document["rate_bps"], document["eta_s"]) == (1001, 89)
    assert document["reason"] is None


def test_a_file_has_the_documented_keys_in_order() -> None:
    assert documents.file_json(FILE) == {
        "path": "model.safetensors",
        "size_bytes": 1000,
        "offset": 256,
        "bytes_sent": 700,
        "bytes_sent_once": 600,
        "stored": False,
        "verified": False,
        "crc32c": "4waSgw==",
        "mode": "session",
        "attempts": 0,
        "last_error": None,
        "sha256": None,
    }
    assert " ".join(documents.file_json(FILE)) == (
        "path size_bytes offset bytes_sent bytes_sent_once stored verified crc32c mode attempts"
        " last_error sha256"
    )


def test_a_list_of_jobs() -> None:
    document = documents.jobs_document([JOB], [LivingWorker("w", (12,))], NOW)
    assert list(document) == ["schema", "jobs", "workers", "jobs_left_out"]
    assert document["workers"] == [{"id": "w", "jobs": [12]}]
    assert document["schema"] == "uploader.jobs/1"
    assert document["jobs"] == [documents.job_json(JOB, NOW)]


def test_a_reason_has_three_fields() -> None:
    blocked = replace(JOB, status=Status.BLOCKED, reason=Reason("key", "no key", "set one"))
    assert documents.job_json(blocked, NOW)["reason"] == {
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
def test_an_outdated_rate_is_not_reported(change: dict[str, Any]) -> None:
    document = documents.job_json(replace(JOB, **change), NOW)
    assert (document["rate_bps"], document["eta_s"]) == (None, None)


@pytest.mark.parametrize(
    ("marked", "eta_s"), [(41_000, 90), (130_000, 1), (130_999, 1), (131_000, None)]
)
def test_no_end_is_promised_for_now_while_a_byte_is_unconfirmed(
    marked: int, eta_s: int | None
) -> None:
    document = documents.job_json(replace(JOB, bytes_marked=marked), NOW)
    assert (document["rate_bps"], document["eta_s"]) == (1001, eta_s)


def test_what_is_sent_of_a_file_counts_each_byte_once() -> None:
    assert documents.sent(FILE) == 600
    assert documents.sent(replace(FILE, mark=PrefixCrc(100, 1))) == 256
    assert documents.sent(replace(FILE, stored=True, mark=PrefixCrc())) == 1000


def test_a_stored_file_is_confirmed_as_a_whole() -> None:
    stored = replace(FILE, stored=True, mode=Mode.PUT, checkpoint=PrefixCrc())
    assert documents.file_json(stored)["offset"] == 1000


def test_a_wait_that_is_over_is_not_one() -> None:
    past, future = NOW - timedelta(seconds=1), NOW + timedelta(seconds=1)
    assert documents.job_json(replace(JOB, not_before=past), NOW)["not_before"] is None
    assert documents.job_json(replace(JOB, not_before=future), NOW)["not_before"] is not None


def test_an_event_is_one_object_and_one_line() -> None:
    assert documents.event_json(EVENT) == {
        "seq": 3,
        "job": 12,
        "at": "2026-11-22T12:00:30.123Z",
        "kind": "stored",
        "message": "at byte 5",
        "path": "a.bin",
    }
    assert event_line(EVENT) == "job 12 stored: a.bin: at byte 5"
    assert event_line(replace(EVENT, path=None)) == "job 12 stored: at byte 5"
    assert timestamp(NOW) == "2026-11-22T12:00:30Z"


INSPECTION = documents.InspectionJson(
    path="/m",
    kind="base",
    kind_because="config.json",
    files_total=0,
    bytes_total=0,
    rate_bps=None,
    expected_s=None,
    files=[],
    left_out=[],
    findings=[],
)
WRITTEN: dict[type, Any] = {
    documents.JobJson: documents.job_json(JOB, NOW),
    documents.ReasonJson: documents.reason_json(Reason("key", "no key")),
    documents.FileJson: documents.file_json(FILE),
    documents.EventJson: documents.event_json(EVENT),
    documents.JobDocument: documents.job_document(JOB, [FILE], NOW),
    limit_documents.LimitsJson: LIMITS,
    limit_documents.LimitsDocument: limit_documents.limits_document(LIMITS),
    limit_documents.StatusDocument: limit_documents.status_document(
        documents.jobs_document([JOB], [], NOW), LIMITS
    ),
    limit_documents.BandwidthJson: LIMITS["bandwidth"],
    limit_documents.LimitJson: LIMITS["files"],
    documents.WorkerJson: documents.worker_json(LivingWorker("w", ())),
    documents.JobsDocument: documents.jobs_document([JOB], [], NOW),
    documents.PlanDocument: documents.plan_document("accounts/a/models/m", {}, INSPECTION),
    documents.PreflightDocument: documents.preflight_document(INSPECTION),
}


@pytest.mark.parametrize("shape", WRITTEN, ids=lambda shape: shape.__name__)
def test_what_is_written_has_exactly_the_fields_that_are_reported(shape: type) -> None:
    assert set(WRITTEN[shape]) == set(get_type_hints(shape))
    assert json.loads(json.dumps(WRITTEN[shape])) == WRITTEN[shape]
