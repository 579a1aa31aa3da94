"""What the storage service says is believed as far as it is proven, and not for ever."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text

from tests.engine.conftest import GRANULE, Lab
from uploader.core.errors import RemoteError
from uploader.core.job import Status
from uploader.core.lifecycle import Verb
from uploader.core.reasons import Code
from uploader.core.resumable import Confirmed, Finished
from uploader.core.verdict import Call, Verdict
from uploader.remote import storage

SIZE = 10 * GRANULE + 7


def reason_code(lab: Lab) -> str | None:
    reason = lab.job().reason
    return None if reason is None else reason.code


# -- a success that is not true ------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 201])
@pytest.mark.parametrize("nth", [1, 2, 3])
@pytest.mark.parametrize("times", [1, 3])
def test_a_middle_box_that_says_ok_to_a_put_stores_nothing(
    lab: Lab, status: int, nth: int, times: int
) -> None:
    fault = {"on": "put", "do": "status", "status": status, "nth": nth, "times": times}
    lab.world.script.add([fault])
    lab.enqueue(lab.model(a_bin=SIZE))
    lab.run()
    lab.assert_ready()
    assert lab.file().verified
    assert lab.object()["sessions_started"] == 1


def test_a_middle_box_that_says_ok_to_every_put_is_found_out(lab: Lab) -> None:
    lab.world.script.add([{"on": "put", "do": "status", "status": 200, "times": 0}])
    lab.enqueue(lab.model(a_bin=SIZE))
    lab.run()
    assert (lab.job().status, reason_code(lab)) == (Status.FAILED, "kept_nothing")
    assert lab.world.report()["early_validations"] == 0


def test_a_middle_box_that_says_ok_to_everything_breaks_the_protocol(lab: Lab) -> None:
    ok = {"do": "status", "status": 200, "times": 0}
    lab.world.script.add([{"on": "put", **ok}, {"on": "query", **ok}])
    lab.enqueue(lab.model(a_bin=SIZE))
    lab.run()
    assert (lab.job().status, reason_code(lab)) == (Status.FAILED, "protocol")
    assert not lab.file().stored


@pytest.mark.parametrize("status", [200, 201, 204, 302, 307, 308])
@pytest.mark.parametrize("size", [100, SIZE])
@pytest.mark.parametrize("plain_put", [False, True])
def test_a_portal_that_answers_everything_with_a_page_is_never_believed(
    lab: Lab, status: int, size: int, *, plain_put: bool
) -> None:
    portal = {"do": "middle-box", "status": status, "times": 0}
    refused = [{"on": "start", "do": "status", "status": 403}] if plain_put else []
    lab.world.script.add([*refused, {"on": "put", **portal}, {"on": "query", **portal}])
    lab.enqueue(lab.model(a_bin=size))
    lab.run()
    assert (lab.job().status, reason_code(lab)) == (Status.FAILED, "middle_box")
    assert not lab.file().stored
    assert lab.world.report()["early_validations"] == 0


@pytest.mark.parametrize("status", [200, 204, 302, 307, 308, 407])
@pytest.mark.parametrize("on", ["create", "get", "urls", "validate", "start", "put", "query"])
def test_a_portal_that_goes_away_has_cost_nothing(lab: Lab, on: str, status: int) -> None:
    if on == "create" and status == 308:
        pytest.skip("a wrong base URL is answered like this, and said at once")
    doubt = [{"on": "put", "do": "cut", "nth": 2, "at_byte": 5}] if on == "query" else []
    lab.world.script.add([{"on": on, "do": "middle-box", "status": status, "times": 3}, *doubt])
    lab.enqueue(lab.model(a_bin=SIZE))
    lab.run()
    lab.assert_ready()
    assert lab.object()["sessions_started"] == 1
    assert lab.world.report()["early_validations"] == 0


@pytest.mark.parametrize("body", ["OK", "", {"status": "ok"}])
@pytest.mark.parametrize("plain_put", [False, True])
def test_a_gateway_that_says_ok_to_put_and_query_is_asked_again_until_all_is_stored(
    lab: Lab, body: object, *, plain_put: bool
) -> None:
    ok = {"do": "middle-box", "status": 200, "body": body, "times": 2}
    refused = [{"on": "start", "do": "status", "status": 403}] if plain_put else []
    lab.world.script.add([*refused, {"on": "put", **ok}, {"on": "query", **ok}])
    lab.enqueue(lab.model(a_bin=100))
    lab.run()
    lab.assert_ready()
    assert lab.file().verified


@pytest.mark.parametrize("status", [404, 410])
@pytest.mark.parametrize("body", ["404 page not found", "", {"message": "no Route matched"}])
@pytest.mark.parametrize("on", ["start", "put", "query"])
def test_a_gateway_that_knows_no_such_place_drops_no_session(
    lab: Lab, on: str, body: object, status: int
) -> None:
    lost = {"on": on, "do": "middle-box", "status": status, "body": body, "times": 3}
    lab.world.script.add([lost, {"on": "put", "do": "cut", "nth": 2, "at_byte": 5}])
    lab.enqueue(lab.model(a_bin=SIZE))
    lab.run()
    lab.assert_ready()
    assert lab.object()["sessions_started"] == 1
    assert "session_dropped" not in lab.kinds()


def test_a_model_that_a_portal_calls_deleted_is_deleted_later(lab: Lab) -> None:
    lab.world.script.add([{"on": "start", "do": "status", "status": 503, "times": 0}])
    lab.enqueue(lab.model(a_bin=SIZE))
    lab.run_until(lambda: lab.file().failures > 0)
    lab.world.script.add([{"on": "delete", "do": "middle-box", "status": 200}])
    lab.jobs.apply(1, Verb.CANCEL, lab.clock.now(), delete_remote=True)
    lab.run_until(lambda: "closed" in lab.kinds())
    assert lab.world.report()["models"] == {}


def without_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "stored_facts", lambda *_: Finished())
    monkeypatch.setattr("uploader.core.resumable.stored_facts", lambda *_: Finished())


def test_a_service_that_gives_no_facts_is_believed_after_the_last_byte(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_facts(monkeypatch)
    lab.enqueue(lab.model(a_bin=SIZE, b_bin=0))
    lab.run()
    lab.assert_ready()
    assert not lab.file().verified
    assert lab.object()["queries"] == 1


def test_a_lost_last_answer_of_a_service_that_gives_no_facts_is_not_a_reason_to_doubt(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_facts(monkeypatch)
    lab.world.script.add([{"on": "put", "do": "lost-answer", "nth": 3}])
    lab.enqueue(lab.model(a_bin=SIZE))
    lab.run()
    lab.assert_ready()
    assert lab.object()["body_bytes_read"] == SIZE


# -- a claim to hold more than was sent ----------------------------------------------------


def keeps_what_it_says(monkeypatch: pytest.MonkeyPatch, held: Callable[[int, int], int]) -> None:
    """A storage without checksums; ``held``: what it says of a PUT, by its end and the size."""
    state = {"held": 0}

    def send(_: Any, __: Any, body: Any, _start: int, stop: int, size: int) -> Any:
        list(body)
        state["held"] = held(stop, size)
        return Finished(size) if stop == size else Confirmed(state["held"])

    monkeypatch.setattr(storage.Storage, "send", send)
    monkeypatch.setattr(storage.Storage, "query", lambda *_: Confirmed(state["held"]))


def test_an_offset_beyond_all_that_was_sent_is_not_believed(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeps_what_it_says(monkeypatch, lambda _, size: size - 1)
    lab.enqueue(lab.model(a_bin=SIZE))
    lab.run()
    assert lab.job().status is Status.FAILED
    assert not lab.file().stored
    assert any(event.message.endswith("that were never sent") for event in lab.jobs.events(1))


def test_of_a_put_that_was_cut_no_more_is_believed_than_was_sent(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says that it has the first 4 granules, of which one block was sent, and no checksum."""

    def send(_: Any, __: Any, body: Any, start: int, stop: int, size: int) -> Any:
        if start == 0:
            body.read()
            raise RemoteError(Verdict.TRANSIENT, Call.DATA, "cut", code=Code.UNAVAILABLE)
        list(body)
        return Finished(size) if stop == size else Confirmed(stop)

    monkeypatch.setattr(storage.Storage, "send", send)
    monkeypatch.setattr(storage.Storage, "query", lambda *_: Confirmed(4 * GRANULE))
    lab.enqueue(lab.model(a_bin=SIZE))
    lab.run()
    assert (lab.job().status, reason_code(lab)) == (Status.FAILED, "corrupted")
    assert not lab.file().stored


def forget_what_was_sent(lab: Lab) -> None:
    """As after a power cut: the row is old, and no mark is left."""
    with lab.engine.begin() as connection:
        nothing = "offset = 0, offset_crc32c = 0, mark_bytes = 0, mark_crc32c = 0, bytes_sent = 0"
        connection.execute(text(f"UPDATE files SET {nothing}"))
    for mark in (lab.state / "marks").iterdir():
        mark.unlink()


@pytest.mark.parametrize(("facts", "sessions"), [(True, 1), (False, 2)])
def test_after_a_power_cut_what_is_held_counts_if_a_checksum_shows_it(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, *, facts: bool, sessions: int
) -> None:
    if not facts:
        without_facts(monkeypatch)
    lab.bytes_per_s = GRANULE
    lab.enqueue(lab.model(a_bin=SIZE))
    lab.run_until(lambda: lab.file().checkpoint.offset >= 4 * GRANULE)
    forget_what_was_sent(lab)
    lab.bytes_per_s = None
    lab.run()
    lab.assert_ready()
    assert (lab.file().verified, lab.object()["sessions_started"]) == (facts, sessions)


# -- losing sessions -----------------------------------------------------------------------


def test_an_object_without_a_checksum_is_only_believed_if_all_of_it_was_sent(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage.Storage, "query", lambda _, __, size_bytes: Finished(size_bytes))
    lab.world.script.add([{"on": "put", "do": "status", "status": 503, "nth": 2}])
    lab.enqueue(lab.model(a_bin=SIZE))
    lab.run()
    lab.assert_ready()
    assert lab.file().verified
    assert lab.object()["sessions_started"] == 2
    (dropped,) = [event for event in lab.jobs.events(1) if event.kind == "session_dropped"]
    assert dropped.path == "a.bin"


def test_a_session_that_dies_again_and_again_at_the_same_place_ends_the_job(lab: Lab) -> None:
    dead = {"on": "put", "match": "a.bin", "do": "dead-session", "times": 0}
    lab.world.script.add([dead])
    lab.enqueue(lab.model(a_bin=SIZE, b_bin=SIZE))
    lab.run()
    assert (lab.job().status, reason_code(lab)) == (Status.FAILED, "session_lost_repeatedly")
    assert lab.object("a.bin")["sessions_started"] == 5
    assert lab.kinds().count("sessions_lost") == 3
    assert lab.file("b.bin").stored


def test_after_a_retry_a_file_may_lose_as_many_sessions_again(lab: Lab) -> None:
    dead = {"on": "put", "match": "a.bin", "do": "dead-session", "times": 7}
    lab.world.script.add([dead])
    lab.enqueue(lab.model(a_bin=SIZE))
    lab.run()
    assert reason_code(lab) == "session_lost_repeatedly"
    lab.jobs.apply(1, Verb.RETRY, lab.clock.now())
    lab.run()
    lab.assert_ready()


def test_sessions_that_get_further_each_time_are_not_counted(lab: Lab) -> None:
    """Each of eight sessions confirms one PUT more than the one before, and dies."""
    puts = 1
    faults: list[dict[str, Any]] = []
    for confirmed in range(1, 9):
        puts += confirmed
        faults.append({"on": "put", "do": "dead-session", "nth": puts})
        puts += 1
    lab.world.script.add(faults)
    lab.enqueue(lab.model(a_bin=40 * GRANULE))
    lab.run()
    lab.assert_ready()
    assert lab.object()["sessions_started"] == 9
    assert "sessions_lost" not in lab.kinds()


def test_a_session_that_dies_of_age_before_its_turn_says_nothing_about_its_file(lab: Lab) -> None:
    """Four files are being sent, two have only their sessions; then the machine is off."""
    lab.bytes_per_s = GRANULE / 60
    lab.enqueue(lab.model("model", **{f"{name}_bin": 20 * GRANULE for name in "abcdef"}))
    lab.run_until(lambda: sum(file.mark.offset > 0 for file in lab.jobs.files(1)) == 4)
    begun = {file.path: file.mark.offset > 0 for file in lab.jobs.files(1)}
    assert all(file.session is not None for file in lab.jobs.files(1))
    lab.sim.suspend(8 * 86_400)
    lab.bytes_per_s = None
    lab.run()
    lab.assert_ready()
    counts = {file.path: file.old_sessions_lost > 0 for file in lab.jobs.files(1)}
    assert counts == begun
    assert [file.sessions for file in lab.jobs.files(1)] == [2] * 6


# -- the bounds of other causes ------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "code", "tries"),
    [
        ({"on": "start", "do": "expired-url"}, "url_expired", 5),
        ({"on": "put", "do": "no-range-308"}, "kept_nothing", 20),
    ],
    ids=lambda value: value["do"] if isinstance(value, dict) else str(value),
)
def test_what_never_gets_better_ends_the_job(
    lab: Lab, fault: dict[str, Any], code: str, tries: int
) -> None:
    lab.world.script.add([{**fault, "times": 0}])
    lab.enqueue(lab.model(a_bin=GRANULE))
    lab.run()
    assert (lab.job().status, reason_code(lab)) == (Status.FAILED, code)
    assert lab.file().attempts == tries


def test_an_outage_has_no_bound(lab: Lab) -> None:
    lab.world.script.add([{"on": "start", "do": "status", "status": 503, "times": 0}])
    lab.enqueue(lab.model(a_bin=GRANULE))
    began_s = lab.clock.boot_s()
    lab.run_until(lambda: lab.clock.boot_s() - began_s > 1800)
    assert lab.job().status is Status.ACTIVE
    assert lab.file().failures > 20
    lab.world.script.clear()
    lab.run()
    lab.assert_ready()
