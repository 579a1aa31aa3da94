"""Each fault: what the client sees, and what has happened all the same."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests

if TYPE_CHECKING:
    from tests.sandbox.conftest import Make

GRANULE = 256 * 1024


def fault(do: str, on: str = "put", **fields: Any) -> dict[str, Any]:
    return {"on": on, "do": do, **fields}


def test_a_cut_keeps_what_arrived_down_to_a_granule(
    make: Make, content: bytes, tmp_path: Path
) -> None:
    remote = make(faults=[fault("cut", at_byte=2 * GRANULE + 5)])
    uri, size = remote.session(len(content)), len(content)
    with pytest.raises(requests.ConnectionError):
        remote.put(uri, content)
    seen = remote.seen()
    assert (seen["body_bytes_read"], seen["persisted"]) == (2 * GRANULE + 5, 2 * GRANULE)
    assert (seen["cuts"], seen["size"]) == (1, None)
    assert remote.offset(uri) == 2 * GRANULE
    assert remote.put(uri, content[2 * GRANULE :], 2 * GRANULE, size).status_code == 200
    assert (tmp_path / "sandbox/m/f").read_bytes() == content


@pytest.mark.parametrize("at_byte", [0, GRANULE - 1, GRANULE, 10**9])
def test_a_cut_never_completes_an_upload(make: Make, content: bytes, at_byte: int) -> None:
    remote = make(faults=[fault("cut", at_byte=at_byte)])
    uri = remote.session(len(content))
    with pytest.raises(requests.ConnectionError):
        remote.put(uri, content)
    arrived = min(at_byte, len(content) - 1)
    assert remote.offset(uri) == arrived // GRANULE * GRANULE


def test_a_plain_put_that_is_cut_leaves_nothing(make: Make, content: bytes, tmp_path: Path) -> None:
    remote = make(faults=[fault("cut", at_byte=GRANULE)])
    url, headers = remote.url(len(content), resumable=False), remote.signed(len(content))
    with pytest.raises(requests.ConnectionError):
        remote.http.put(url, data=content, headers=headers)
    assert list((tmp_path / "sandbox/m").iterdir()) == []
    assert (remote.seen()["persisted"], remote.seen()["cuts"]) == (0, 1)
    assert remote.http.put(url, data=content, headers=headers).ok


@pytest.mark.parametrize("do", ["lost-answer", "reset-after"])
def test_the_effect_happens_and_the_answer_is_lost(make: Make, do: str) -> None:
    remote = make(faults=[fault(do), fault(do, "create"), fault(do, "cancel")])
    with pytest.raises(requests.ConnectionError):
        remote.create("f")
    assert remote.world.report()["creates"] == 1
    uri = remote.session(1)
    with pytest.raises(requests.ConnectionError):
        remote.put(uri, b"x")
    assert remote.query(uri).status_code == 200
    other = remote.session(1)
    with pytest.raises(requests.ConnectionError):
        remote.http.delete(other, headers={"Content-Length": "0"})
    assert remote.query(other).status_code == 499


def test_a_reset_before_the_effect_leaves_nothing(make: Make) -> None:
    remote = make(faults=[fault("reset-before"), fault("reset-before", "create")])
    with pytest.raises(requests.ConnectionError):
        remote.create("f")
    assert remote.world.report()["creates"] == 0
    uri = remote.session(1)
    with pytest.raises(requests.ConnectionError):
        remote.put(uri, b"x")
    assert remote.offset(uri) == 0


@pytest.mark.parametrize(
    ("fields", "status", "text"),
    [
        ({}, 503, "<Code>InjectedFault</Code>"),
        ({"status": 429, "retry_after": 2}, 429, "<Code>InjectedFault</Code>"),
        ({"status": 408, "body": "slow down"}, 408, "slow down"),
        ({"status": 500, "body": {"a": 1}}, 500, '{"a": 1}'),
    ],
)
def test_a_status_instead_of_the_effect(
    make: Make, fields: dict[str, Any], status: int, text: str
) -> None:
    remote = make(faults=[fault("status", **fields)])
    uri = remote.session(4 * 1024 * 1024)
    answer = remote.put(uri, bytes(4 * 1024 * 1024))
    assert (answer.status_code, text in answer.text) == (status, True)
    assert answer.headers.get("Retry-After") == ("2" if "retry_after" in fields else None)
    assert remote.offset(uri) == 0
    assert remote.world.report()["refused"] == []


def test_a_status_of_the_control_plane_has_a_code(make: Make) -> None:
    remote = make(faults=[fault("status", "validate", status=504), fault("status", "urls")])
    remote.create("f")
    assert (remote.ask_urls({"f": 1}).status_code, remote.validate().json()["code"]) == (503, 4)


@pytest.mark.parametrize(("status", "seen"), [(None, 410), (404, 404)])
@pytest.mark.parametrize("on", ["put", "query"])
def test_a_dead_session_stays_dead(make: Make, on: str, status: int | None, seen: int) -> None:
    remote = make(faults=[fault("dead-session", on, status=status)])
    uri = remote.session(GRANULE)
    first = remote.put(uri, bytes(GRANULE)) if on == "put" else remote.query(uri)
    assert (first.status_code, remote.query(uri).status_code) == (seen, seen)
    assert remote.put(remote.session(GRANULE), bytes(GRANULE)).ok


def test_a_short_308_keeps_a_part(make: Make, content: bytes) -> None:
    remote = make(faults=[fault("short-308", at_byte=GRANULE + 9)])
    uri = remote.session(len(content))
    answer = remote.put(uri, content)
    assert (answer.status_code, answer.headers["Range"]) == (308, f"bytes=0-{GRANULE - 1}")
    assert remote.seen()["body_bytes_read"] == len(content)
    assert remote.put(uri, content[GRANULE:], GRANULE, len(content)).status_code == 200


def test_a_308_without_range_kept_nothing_new(make: Make, content: bytes) -> None:
    remote = make(faults=[fault("no-range-308", nth=2)])
    uri, size = remote.session(len(content)), len(content)
    remote.put(uri, content[:GRANULE], 0, size)
    answer = remote.put(uri, content[GRANULE:], GRANULE, size)
    assert (answer.status_code, "Range" in answer.headers) == (308, False)
    assert remote.offset(uri) == GRANULE


def test_a_range_that_a_proxy_removes_changes_nothing_but_the_answer(
    make: Make, content: bytes, tmp_path: Path
) -> None:
    remote = make(faults=[fault("lost-range"), fault("lost-range", "query")])
    uri, size = remote.session(len(content)), len(content)
    for answer in (remote.put(uri, content[:GRANULE], 0, size), remote.query(uri, size)):
        assert (answer.status_code, "Range" in answer.headers) == (308, False)
    assert remote.offset(uri) == GRANULE
    assert remote.put(uri, content, 0, size).status_code == 200
    assert (tmp_path / "sandbox/m/f").read_bytes() == content


def test_all_stored_but_not_finished(make: Make, content: bytes, tmp_path: Path) -> None:
    remote = make(faults=[fault("no-finish")])
    uri, size = remote.session(len(content)), len(content)
    answer = remote.put(uri, content)
    assert (answer.status_code, answer.headers["Range"]) == (308, f"bytes=0-{size - 1}")
    assert remote.offset(uri) == size
    assert remote.query(uri, size).status_code == 200
    assert (tmp_path / "sandbox/m/f").read_bytes() == content


def test_the_persisted_count_grows_after_a_query(
    make: Make, content: bytes, tmp_path: Path
) -> None:
    remote = make(faults=[fault("growing-ack", "query")])
    uri, size = remote.session(len(content)), len(content)
    remote.put(uri, content[: 2 * GRANULE], 0, size)
    assert remote.offset(uri) == GRANULE
    assert remote.put(uri, content[GRANULE:], GRANULE, size).status_code == 200
    assert remote.world.report()["bytes_below_confirmed"] == 0
    assert (tmp_path / "sandbox/m/f").read_bytes() == content


@pytest.mark.parametrize("on", ["put", "query"])
def test_a_wrong_hash(make: Make, on: str) -> None:
    remote = make(faults=[fault("wrong-hash", on)])
    uri = remote.session(1)
    answers = remote.put(uri, b"x"), remote.query(uri)
    wrong = [answer.headers["x-goog-hash"] == "crc32c=AAAAAA==" for answer in answers]
    assert wrong == [on == "put", on == "query"]


def test_an_expired_url(make: Make) -> None:
    remote = make(faults=[fault("expired-url", "start")])
    url = remote.url(1)
    assert "ExpiredToken" in remote.start(url, 1).text
    assert remote.start(url, 1).status_code == 201


def test_malformed_json(make: Make) -> None:
    remote = make(faults=[fault("malformed-json", "create")])
    answer = remote.create("f")
    assert answer.status_code == 200
    with pytest.raises(requests.JSONDecodeError):
        answer.json()
    assert remote.world.report()["creates"] == 1


@pytest.mark.parametrize(
    ("script", "waits"),
    [
        (fault("stall", at_byte=9, seconds=3), [3]),
        (fault("latency", seconds=2), [2]),
        (fault("drip", seconds=0.5), [0.5, 0.5, 0.5]),
    ],
)
def test_faults_that_take_time_wait_by_the_injected_clock(
    make: Make, script: dict[str, Any], waits: list[float]
) -> None:
    waited: list[float] = []
    remote = make(faults=[script], sleep=waited.append)
    assert remote.put(remote.session(20_000), bytes(20_000)).status_code == 200
    assert waited == waits


def test_match_picks_the_file(make: Make) -> None:
    remote = make(faults=[fault("status", match="m/other"), fault("status", "get", match="/m")])
    assert remote.put(remote.session(1), b"x").ok
    assert remote.call("GET", "/models/m").status_code == 503


def test_clock_skew(make: Make) -> None:
    remote = make(clock_skew_s=-7200.0)
    assert remote.start(remote.url(1), 1).status_code == 201
    assert remote.world.now() < time.time() - 7000


@pytest.mark.parametrize("seed", range(4))
def test_an_upload_survives_chaos(make: Make, content: bytes, tmp_path: Path, seed: int) -> None:
    remote = make(seed=seed)
    uri, size = remote.session(len(content)), len(content)
    remote.world.config.change({"chaos": 0.7})
    for _ in range(200):
        try:
            answer = remote.query(uri, size)
            if answer.status_code == 308:
                held = answer.headers.get("Range", "bytes=0--1")
                first = int(held.removeprefix("bytes=0-")) + 1
                answer = remote.put(uri, content[first:], first, size)
        except requests.ConnectionError:
            continue
        if answer.status_code == 200:
            break
    assert (tmp_path / "sandbox/m/f").read_bytes() == content
    assert remote.world.report()["bytes_below_confirmed"] == 0
