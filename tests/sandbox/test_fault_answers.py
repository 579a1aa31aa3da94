"""Faults of answers: what a client reads, and what has happened all the same."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

import pytest
import requests

from uploader.sandbox.kinds import CONTROL, KINDS
from uploader.sandbox.script import ScriptError, parse

if TYPE_CHECKING:
    from tests.sandbox.conftest import Make, Remote

GRANULE = 256 * 1024
MIB = 1 << 20
DEADLINE_S = 60.0


def fault(do: str, on: str = "put", **fields: Any) -> dict[str, Any]:
    return {"on": on, "do": do, **fields}


@pytest.mark.parametrize("status", [200, 201])
def test_a_success_that_is_not_true_has_read_all_and_stored_nothing(
    make: Make, status: int
) -> None:
    remote = make(faults=[fault("status", status=status, match="f")])
    uri = remote.session(8 * MIB)
    answer = remote.put(uri, bytes(4 * MIB), 0, 8 * MIB)
    assert (answer.status_code, answer.content) == (status, b"")
    assert "x-goog-hash" not in answer.headers
    assert remote.offset(uri) == 0


def test_a_success_can_hide_what_was_stored(make: Make, content: bytes) -> None:
    remote = make(faults=[fault("status-after", status=200)])
    uri = remote.session(len(content))
    assert remote.put(uri, content[:GRANULE], 0, len(content)).status_code == 200
    assert remote.offset(uri) == GRANULE


@pytest.mark.parametrize("status", [403, 400, 413])
def test_an_early_refusal_ends_the_connection(make: Make, status: int) -> None:
    remote = make(faults=[fault("status", status=status, at_byte=65536)])
    uri = remote.session(64 * MIB)
    try:
        answer = remote.put(uri, bytes(64 * MIB))
    except requests.ConnectionError:
        pass  # the connection broke while the client was still sending
    else:
        assert answer.status_code == status
    assert remote.seen()["puts"] == 0
    assert remote.offset(uri) == 0


@pytest.mark.parametrize(
    ("fields", "status"),
    [({}, 403), ({"status": 511}, 511), ({"status": 429, "retry_after": 7}, 429)],
)
@pytest.mark.parametrize("on", ["put", "validate"])
def test_a_middle_box_answers_in_html_and_without_the_services_headers(
    make: Make, fields: dict[str, Any], status: int, on: str
) -> None:
    remote = make(faults=[fault("middle-box", on, **fields)])
    uri = remote.session(1)
    answer = remote.put(uri, b"x") if on == "put" else remote.validate()
    assert (answer.status_code, "<html>" in answer.text) == (status, True)
    assert answer.headers["Content-Type"].startswith("text/html")
    assert answer.headers.get("Retry-After") == ("7" if "retry_after" in fields else None)
    assert not {"x-guploader-uploadid", "x-goog-hash", "x-request-id"} & {*answer.headers}
    assert remote.world.report()["validate_calls"] == 0
    assert remote.offset(uri) == 0


@pytest.mark.parametrize(
    ("body", "kind"), [("OK", "text/plain"), ("", "text/plain"), ({"a": 1}, "application/json")]
)
def test_a_middle_box_may_say_what_it_likes(make: Make, body: object, kind: str) -> None:
    remote = make(faults=[fault("middle-box", status=200, body=body)])
    answer = remote.put(remote.session(1), b"x")
    text = body if isinstance(body, str) else '{"a": 1}'
    assert (answer.status_code, answer.text) == (200, text)
    assert answer.headers["Content-Type"] == kind
    assert "x-guploader-uploadid" not in answer.headers


def test_every_answer_of_the_services_has_their_headers(make: Make) -> None:
    remote = make(faults=[fault("status"), fault("status", "validate")])
    uri = remote.session(1)
    storage = [remote.put(uri, b"x"), remote.put(uri, b"x"), remote.http.get(uri)]
    storage.append(remote.http.get(f"{remote.world.storage_url}/other/x"))
    control = [remote.validate(), remote.call("GET", "/models/m"), remote.call("GET", "/models/x")]
    control += [remote.call("PUT", "/models/m"), remote.call("GET", "/nothing")]
    statuses = [503, 200, 405, 404, 503, 200, 404, 405, 404]
    assert [a.status_code for a in (*storage, *control)] == statuses
    assert all(answer.headers["x-guploader-uploadid"] for answer in storage)
    ids = [answer.headers["x-request-id"] for answer in control]
    assert len({*ids}) == 5


def test_an_error_can_give_its_reason_in_details(make: Make) -> None:
    remote = make(faults=[fault("status", "create", status=429, reason="QUOTA_EXCEEDED")])
    document = remote.create("f").json()
    assert document["code"] == 8
    assert [detail["reason"] for detail in document["details"]] == ["QUOTA_EXCEEDED"]
    assert document["details"][0]["@type"] == "type.googleapis.com/google.rpc.ErrorInfo"


@pytest.mark.parametrize("status", [409, 405])
def test_the_second_map_can_be_refused_for_ever(make: Make, status: int) -> None:
    remote = make(faults=[{"on": "urls", "from": 2, "do": "status", "status": status}])
    remote.create("f")
    answers = [remote.ask_urls({"f": 1}).status_code for _ in range(4)]
    assert answers == [200, status, status, status]


@pytest.mark.parametrize("do", ["other-paths", "other_paths"])
def test_a_later_map_can_lead_elsewhere(make: Make, do: str, content: bytes) -> None:
    remote = make(faults=[{"on": "urls", "from": 2, "do": do}], landing_polls=0)
    first = remote.session(len(content))
    again = [remote.session(len(content)) for _ in range(2)]
    assert len({uri.partition("?")[0] for uri in (first, *again)}) == 3
    assert remote.put(first, content).ok
    assert remote.put(again[1], content).ok
    assert remote.validate().ok
    assert remote.world.report()["early_validations"] == 0


def test_an_object_at_an_old_path_has_not_landed(make: Make, content: bytes) -> None:
    remote = make(faults=[{"on": "urls", "from": 2, "do": "other-paths"}], landing_polls=0)
    first = remote.session(len(content))
    remote.session(len(content))
    assert remote.put(first, content).ok
    assert remote.validate().json()["code"] == 9


def test_sessions_die_at_the_same_byte_again_and_again(make: Make, content: bytes) -> None:
    remote = make(faults=[fault("dead-session", at_byte=2 * GRANULE, times=0)])
    for _ in range(3):
        uri, size = remote.session(len(content)), len(content)
        assert remote.put(uri, content[:GRANULE], 0, size).status_code == 308
        assert remote.put(uri, content[GRANULE:], GRANULE, size).status_code == 410
        assert remote.query(uri).status_code == 410
    assert remote.seen()["size"] is None


def test_a_store_and_forward_proxy_answers_by_the_size_of_the_body(make: Make) -> None:
    waited: list[float] = []
    script = fault("store-and-forward", bytes_per_s=MIB, times=0)
    remote = make(faults=[script], sleep=waited.append)
    assert remote.put(remote.session(2 * MIB), bytes(2 * MIB)).status_code == 200
    assert sum(waited) == pytest.approx(2)


def test_a_proxy_hands_on_what_it_took_at_its_own_rate(make: Make) -> None:
    offsets: list[int] = []
    remotes: list[Remote] = []

    def look(_: float) -> None:
        offsets.append(remotes[0].seen()["persisted"])

    remotes.append(make(faults=[fault("store-and-forward")], sleep=look))
    assert remotes[0].put(remotes[0].session(4 * GRANULE), bytes(4 * GRANULE)).ok
    assert {0, GRANULE, 2 * GRANULE, 3 * GRANULE} <= {*offsets}


def test_an_oversize_answer_is_still_json(make: Make) -> None:
    remote = make(faults=[fault("oversize-answer", "get", size=3 * MIB)])
    remote.create("f")
    answer = remote.call("GET", "/models/m")
    assert len(answer.content) > 3 * MIB
    assert answer.json()["state"] == "UPLOADING"


def test_gzip_that_nobody_asked_for(make: Make) -> None:
    remote = make(faults=[fault("gzip-answer", "get", size=3 * MIB)])
    remote.create("f")
    with remote.http.get(
        f"{remote.world.base_url}/v1/accounts/sandbox/models/m",
        headers={
            "Authorization": f"Bearer {remote.world.config.api_key}",
            "Accept-Encoding": "identity",
        },
        stream=True,
    ) as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        assert int(answer.headers["Content-Length"]) < MIB
        assert len(answer.content) > 3 * MIB


def test_an_answer_without_end(make: Make) -> None:
    remote = make(faults=[fault("endless-answer", "get")])
    remote.create("f")
    with remote.call("GET", "/models/m", stream=True) as answer:
        assert "Content-Length" not in answer.headers
        got = 0
        for block in answer.iter_content(MIB):
            got += len(block)
            if got > 4 * MIB:
                break
    assert remote.call("GET", "/models/m").ok


def test_headers_that_never_end(make: Make) -> None:
    waited: list[float] = []
    remote = make(faults=[fault("hanging-headers", "get", seconds=2)], sleep=waited.append)
    remote.create("f")
    with pytest.raises(requests.ConnectionError):
        remote.call("GET", "/models/m", timeout=30)
    assert set(waited) == {2}
    assert len(waited) > 90  # a client that counts gives up there


def test_a_body_that_comes_byte_by_byte(make: Make) -> None:
    waited: list[float] = []
    remote = make(faults=[fault("slow-answer", "get", seconds=3)], sleep=waited.append)
    remote.create("f")
    answer = remote.call("GET", "/models/m")
    assert answer.json()["state"] == "UPLOADING"
    assert waited == [3.0] * len(answer.content)


def test_what_hangs_does_not_delay_the_end(make: Make) -> None:
    remote = make(faults=[fault("hanging-headers", "get", seconds=3600)])
    remote.create("f")
    remote.world.pace.stopping.set()
    with contextlib.suppress(requests.ConnectionError):
        remote.call("GET", "/models/m", timeout=DEADLINE_S)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"on": "put", "do": {"status": 503}}, "are names, not {'status': 503}"),
        ({"on": ["put"], "do": "cut"}, r"are names, not \['put'\]"),
        ({"on": "put", "do": "explode"}, "the known ones are: reset-before, "),
        ({"on": "create", "do": "cut"}, "it can on: put"),
        ({"on": "put", "do": "cut", "bite": 1}, "does not take bite; it takes: on, do, .*at_byte"),
        ({"on": "put", "do": "cut", "at_byte": -1}, "an integer from 0 on, not -1"),
        ({"on": "put", "do": "cut", "times": True}, "an integer from 0 on, not True"),
        ({"on": "put", "do": "stall", "seconds": "1"}, "a number from 0 on, not '1'"),
        ({"on": "put", "do": "stall", "seconds": float("nan")}, "a number from 0 on, not nan"),
        ({"on": "put", "do": "status", "status": "503"}, "from 200 to 599, not '503'"),
        ({"on": "put", "do": "status", "status": 99}, "from 200 to 599, not 99"),
        ({"on": "put", "do": "cut", "match": 1}, '"match" of a fault is text, not 1'),
        ({"on": "put", "do": "cut", "from": 1, "nth": 1}, '"from" is short for'),
        ({"on": "put", "do": "x" * 10_000}, "unknown fault 'xxx"),
    ],
)
def test_a_wrong_fault_is_reported_with_what_is_there_and_what_may_be(
    entry: dict[str, Any], words: str
) -> None:
    with pytest.raises(ScriptError, match=words) as told:
        parse([entry])
    assert len(str(told.value)) < 1000


@pytest.mark.parametrize("do", KINDS)
def test_a_kind_takes_its_own_fields_and_no_other_kinds(do: str) -> None:
    values = {"status": 503, "body": "x", "reason": "X"}
    for field in {field for kind in KINDS.values() for field in kind.fields}:
        entry = {"on": KINDS[do].on[0], "do": do, field: values.get(field, 1)}
        if field in KINDS[do].fields:
            assert getattr(parse([entry])[0], field) == entry[field]
        else:
            with pytest.raises(ScriptError, match=f"'{do}' does not take {field}; it takes: on,"):
                parse([entry])


def test_every_kind_can_be_parsed_on_every_exchange_it_names() -> None:
    for do, kind in KINDS.items():
        assert parse([{"on": on, "do": do} for on in kind.on])


@pytest.mark.parametrize("on", CONTROL)
def test_faults_of_answers_hold_on_every_call(make: Make, on: str) -> None:
    """A client that only reads headers sees the status; nothing hangs, nothing is printed."""
    calls = {
        "create": ("POST", "/models"),
        "list": ("GET", "/models"),
        "get": ("GET", "/models/m"),
        "delete": ("DELETE", "/models/m"),
        "urls": ("POST", "/models/m:getUploadEndpoint"),
        "validate": ("GET", "/models/m:validateUpload"),
        "update": ("PATCH", "/models/m"),
        "prepare": ("POST", "/models/m:prepare"),
        "download": ("GET", "/models/m:getDownloadEndpoint"),
        "accounts": ("GET", ""),
    }
    remote = make(faults=[fault("oversize-answer", on, size=MIB, times=0)])
    if on == "verify":
        key = {"Authorization": f"Bearer {remote.world.config.api_key}"}
        answer = remote.http.get(f"{remote.world.base_url}/verifyApiKey", headers=key)
    else:
        answer = remote.call(*calls[on])
    assert len(answer.content) > MIB
    assert threading.active_count() < 50
