"""The probe: every line is confirmed by the sandbox, and a sandbox that differs is told by line."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Answer, Command, home, template, uploader
from uploader.core.probe import Item
from uploader.sandbox.config import Config
from uploader.sandbox.server import Sandbox
from uploader.service.doctor import probe, probe_calls

__all__ = ["home", "template", "uploader"]

ACCOUNT = "very-secret-account"
Match = dict[str, str]


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path) -> Iterator[Sandbox]:
    assert home
    monkeypatch.setattr(probe, "POLL_S", 0.01)
    monkeypatch.setattr(probe_calls, "SHORT_WAIT_S", 0.01)
    monkeypatch.setenv("UPLOADER_RETRY__INITIAL_DELAY", "100ms")
    monkeypatch.setenv("UPLOADER_RETRY__MAX_DELAY", "1s")
    with Sandbox(data_dir=tmp_path / "box", account_id=ACCOUNT) as made:
        monkeypatch.setenv("FIREWORKS_BASE_URL", made.base_url)
        monkeypatch.setenv("FIREWORKS_API_KEY", made.api_key)
        monkeypatch.setenv("FIREWORKS_ACCOUNT_ID", ACCOUNT)
        yield made


def different(answer: Answer) -> Match:
    """The lines that are not confirmed, and how they compare."""
    return {
        line["name"]: line["match"] for line in answer.json["lines"] if line["match"] != "confirmed"
    }


def models(box: Sandbox) -> list[str]:
    return [model_id for _, model_id in box.world.models]


def test_the_sandbox_confirms_every_line_and_nothing_is_left(
    box: Sandbox, uploader: Command
) -> None:
    answer = uploader("doctor", "--probe", "--yes", "--json")
    assert (answer.code, different(answer), answer.json["not_asked"]) == (0, {}, [])
    assert answer.json["schema"] == "uploader.probe/1"
    names = [line["name"] for line in answer.json["lines"]]
    assert sorted(names) == sorted(item.label for item in Item), "each has one line"
    assert models(box) == []
    (finish,) = (line for line in answer.json["lines"] if line["name"] == "finish")
    assert "x-goog-generation, x-goog-hash" in finish["seen"]


def test_without_yes_it_says_what_it_would_create_and_creates_nothing(
    box: Sandbox, uploader: Command
) -> None:
    answer = uploader("doctor", "--probe")
    assert (answer.code, answer.out) == (2, "")
    assert all(word in answer.err for word in ("uploader-probe-", ACCOUNT, "config.json", " B)"))
    assert "hint: add --yes" in answer.err
    assert box.report()["create_calls"] == 0
    assert uploader("doctor", "--probe", "--json").json["error"]["code"] == "usage"


def test_the_report_names_nobody_and_no_address(box: Sandbox, uploader: Command) -> None:
    words = f"model accounts/{ACCOUNT}/models/x of {ACCOUNT.upper()} at {box.base_url}/v1 landing"
    body = {"code": 9, "message": words, "status": "FAILED_PRECONDITION"}
    box.world.script.add(
        [{"on": "validate", "do": "status", "status": 400, "body": body, "times": 2}]
    )
    plain = uploader("doctor", "--probe", "--yes")
    (model_id,) = {word for word in plain.err.split() if word.startswith("uploader-probe-")}
    report = plain.out.lower()
    assert "model model of name at url landing" in report
    for secret in (ACCOUNT, model_id, box.api_key, "http", "127.0.0.1", "upload_id", "signature="):
        assert secret not in report
    for line in plain.out.splitlines():
        assert len(line.split("\t")) == 5


#: Every switch of the sandbox: another value of it, and which lines say so.
SWITCHES: dict[str, tuple[Any, Match]] = {
    "key_valid": (False, {"create": "contradicts"}),
    "bad_key_status": (401, {"bad_key": "new"}),
    "url_kind": ("put", {"url_kind": "contradicts", "url_headers": "new"}),
    "url_keys": ("path", {"url_keys": "new"}),
    "url_life_s": (900, {"url_life": "new"}),
    "session_life_s": (
        0,
        {
            "cancel": "new",
            "zero_bytes": "new",
            "query_empty": "contradicts",
            "finish": "contradicts",
        },
    ),
    "object_prefix": ("eu/west", {"object_path": "new"}),
    "landing_polls": (0, {"ready": "new"}),
    "precondition_shape": ("http-412", {"early_validate": "new", "landing_answer": "new"}),
    "warnings": (["no chat template"], {"warnings": "new"}),
    "ready_urls_status": (405, {"urls_when_ready": "new"}),
    "shows_files": (False, {"files_shown": "new"}),
    "clock_skew_s": (900.0, {"url_clock": "new"}),
    # One request in three goes wrong: which lines say so depends on which these are.
    "chaos": (0.3, {"repeated": "new"}),
}
#: What does not change an answer, or what the page says to be so or so: an MD5 may come along.
NO_ANSWER = {
    "api_key", "account_id", "md5",
    "connection_bytes_per_s", "link_bytes_per_s", "requests_per_minute",
}  # fmt: skip


def test_the_table_has_every_switch_of_the_sandbox() -> None:
    switches = {field.name for field in dataclasses.fields(Config)}
    assert switches == SWITCHES.keys() | NO_ANSWER


@pytest.mark.parametrize("switch", SWITCHES)
def test_a_sandbox_that_answers_otherwise_is_told_by_line(
    switch: str, box: Sandbox, uploader: Command
) -> None:
    value, expected = SWITCHES[switch]
    box.world.config.change({switch: value})
    answer = uploader("doctor", "--probe", "--yes", "--json")
    if switch == "chaos":
        assert expected.items() <= different(answer).items()
    else:
        assert different(answer) == expected
        assert answer.code == (2 if "contradicts" in expected.values() else 0)
    assert models(box) == [] or switch == "chaos"


@pytest.mark.parametrize(
    ("shape", "seen"),
    [
        ("numeric", "400 {code: 9}"),
        ("named", "400 {error: {code: FAILED_PRECONDITION}}"),
        ("text", "400 text FAILED_PRECONDITION"),
        ("http-412", "412 {code: 9}"),
    ],
)
def test_it_says_what_failed_precondition_looks_like(
    shape: str, seen: str, box: Sandbox, uploader: Command
) -> None:
    box.world.config.change({"precondition_shape": shape})
    answer = uploader("doctor", "--probe", "--yes", "--json")
    assert different(answer) == {"early_validate": "new", "landing_answer": "new"}
    (line,) = (one for one in answer.json["lines"] if one["name"] == "early_validate")
    assert line["seen"].startswith(seen)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("session", dict.fromkeys(("url_kind", "url_headers", "url_life", "url_clock"), "new")),
        ("refused", {"start": "contradicts", "zero_bytes": "new"}),
    ],
)  # fmt: skip
def test_it_says_what_kind_of_url_it_is(
    kind: str, expected: Match, box: Sandbox, uploader: Command
) -> None:
    box.world.config.change({"url_kind": kind})
    assert different(uploader("doctor", "--probe", "--yes", "--json")) == expected


Fault = dict[str, Any]
#: Faults on one exchange each, and the lines that say so.
FAULTS: dict[str, tuple[list[Fault], Match]] = {
    "create lost": ([{"on": "create", "do": "lost-answer"}], {"repeated": "new"}),
    "create refused": (
        [{"on": "create", "do": "status", "status": 403}],
        {"create": "contradicts"},
    ),
    "nested refused": ([{"on": "urls", "do": "status", "status": 400}], {"nested_names": "new"}),
    "empty refused": (
        [{"on": "urls", "nth": 2, "do": "status", "status": 400}],
        {"zero_bytes": "new"},
    ),
    "other paths": (
        [{"on": "urls", "nth": 6, "do": "other-paths"}],
        {"urls_again": "new", "urls_with_files": "new"},
    ),
    "a second map refused": (
        [{"on": "urls", "nth": 6, "do": "status", "status": 409}],
        {"urls_again": "contradicts"},
    ),
    "no map once there are files": (
        [{"on": "urls", "nth": 7, "do": "status", "status": 409}],
        {"urls_with_files": "new"},
    ),
    "the id is not free": (
        [{"on": "create", "nth": 2, "do": "status", "status": 409}],
        {"recreate": "contradicts"},
    ),
    "another hash": (
        [{"on": "put", "do": "wrong-hash"}],
        {"finish_facts": "contradicts", "query_finished": "new"},
    ),
    "no finish": ([{"on": "put", "do": "no-finish"}], {"finish": "new"}),
    "nothing kept": ([{"on": "put", "do": "no-range-308"}], {"finish": "new"}),
    "half kept": ([{"on": "put", "do": "short-308", "at_byte": 100}], {"finish": "new"}),
    "a bare 200": (
        [{"on": "put", "do": "status-after", "status": 200}],
        {"finish_facts": "new", "query_finished": "new"},
    ),
    "throttled": (
        [{"on": "get", "do": "status", "status": 429, "retry_after": 0.01, "times": 3}],
        {"repeated": "new"},
    ),
    "broken JSON": ([{"on": "get", "do": "malformed-json"}], {"repeated": "new"}),
    "a proxy": ([{"on": "get", "do": "middle-box"}], {"request_id": "new", "repeated": "new"}),
    "a warning of a start": (
        [{"on": "start", "nth": 3, "do": "status", "status": 403}],
        {"start": "contradicts"},
    ),
    "validation refused": (
        [{"on": "validate", "nth": 2, "do": "status", "status": 400}],
        {"ready": "contradicts", "urls_when_ready": "new"},
    ),
    "deletion refused": (
        [{"on": "delete", "do": "status", "status": 403}],
        {"delete": "contradicts"},
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_told_by_line(fault: str, box: Sandbox, uploader: Command) -> None:
    script, expected = FAULTS[fault]
    box.world.script.add(script)
    answer = uploader("doctor", "--probe", "--yes", "--json")
    assert different(answer) == expected
    assert answer.code == (2 if "contradicts" in expected.values() else 0)
    assert models(box) == []


PAGE = {"do": "middle-box", "status": 200, "times": 0}


@pytest.mark.parametrize("on", ["create", "get", "urls", "validate", "delete", "verify"])
def test_a_page_that_answers_200_for_ever_is_told_by_line(
    on: str, box: Sandbox, uploader: Command
) -> None:
    box.world.script.add([PAGE | {"on": on}])
    answer = uploader("doctor", "--probe", "--yes", "--json")
    assert answer.code in (0, 2)
    assert "middle_box" in str(answer.json["lines"]), "and nothing took the page for an answer"
    if on == "delete":
        assert different(answer)["delete"] == "contradicts"
        assert len(models(box)) == 1
        assert "could not be deleted" in answer.err


def test_a_service_that_does_not_answer_is_told(
    box: Sandbox, uploader: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert box.base_url
    monkeypatch.setenv("FIREWORKS_BASE_URL", "http://127.0.0.1:9")
    answer = uploader("doctor", "--probe", "--yes", "--json")
    assert answer.code == 2
    expected = {"bad_key": "contradicts", "create": "contradicts", "repeated": "new"}
    assert different(answer) == expected
    assert "could not be deleted" in answer.err, "for all we know, it may have been created"
    monkeypatch.delenv("FIREWORKS_ACCOUNT_ID")
    assert uploader("doctor", "--probe", "--yes", "--json").json["error"]["code"] == "unavailable"


def test_what_is_slow_is_told(
    box: Sandbox, uploader: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert box.base_url
    monkeypatch.setattr(probe_calls, "USUAL_S", 0.0)
    assert different(uploader("doctor", "--probe", "--yes", "--json")) == {"durations": "new"}


def test_it_ends_in_time_and_deletes_the_model(
    box: Sandbox, uploader: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe_calls, "BUDGET_S", 0.5)
    box.world.script.add([{"on": "validate", "do": "latency", "seconds": 60}])
    answer = uploader("doctor", "--probe", "--yes", "--json")
    assert (answer.code, different(answer)) == (2, {"durations": "contradicts"})
    assert "early_validate" in answer.json["not_asked"]
    assert models(box) == []


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 130)]
)
def test_a_signal_in_the_middle_of_a_request_is_followed_by_the_deletion(
    number: int, code: int, box: Sandbox
) -> None:
    box.world.script.add([{"on": "validate", "do": "latency", "seconds": 600}])
    command = [sys.executable, "-P", "-m", "uploader", "doctor", "--probe", "--yes"]
    with subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # noqa: PLW1509
    ) as process:
        wait_for(lambda: box.report()["urls_calls"] >= 3)
        process.send_signal(number)
        _, told = process.communicate(timeout=30)
    assert (process.returncode, models(box)) == (code, [])
    assert "was deleted" in told


def wait_for(condition: Callable[[], object]) -> None:
    ends_s = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < ends_s
        time.sleep(0.02)


_REFUSED = {"on": "create", "nth": 2, "do": "status", "status": 403}
_GONE = {"on": "get", "nth": 3, "do": "status", "status": 404, "body": {"code": 5}}


@pytest.mark.parametrize(
    ("nth", "also"), [(1, []), (2, []), (1, [_GONE]), (1, [_REFUSED]), (1, [_GONE, _REFUSED])]
)
def test_a_deletion_that_was_only_said_is_asked_for_again(
    box: Sandbox, uploader: Command, nth: int, also: list[dict[str, Any]]
) -> None:
    """Anything on the way may answer `{}`: the model is deleted once a GET says so."""
    said = {"on": "delete", "nth": nth, "times": 1, "do": "status", "status": 200, "body": {}}
    box.world.script.add([said, *also])
    answer = uploader("doctor", "--probe", "--yes")
    assert "was deleted" in answer.err
    assert models(box) == []


def test_a_model_that_cannot_be_deleted_is_named_with_the_way_to_do_it(
    box: Sandbox, uploader: Command
) -> None:
    box.world.script.add([{"on": "delete", "do": "status", "status": 403, "nth": 2, "times": 0}])
    answer = uploader("doctor", "--probe", "--yes", "--json")
    (model_id,) = models(box)
    assert (answer.code, different(answer)) == (2, {})
    assert (
        f"{model_id} could not be deleted: `uploader model delete {model_id} --yes`" in answer.err
    )


def test_a_model_is_kept_if_that_is_asked_for(box: Sandbox, uploader: Command) -> None:
    answer = uploader("doctor", "--probe", "--yes", "--keep")
    (model_id,) = models(box)
    assert (answer.code, box.world.models[ACCOUNT, model_id].state) == (0, "READY")
    assert f"{model_id} is kept" in answer.err


def test_the_id_of_somebody_else_is_left_alone(
    box: Sandbox, uploader: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("secrets.token_hex", lambda _: "aa")
    assert uploader("doctor", "--probe", "--yes", "--keep").code == 0
    answer = uploader("doctor", "--probe", "--yes", "--json")
    assert (answer.code, different(answer)) == (2, {"create": "contradicts"})
    assert models(box) == ["uploader-probe-aa"]


@pytest.mark.parametrize(
    "words", [["--yes"], ["--keep"], ["--probe", "--yes", "--bundle", "x.tgz"]]
)
def test_flags_that_do_not_fit_are_refused(
    words: list[str], box: Sandbox, uploader: Command
) -> None:
    assert uploader("doctor", *words).code == 2
    assert box.report()["create_calls"] == 0
