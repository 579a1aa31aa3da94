"""One file under every fault of the storage service: at the right byte, or loudly over."""

from __future__ import annotations

from typing import Any

import pytest

from tests.engine.conftest import GRANULE, Lab
from uploader.core.exits import exit_of
from uploader.core.job import Mode, Status

SIZE = 10 * GRANULE + 7


@pytest.mark.parametrize(
    "fault",
    [
        {"on": "put", "do": "cut", "at_byte": 2 * GRANULE + 1},
        {"on": "put", "do": "cut", "at_byte": 0},
        {"on": "put", "do": "cut", "at_byte": GRANULE, "times": 8},
        {"on": "put", "do": "cut", "nth": 3, "at_byte": GRANULE + 99},
        {"on": "put", "do": "reset-before"},
        {"on": "put", "do": "reset-after"},
        {"on": "put", "do": "lost-answer", "nth": 1},
        {"on": "put", "do": "lost-answer", "nth": 3},
        {"on": "put", "do": "status", "status": 503, "times": 4},
        {"on": "put", "do": "status", "status": 429, "retry_after": 2},
        {"on": "put", "do": "short-308"},
        {"on": "put", "do": "no-range-308"},
        {"on": "put", "do": "no-finish", "nth": 3},
        {"on": "query", "do": "growing-ack"},
        {"on": "query", "do": "status", "status": 500, "times": 3},
        {"on": "query", "do": "lost-answer"},
        {"on": "start", "do": "status", "status": 503, "times": 2},
        {"on": "start", "do": "lost-answer"},
        {"on": "start", "do": "reset-before"},
    ],
    ids=lambda fault: "-".join(map(str, fault.values())),
)
def test_a_fault_costs_what_was_not_persisted_and_nothing_below(
    lab: Lab, fault: dict[str, Any]
) -> None:
    doubt = {"on": "put", "do": "cut", "nth": 2, "at_byte": 5}  # so that a query is made
    lab.world.script.add([fault, *([doubt] if fault["on"] == "query" else [])])
    lab.enqueue(lab.model(a_bin=SIZE))
    lab.run()
    lab.assert_ready()
    cuts = lab.object()["cuts"]
    lost = lab.object()["body_bytes_read"] - SIZE
    if fault["do"] in ("cut", "reset-before", "reset-after", "lost-answer"):
        assert lost <= cuts * GRANULE
    assert lab.file().verified
    assert lab.job().bytes_sent >= SIZE


def test_confirmed_progress_resets_the_count_of_failures(lab: Lab) -> None:
    lab.world.script.add([{"on": "put", "do": "cut", "at_byte": GRANULE + 1, "times": 8}])
    lab.enqueue(lab.model(a_bin=SIZE))
    lab.run()
    lab.assert_ready()
    assert lab.file().attempts == 8
    assert lab.file().failures == 0


@pytest.mark.parametrize("status", [404, 410])
def test_a_dead_session_starts_that_file_over_and_no_other(lab: Lab, status: int) -> None:
    fault = {"on": "put", "match": "a.bin", "nth": 2, "do": "dead-session", "status": status}
    lab.world.script.add([fault])
    lab.enqueue(lab.model(a_bin=SIZE, b_bin=SIZE))
    lab.run()
    lab.assert_ready()
    assert lab.object("a.bin")["sessions_started"] == 2
    assert lab.object("b.bin")["sessions_started"] == 1
    assert lab.object("b.bin")["body_bytes_read"] == SIZE


def test_a_wrong_hash_starts_the_file_over_loudly(lab: Lab) -> None:
    lab.world.script.add([{"on": "put", "do": "wrong-hash", "nth": 3}])
    lab.enqueue(lab.model(a_bin=SIZE))
    lab.run()
    lab.assert_ready()
    assert lab.file().mismatches == 1
    assert "session_dropped" in lab.kinds()


def test_the_third_wrong_hash_fails_the_job(lab: Lab) -> None:
    lab.world.script.add([{"on": "put", "do": "wrong-hash", "times": 0}])
    lab.enqueue(lab.model(a_bin=GRANULE))
    lab.run()
    job = lab.job()
    assert job.status is Status.FAILED
    assert exit_of(job.status, job.reason) == 12
    assert lab.file().mismatches == 3
    assert lab.world.report()["early_validations"] == 0


def test_a_plain_put_that_is_cut_sends_the_file_again(lab: Lab) -> None:
    lab.world.config.url_kind = "put"
    lab.world.script.add([{"on": "put", "do": "cut", "at_byte": 4 * GRANULE}])
    lab.enqueue(lab.model(a_bin=SIZE))
    lab.run()
    lab.assert_ready()
    assert lab.file().mode is Mode.PUT
    assert lab.object()["queries"] == 0
    assert lab.job().bytes_sent > SIZE


def test_a_worker_stopped_in_the_middle_goes_on_at_the_confirmed_byte(lab: Lab) -> None:
    lab.bytes_per_s = GRANULE / 20  # so that nobody is too late to stop it
    lab.enqueue(lab.model(a_bin=SIZE))
    lab.run_until(lambda: bool(lab.world.report()["objects"]) and lab.object()["persisted"] > 0)
    file, held = lab.file(), lab.object()["persisted"]
    assert file.session is not None
    assert file.checkpoint.offset <= held <= file.mark.offset
    lab.bytes_per_s = None
    lab.run()
    lab.assert_ready()
    assert lab.object()["sessions_started"] == 1
    assert lab.object()["body_bytes_read"] - SIZE <= GRANULE
    assert "session_resumed" in lab.kinds()


def test_a_session_is_committed_before_its_first_byte_leaves(lab: Lab) -> None:
    seen: list[bool] = []
    lab.boundary = lambda name: (
        seen.append(lab.file().session is not None) if name == "put before" else None
    )
    lab.enqueue(lab.model(a_bin=SIZE))
    lab.run()
    lab.assert_ready()
    assert seen
    assert all(seen)


def test_a_moved_object_gets_a_new_session(lab: Lab) -> None:
    lab.bytes_per_s = 2.0 * GRANULE
    lab.enqueue(lab.model(a_bin=SIZE, b_bin=SIZE, c_bin=SIZE, d_bin=SIZE, e_bin=GRANULE))
    lab.run_until(lambda: _any_persisted(lab))
    lab.bytes_per_s = None
    lab.world.config.object_prefix = "elsewhere"
    lab.run()
    job = lab.job()
    assert job.status is Status.DONE, lab.dump()
    assert all(file.stored for file in lab.jobs.files(1))


def _any_persisted(lab: Lab) -> bool:
    return any(entry["persisted"] for entry in lab.world.report()["objects"].values())


def test_no_secret_reaches_a_row_but_the_session_column(lab: Lab) -> None:
    lab.world.script.add([{"on": "put", "do": "cut", "at_byte": 1, "times": 3}])
    lab.enqueue(lab.model(a_bin=SIZE))
    lab.run()
    lab.assert_ready()
    text = lab.dump() + repr(lab.jobs.files(1))
    assert "upload_id" not in text
    assert lab.key not in text
    assert "X-Goog" not in text
