"""PUTs that do not get through: shorter ones, another session or URL, and at last the end."""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.engine.conftest import GRANULE, Lab
from uploader.core import repeats
from uploader.core.job import Status
from uploader.sandbox import part

MIB = 1 << 20
SIZE = 24 * MIB + 7
#: Less than a granule arrives, so nothing of it is kept.
CUT = {"on": "put", "do": "cut", "at_byte": 1000}


def reason_code(lab: Lab) -> str | None:
    reason = lab.job().reason
    return None if reason is None else reason.code


def put_sizes(lab: Lab, job_id: int = 1) -> list[str]:
    """What the events say about the length of PUTs."""
    found = [event for event in lab.jobs.events(job_id) if event.kind == "put_halved"]
    return [event.message.split(" have ")[1] for event in found]


# -- shorter PUTs --------------------------------------------------------------------------


@pytest.mark.parametrize("at_byte", [0, 65536])
def test_a_put_that_is_too_large_is_halved_until_it_fits(lab: Lab, at_byte: int) -> None:
    too_large = {"on": "put", "do": "status", "status": 413, "times": 2, "at_byte": at_byte}
    lab.world.script.add([too_large])
    lab.enqueue(lab.model(a_bin=SIZE))
    lab.run(max_put_bytes=256 * MIB)
    lab.assert_ready()
    assert put_sizes(lab) == ["12.0 MiB now", "8.0 MiB now"]
    assert lab.object()["sessions_started"] == 1
    assert lab.file().attempts == 0


def test_a_page_of_a_proxy_that_says_too_large_is_no_less_clear(lab: Lab) -> None:
    lab.world.script.add([{"on": "put", "do": "middle-box", "status": 413}])
    lab.enqueue(lab.model(a_bin=SIZE))
    lab.run(max_put_bytes=256 * MIB)
    lab.assert_ready()
    assert put_sizes(lab) == ["12.0 MiB now"]


def test_whoever_finds_eight_mebibytes_too_large_ends_the_job(lab: Lab) -> None:
    lab.world.script.add([{"on": "put", "do": "status", "status": 413, "times": 0}])
    lab.enqueue(lab.model(a_bin=SIZE))
    lab.run(max_put_bytes=256 * MIB)
    assert (lab.job().status, reason_code(lab)) == (Status.FAILED, "refused")
    assert put_sizes(lab) == ["12.0 MiB now", "8.0 MiB now"]


@pytest.mark.parametrize(
    "fault",
    [
        CUT,
        {"on": "put", "do": "status", "status": 504},
        {"on": "put", "do": "middle-box", "status": 408},
    ],
)
def test_a_put_that_dies_twice_at_the_same_place_is_halved(lab: Lab, fault: dict[str, Any]) -> None:
    lab.world.script.add([{**fault, "times": 3}])
    lab.enqueue(lab.model(a_bin=SIZE))
    lab.run(max_put_bytes=256 * MIB)
    lab.assert_ready()
    assert put_sizes(lab) == ["12.0 MiB now"]
    assert lab.object()["sessions_started"] == 1


def test_a_put_that_gets_a_little_further_each_time_is_not_halved(lab: Lab) -> None:
    lab.world.script.add([{**CUT, "at_byte": GRANULE + 1000, "times": 4}])
    lab.enqueue(lab.model(a_bin=SIZE))
    lab.run(max_put_bytes=256 * MIB)
    lab.assert_ready()
    assert put_sizes(lab) == []


def test_shorter_puts_are_for_the_whole_job_and_for_no_other(lab: Lab) -> None:
    lab.world.script.add([{"on": "put", "do": "status", "status": 413, "match": "one/a.bin"}])
    for name in ("one", "two"):
        lab.enqueue(lab.model(name, a_bin=SIZE, b_bin=GRANULE))
    with lab.worker(max_put_bytes=256 * MIB) as worker:
        lab.finish(lambda: worker.run(until_idle=True))
        context = worker._context
        assert [context.most_put_bytes(job_id) for job_id in (1, 2)] == [12 * MIB, 256 * MIB]
    assert (put_sizes(lab, 1), put_sizes(lab, 2)) == (["12.0 MiB now"], [])


def test_a_worker_that_is_started_anew_tries_long_puts_again(lab: Lab) -> None:
    lab.world.script.add([{"on": "put", "do": "status", "status": 413}])
    lab.enqueue(lab.model(a_bin=SIZE))
    lab.run(max_put_bytes=256 * MIB)
    with lab.worker(max_put_bytes=256 * MIB) as worker:
        assert worker._context.most_put_bytes(1) == 256 * MIB


# -- another session, fresh URLs, the end --------------------------------------------------


def test_a_file_none_of_whose_puts_gets_through_gets_other_sessions_and_then_fails(
    lab: Lab,
) -> None:
    lab.world.script.add([{**CUT, "times": 0}])
    lab.enqueue(lab.model(a_bin=GRANULE))
    lab.run()
    assert (lab.job().status, reason_code(lab)) == (Status.FAILED, "cut_short")
    assert lab.file().attempts == 20
    assert lab.object()["sessions_started"] == 2


def test_a_session_that_holds_bytes_is_never_given_up_for_puts_that_die(lab: Lab) -> None:
    lab.world.script.add([{**CUT, "from": 2}])
    lab.enqueue(lab.model(a_bin=10 * GRANULE))
    lab.run(max_put_bytes=4 * GRANULE)
    assert (lab.job().status, reason_code(lab)) == (Status.FAILED, "cut_short")
    assert lab.object()["sessions_started"] == 1
    assert lab.file().checkpoint.offset == 4 * GRANULE


@pytest.fixture
def keeps_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A storage that keeps every byte that arrived, not whole granules."""
    monkeypatch.setattr(part, "GRANULE_BYTES", 1)


@pytest.mark.usefixtures("keeps_bytes")
@pytest.mark.parametrize("kept", [1, 10_000])
@pytest.mark.parametrize(("do", "code"), [("cut", "cut_short"), ("short-308", "kept_nothing")])
def test_whoever_keeps_a_few_bytes_of_each_put_keeps_nothing(
    lab: Lab, do: str, code: str, kept: int
) -> None:
    lab.world.script.add([{"on": "put", "do": do, "at_byte": kept, "times": 0}])
    lab.enqueue(lab.model(a_bin=SIZE))
    lab.run()
    assert (lab.job().status, reason_code(lab)) == (Status.FAILED, code)
    assert lab.file().attempts == 20
    assert lab.file().checkpoint.offset in (19 * kept, 20 * kept)
    assert lab.object()["sessions_started"] == 1


@pytest.mark.usefixtures("keeps_bytes")
@pytest.mark.parametrize("do", ["cut", "short-308"])
def test_whoever_keeps_a_granule_every_few_puts_is_not_given_up(lab: Lab, do: str) -> None:
    lab.world.script.add([{"on": "put", "do": do, "at_byte": 50_000, "times": 52}])
    lab.enqueue(lab.model(a_bin=10 * GRANULE))
    lab.run()
    lab.assert_ready()
    assert lab.file().attempts > 20


@pytest.mark.usefixtures("keeps_bytes")
def test_sessions_that_are_lost_a_few_bytes_further_each_time_end_the_job(lab: Lab) -> None:
    for lost in range(1, 9):
        cut = {"on": "put", "do": "cut", "at_byte": lost, "nth": 2 * lost - 1}
        lab.world.script.add([cut, {"on": "put", "do": "dead-session", "nth": 2 * lost}])
    lab.enqueue(lab.model(a_bin=SIZE))
    lab.run()
    assert (lab.job().status, reason_code(lab)) == (Status.FAILED, "session_lost_repeatedly")
    assert lab.object()["sessions_started"] == 5


def test_a_job_that_is_given_back_after_each_cut_tells_no_more_of_them(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has one file, so that each try is a claim of its own, and each keeps a granule."""
    monkeypatch.setattr(repeats, "FIRST", 5)
    lab.world.script.add([{**CUT, "at_byte": GRANULE + 1000, "times": 60}])
    lab.enqueue(lab.model(a_bin=70 * GRANULE))
    began_s = lab.clock.boot_s()
    lab.run()
    lab.assert_ready()
    minutes = (lab.clock.boot_s() - began_s) / 60
    assert lab.file().attempts == 60
    for kind in ("file_failed", "session_resumed"):
        assert lab.kinds().count(kind) <= 5 + 2 * (1 + minutes)


def test_a_plain_put_that_dies_again_and_again_gets_a_fresh_url(lab: Lab) -> None:
    lab.world.config.url_kind = "put"
    lab.world.script.add([{**CUT, "times": 11}])
    lab.enqueue(lab.model(a_bin=SIZE))
    lab.run()
    lab.assert_ready()
    assert lab.world.report()["urls_calls"] == 2
    assert lab.file().attempts == 11


def test_a_plain_put_that_never_gets_through_fails_its_job(lab: Lab) -> None:
    lab.world.config.url_kind = "put"
    lab.world.script.add([{**CUT, "times": 0}])
    lab.enqueue(lab.model(a_bin=SIZE))
    lab.run()
    assert (lab.job().status, reason_code(lab)) == (Status.FAILED, "cut_short")
    assert lab.file().attempts == 20


def test_a_box_on_the_way_that_refuses_for_a_while_costs_no_session(lab: Lab) -> None:
    boxes = [
        {"on": on, "do": "middle-box", "status": status, "times": 2}
        for on in ("start", "put", "query")
        for status in (403, 511)
    ]
    lab.world.script.add(boxes)
    lab.enqueue(lab.model(a_bin=SIZE))
    lab.run()
    lab.assert_ready()
    assert lab.object()["sessions_started"] == 1
    assert not lab.job().plain_put
    assert lab.world.report()["urls_calls"] == 1


@pytest.mark.parametrize("on", ["start", "put"])
def test_a_firewall_whose_rule_stays_fails_the_job_and_is_named(lab: Lab, on: str) -> None:
    lab.world.script.add([{"on": on, "do": "middle-box", "status": 403, "times": 0}])
    lab.enqueue(lab.model(a_bin=GRANULE))
    lab.run()
    reason = lab.job().reason
    assert reason is not None
    assert (lab.job().status, reason.code) == (Status.FAILED, "middle_box")
    assert "by a proxy or firewall on the way" in reason.message
    assert lab.file().attempts == 20


def without_range(on: tuple[str, ...], nth: int = 1) -> list[dict[str, Any]]:
    """A proxy that removes the header Range from every answer, from the ``nth`` on."""
    return [{"on": one, "do": "lost-range", "from": nth} for one in on]


@pytest.mark.parametrize("nth", [1, 2], ids=["at once", "later"])
def test_a_proxy_that_removes_range_ends_the_job_and_is_named(lab: Lab, nth: int) -> None:
    lab.world.script.add([*without_range(("put",), nth), *without_range(("query",))])
    lab.enqueue(lab.model(a_bin=SIZE))
    lab.run(max_put_bytes=8 * MIB)
    reason = lab.job().reason
    assert reason is not None
    assert (lab.job().status, reason.code) == (Status.FAILED, "kept_nothing")
    assert "proxy removes the header Range" in reason.hint
    assert "transfer.chunk_size" in reason.hint
    assert lab.file().attempts == 20
    assert lab.object()["body_bytes_read"] <= 21 * 8 * MIB


def test_a_file_of_one_put_goes_through_a_proxy_that_removes_range(lab: Lab) -> None:
    """Its answer is 200: no offset is needed, and after a cut all of it is sent again."""
    cut = {"on": "put", "do": "cut", "at_byte": 5 * MIB}
    lab.world.script.add([cut, *without_range(("put", "query"))])
    lab.enqueue(lab.model(a_bin=SIZE))
    lab.run(max_put_bytes=32 * MIB)
    assert lab.job().status is Status.DONE
    assert lab.file().verified
    assert lab.object()["body_bytes_read"] == 5 * MIB + SIZE


@pytest.mark.parametrize("on", ["put", "query"])
def test_a_range_that_one_kind_of_answer_has_is_enough(lab: Lab, on: str) -> None:
    lab.world.script.add([{**CUT, "at_byte": 5 * MIB, "nth": 2}, *without_range((on,))])
    lab.enqueue(lab.model(a_bin=SIZE))
    lab.run(max_put_bytes=8 * MIB)
    assert lab.job().status is Status.DONE
    assert lab.file().verified
    assert lab.object()["sessions_started"] == 1


def test_a_night_without_a_network_counts_against_no_put(lab: Lab) -> None:
    night = [{"on": on, "do": "reset-before", "times": 6} for on in ("put", "query")]
    lab.world.script.add(night)
    lab.enqueue(lab.model(a_bin=SIZE))
    lab.run(max_put_bytes=256 * MIB)
    lab.assert_ready()
    assert put_sizes(lab) == []
    assert lab.object()["sessions_started"] == 1


# -- sources -------------------------------------------------------------------------------


def test_a_file_that_is_written_to_whenever_it_is_sent_ends_its_job(lab: Lab) -> None:
    folder = lab.model(a_bin=GRANULE)
    stamps = iter(range(1, 10**6))

    def touch(name: str) -> None:
        if name == "put block":
            os.utime(folder / "a.bin", ns=(0, next(stamps) * 10**9))

    lab.boundary = touch
    lab.enqueue(folder)
    lab.run()
    assert (lab.job().status, reason_code(lab)) == (Status.FAILED, "source_unsettled")
    assert lab.file().attempts == 20


# -- what a cut of a plain PUT costs -------------------------------------------------------


def test_a_large_file_without_a_session_is_warned_of_once(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uploader.core.job._COSTLY_PUT_BYTES", MIB)
    lab.world.config.url_kind = "put"
    lab.world.script.add([{**CUT, "times": 10, "match": "a.bin"}])  # another map is asked for
    lab.enqueue(lab.model(a_bin=2 * MIB, b_bin=MIB - 1))
    lab.run()
    lab.assert_ready()
    assert lab.world.report()["urls_calls"] == 2
    told = [event for event in lab.jobs.events(1) if event.kind == "costly_put"]
    assert [event.path for event in told] == ["a.bin"]
    assert "2.0 MiB" in told[0].message
