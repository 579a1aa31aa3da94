"""`transfer.chunk_size = "auto"`: PUTs are longer on a fast network, and shorter once one fails."""

from __future__ import annotations

from typing import Any

import pytest

from tests.engine.conftest import GRANULE, Lab
from uploader.core import resumable
from uploader.core.resumable import FIRST_PUT_BYTES, MOST_PUT_BYTES
from uploader.engine import puts
from uploader.engine.puts import PutLengths
from uploader.remote.storage import Storage

FIRST, MOST = 4 * GRANULE, 16 * GRANULE
SLOW = {"on": "put", "do": "latency", "seconds": 60}


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The lengths of the PUTs of sessions, in granules; all lengths are 256 times shorter."""
    for module in (resumable, puts):
        monkeypatch.setattr(module, "FIRST_PUT_BYTES", FIRST)
    monkeypatch.setattr(resumable, "MOST_PUT_BYTES", MOST)
    monkeypatch.setattr(resumable, "LEAST_PUT_BYTES", GRANULE)
    lengths: list[int] = []
    send = Storage.send

    def seen(self: Storage, session: Any, body: Any, start: int, stop: int, size: int) -> Any:
        lengths.append((stop - start) // GRANULE)
        return send(self, session, body, start, stop, size)

    monkeypatch.setattr(Storage, "send", seen)
    return lengths


def test_what_goes_fast_goes_on_in_longer_puts(lab: Lab, sent: list[int]) -> None:
    lab.enqueue(lab.model(a_bin=40 * GRANULE))
    lab.run(max_put_bytes="auto")
    lab.assert_ready()
    assert sent == [4, 16, 16, 4]


def test_the_next_file_of_the_job_begins_with_long_ones(lab: Lab, sent: list[int]) -> None:
    lab.enqueue(lab.model(a_bin=20 * GRANULE, b_bin=16 * GRANULE))
    lab.max_files = 1
    lab.run(max_put_bytes="auto")
    lab.assert_ready()
    assert sent == [4, 16, 16]


def test_a_number_is_a_number(lab: Lab, sent: list[int]) -> None:
    lab.enqueue(lab.model(a_bin=40 * GRANULE))
    lab.run(max_put_bytes=8 * GRANULE)
    lab.assert_ready()
    assert sent == [8] * 5


def test_what_is_answered_late_stays_short(lab: Lab, sent: list[int]) -> None:
    lab.world.script.add([{**SLOW, "times": 0}])
    lab.enqueue(lab.model(a_bin=12 * GRANULE))
    lab.run(max_put_bytes="auto")
    lab.assert_ready()
    assert sent == [4, 4, 4]


def test_a_long_one_that_is_cut_is_not_tried_as_long_again(lab: Lab, sent: list[int]) -> None:
    lab.world.script.add([{"on": "put", "do": "cut", "at_byte": 9 * GRANULE, "nth": 2}])
    lab.enqueue(lab.model(a_bin=44 * GRANULE))
    lab.run(max_put_bytes="auto")
    lab.assert_ready()
    # the next one begins after the 9 of 16 that arrived
    assert sent == [4, 16, 8, 8, 8, 7]


def test_one_that_is_too_large_is_no_failure_of_the_file(lab: Lab, sent: list[int]) -> None:
    lab.world.script.add([{"on": "put", "do": "status", "status": 413, "nth": 2}])
    lab.enqueue(lab.model(a_bin=20 * GRANULE))
    lab.run(max_put_bytes="auto")
    lab.assert_ready()
    assert sent == [4, 16, 8, 8]
    assert lab.file().attempts == 0


# -- the table ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "most"),
    [
        ([], FIRST_PUT_BYTES),
        ([(FIRST_PUT_BYTES, 0.0)], MOST_PUT_BYTES),
        ([(FIRST_PUT_BYTES, 1.0)], MOST_PUT_BYTES),
        ([(FIRST_PUT_BYTES, 2.0)], 2 * FIRST_PUT_BYTES),
        ([(FIRST_PUT_BYTES, 4.0)], FIRST_PUT_BYTES),
        ([(FIRST_PUT_BYTES, 1e9)], FIRST_PUT_BYTES),
        ([(FIRST_PUT_BYTES, 1.0), (MOST_PUT_BYTES, 8.0)], MOST_PUT_BYTES // 2),
        ([(FIRST_PUT_BYTES - 1, 0.1)], FIRST_PUT_BYTES),
        ([(FIRST_PUT_BYTES, 1.0), (1, 60.0)], MOST_PUT_BYTES),
        ([(FIRST_PUT_BYTES, 1.0), (MOST_PUT_BYTES, None)], MOST_PUT_BYTES // 2),
        ([(MOST_PUT_BYTES, None), (FIRST_PUT_BYTES, 1.0)], MOST_PUT_BYTES // 2),
        ([(FIRST_PUT_BYTES, None), (FIRST_PUT_BYTES, 1.0)], MOST_PUT_BYTES),
    ],
)
def test_the_most_bytes_of_the_next_put(told: list[tuple[int, float | None]], most: int) -> None:
    lengths = PutLengths()
    for put_bytes, took_s in told:
        if took_s is None:
            lengths.failed(1, put_bytes)
        else:
            lengths.confirmed(1, put_bytes, took_s)
    assert lengths.most(1, None) == most
    assert lengths.most(1, 4 * MOST_PUT_BYTES) == 4 * MOST_PUT_BYTES
    assert lengths.most(2, None) == FIRST_PUT_BYTES
    assert most % GRANULE == 0


def test_a_limit_holds_for_what_is_configured_and_for_what_is_found() -> None:
    lengths = PutLengths()
    lengths.limit(1, 8 * GRANULE)
    lengths.confirmed(1, FIRST_PUT_BYTES, 0.1)
    assert [lengths.most(1, given) for given in (None, 4 * GRANULE, 16 * GRANULE)] == [
        8 * GRANULE,
        4 * GRANULE,
        8 * GRANULE,
    ]
