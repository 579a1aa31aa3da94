"""After a 429 no call leaves before its time, by whichever client."""

from __future__ import annotations

import pytest

from tests.remote.conftest import Serve
from tests.remote.fireworks.conftest import BARE, Connect, model
from tests.remote.scripted import HandClock, Reply
from uploader.core.errors import RemoteError
from uploader.core.verdict import Call, Verdict
from uploader.remote.gate import Gate


def test_after_a_429_no_call_leaves_until_the_wish_has_passed(
    serve: Serve, connect: Connect, clock: HandClock
) -> None:
    server = serve(Reply(429, {"Retry-After": "30"}), model())
    first, second = connect(server), connect(server)
    with pytest.raises(RemoteError) as caught:
        first.get("a", "m")
    assert (caught.value.verdict, caught.value.retry_after_s) == (Verdict.THROTTLED, 30)
    clock.boot += 29
    for call in (first.account, lambda: second.validate("a", "m")):
        with pytest.raises(RemoteError) as caught:
            call()
        assert caught.value.verdict is Verdict.THROTTLED
        assert caught.value.retry_after_s == pytest.approx(2)  # 30 + 0.5 · 2 - 29
    assert len(server.seen) == 1
    clock.boot += 2
    assert second.get("a", "m") == BARE
    assert len(server.seen) == 2


def test_without_a_wish_the_gate_backs_off_further_each_time(gate: Gate, clock: HandClock) -> None:
    waits = []
    for _ in range(4):
        gate.close(None)
        with pytest.raises(RemoteError) as caught:
            gate.check(Call.GET)
        waits.append(caught.value.retry_after_s)
        clock.boot += caught.value.retry_after_s or 0
        gate.check(Call.GET)
    assert waits == pytest.approx([1, 2, 4, 8])
    gate.passed()
    gate.close(None)
    with pytest.raises(RemoteError) as caught:
        gate.check(Call.GET)
    assert caught.value.retry_after_s == pytest.approx(1)


def test_answers_that_cross_each_other_count_once_and_the_longest_wish_wins(
    gate: Gate, clock: HandClock
) -> None:
    for wish in (10, 50, 20):
        gate.close(wish)
    clock.boot += 50
    with pytest.raises(RemoteError) as caught:
        gate.check(Call.GET)
    assert caught.value.retry_after_s == pytest.approx(1)


def test_another_error_leaves_the_gate_open(serve: Serve, connect: Connect) -> None:
    server = serve(Reply(503, {"Retry-After": "30"}), Reply(400), model())
    api = connect(server)
    for verdict in (Verdict.TRANSIENT, Verdict.FAILED):
        with pytest.raises(RemoteError) as caught:
            api.get("a", "m")
        assert caught.value.verdict is verdict
    api.get("a", "m")
    assert len(server.seen) == 3
