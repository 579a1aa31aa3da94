"""Whoever takes a file again and again and never has all of it is not sent to without an end."""

from __future__ import annotations

from typing import Any

import pytest

from tests.engine.conftest import GRANULE, Lab
from tests.engine.test_gaps import storage_that
from tests.engine.test_vain_puts import MIB, SIZE, put_sizes, reason_code
from uploader.core.job import FileState, Status
from uploader.core.lifecycle import Verb
from uploader.core.resumable import Confirmed
from uploader.engine import endings, restarts

GRANULES = 24
#: As a bound for the files of these tests: so many times their size, and nothing else.
TIMES = 3


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endings, "_TIMES_SENT", TIMES)
    monkeypatch.setattr(endings, "_SPARE_BYTES", 0)


def assert_ended(lab: Lab, times: int = TIMES) -> None:
    """The job has failed once its file was sent so many times, and soon after that."""
    reason = lab.job().reason
    assert reason is not None
    assert (lab.job().status, reason.code) == (Status.FAILED, "sent_too_often"), lab.dump()
    assert reason.message.startswith("a.bin has ")
    assert "were sent for it" in reason.message
    assert times <= lab.file().bytes_sent / lab.file().size_bytes < times + 1.5


def one_granule_further(sessions: int) -> list[dict[str, Any]]:
    """Each session is lost, and had a granule more than the one before."""
    faults: list[dict[str, Any]] = []
    for lost in range(1, sessions):
        cut = {"on": "put", "do": "cut", "at_byte": lost * GRANULE + 1000, "nth": 2 * lost - 1}
        faults += [cut, {"on": "put", "do": "dead-session", "nth": 2 * lost}]
    return faults


@pytest.mark.usefixtures("strict")
def test_sessions_that_are_lost_a_granule_further_each_time_end_the_job(lab: Lab) -> None:
    lab.world.script.add(one_granule_further(GRANULES))
    lab.enqueue(lab.model(a_bin=GRANULES * GRANULE))
    lab.run(max_put_bytes=256 * MIB)
    assert_ended(lab)


@pytest.mark.usefixtures("strict")
def test_a_retry_lets_the_file_be_sent_as_often_again(lab: Lab) -> None:
    lab.world.script.add(one_granule_further(GRANULES))
    lab.enqueue(lab.model(a_bin=GRANULES * GRANULE))
    for run in (1, 2):
        lab.run(max_put_bytes=256 * MIB)
        assert_ended(lab, run * TIMES)
        lab.jobs.apply(1, Verb.RETRY, lab.clock.now())
    lab.world.script.clear()
    lab.run(max_put_bytes=256 * MIB)
    lab.assert_ready()


@pytest.mark.usefixtures("strict")
def test_a_session_that_takes_all_back_after_each_high_mark_ends_the_job(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    highest = [0]

    def put(body: Any, start: int, _: int) -> Any:
        list(body)
        if start:
            return Confirmed(0)
        highest[0] += 1
        return Confirmed(highest[0] * GRANULE)

    storage_that(monkeypatch, put, lambda: 0)
    lab.enqueue(lab.model(a_bin=SIZE))
    lab.run_until(lambda: lab.job().status is not Status.ACTIVE, max_put_bytes=256 * MIB)
    assert_ended(lab)


@pytest.mark.usefixtures("strict")
def test_a_session_that_keeps_a_granule_of_each_long_put_ends_the_job(lab: Lab) -> None:
    short = {"on": "put", "do": "short-308", "at_byte": GRANULE, "times": 0}
    lab.world.script.add([short])
    lab.bytes_per_s = GRANULES * GRANULE / 2
    lab.enqueue(lab.model(a_bin=GRANULES * GRANULE))
    lab.run(max_put_bytes=256 * MIB)
    assert_ended(lab)


@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize("kind", ["resumable", "put"])
def test_trouble_that_takes_all_of_each_put_ends_the_job(lab: Lab, kind: str) -> None:
    lab.world.config.url_kind = kind
    trouble = {"on": "put", "do": "status", "status": 503, "times": 0, "at_byte": 4 * GRANULE}
    lab.world.script.add([trouble])
    lab.enqueue(lab.model(a_bin=4 * GRANULE))
    lab.run()
    assert_ended(lab)


@pytest.mark.long
@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize("on", ["start", "put", "query"])
def test_an_outage_that_takes_nothing_is_waited_out(lab: Lab, on: str) -> None:
    lab.world.script.add([{"on": on, "do": "status", "status": 503, "times": 200}])
    lab.world.script.add([{"on": "put", "do": "cut", "at_byte": 3 * GRANULE}])
    lab.enqueue(lab.model(a_bin=40 * GRANULE))
    lab.run()
    lab.assert_ready()
    assert lab.file().attempts >= 200


def test_a_file_is_sent_many_times_before_it_counts_as_too_often() -> None:
    spare = 32 << 30

    def over(before: int, now: int, size_bytes: int = 10**12) -> bool:
        rows = (FileState(1, "a", size_bytes, "x", bytes_sent=sent) for sent in (before, now))
        return endings.after_waste(*rows) is not None

    bound = 20 * 10**12 + spare
    assert not over(0, bound - 1)
    assert over(bound - 1, bound)
    assert not over(bound, 2 * bound - 1)
    assert over(bound, 2 * bound)
    assert not over(bound, 0)  # another run of the job
    assert not over(0, spare - 1, 0)


@pytest.mark.parametrize(
    ("at_byte", "lengths"), [(2 * MIB, ["12.0 MiB now", "8.0 MiB now"]), (0, [])]
)
def test_puts_of_which_trouble_has_taken_much_are_halved(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, at_byte: int, lengths: list[str]
) -> None:
    monkeypatch.setattr(restarts, "CERTAINLY_LEFT_BYTES", MIB)
    trouble = {"on": "put", "do": "status", "status": 503, "times": 4, "at_byte": at_byte}
    lab.world.script.add([trouble])
    lab.enqueue(lab.model(a_bin=SIZE))
    lab.run(max_put_bytes=256 * MIB)
    lab.assert_ready()
    assert put_sizes(lab) == lengths
    assert reason_code(lab) is None
