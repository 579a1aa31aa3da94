"""The log: text or JSON, what each line is about, and what no line holds."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.acceptance.conftest import World, world
from uploader.core.errors import UsageError
from uploader.core.job import Event
from uploader.core.redact import ApiKey, SessionUri, remember
from uploader.runtime import bind
from uploader.service import logs
from uploader.service.daemon import log_event
from uploader.settings.load import load, with_flags
from uploader.settings.schema import Log
from uploader.settings.supervision import Supervision, supervision
from uploader.threads import spawn

__all__ = ["world"]

_log = logging.getLogger("uploader.test")


@pytest.fixture
def stderr(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    logger = logging.getLogger("uploader")
    before = (logger.handlers, logger.level, logger.propagate)
    stream = io.StringIO()
    bind(job=None, model=None, file=None, attempt=None, request_id=None)  # of tests before
    monkeypatch.setattr(sys, "stderr", stream)
    yield stream
    logger.handlers, logger.level, logger.propagate = before


@pytest.fixture
def lines(stderr: io.StringIO) -> Any:
    logs.log_to_stderr(as_json=True)
    return lambda: [json.loads(line) for line in stderr.getvalue().splitlines()]


def in_a_thread(run: Any) -> None:
    ended = threading.Event()

    def whole() -> None:
        run()
        ended.set()

    spawn("test", whole)
    assert ended.wait(60)


def test_a_line_of_json_says_when_how_bad_and_what(lines: Any) -> None:
    _log.warning("so %d things\nhappened", 2)
    (line,) = lines()
    assert datetime.fromisoformat(line.pop("timestamp")).tzinfo == UTC
    assert line == {"level": "warning", "logger": "uploader.test", "event": "so 2 things\nhappened"}


def test_a_line_says_what_its_thread_and_those_before_it_are_about(lines: Any) -> None:
    def transfer() -> None:
        bind(file="a.bin", attempt=2, request_id=None)
        _log.info("of the file")

    def job() -> None:
        bind(job=3, model="my-model", attempt=1, request_id="req-1")
        in_a_thread(transfer)
        _log.info("of the job")

    in_a_thread(job)
    _log.info("of nothing")
    of_file, of_job, of_nothing = [
        {k: v for k, v in line.items() if k not in ("timestamp", "level", "logger", "event")}
        for line in lines()
    ]
    assert of_file == {"job": 3, "model": "my-model", "file": "a.bin", "attempt": 2}
    assert of_job == {"job": 3, "model": "my-model", "attempt": 1, "request_id": "req-1"}
    assert of_nothing == {}


def test_an_event_is_about_its_own_job_and_file(lines: Any) -> None:
    def job() -> None:
        bind(job=3, request_id="req-1")
        log_event(Event(1, 4, datetime(2026, 1, 1, tzinfo=UTC), "stored", "1 MiB", "a.bin"))

    in_a_thread(job)
    (line,) = lines()
    assert (line["job"], line["file"], line["event_kind"]) == (4, "a.bin", "stored")
    assert "request_id" not in line


SECRET = "Zq3CanarySecret0123abc"


def test_no_line_of_json_holds_a_secret_and_each_stays_json(lines: Any, stderr: Any) -> None:
    remember(ApiKey(SECRET))
    words = f'Bearer {SECRET}\\" \x1b[2J https://x.test/u?upload_id={SECRET}&a="b"'
    error = ValueError(words)
    _log.error('broken: "%s" bearer %s\\"', SECRET, "another-token-of-somebody", exc_info=error)
    _log.info("session %s", SessionUri(f"https://x.test/?upload_id={SECRET}"))
    bind(file=f"https://x.test/?X-Goog-Signature={SECRET}")
    _log.info("of a file")
    bind(file=None)
    first, *_ = lines()
    assert "ValueError" in first["exception"]
    assert SECRET not in stderr.getvalue()
    assert "another-token" not in stderr.getvalue()
    assert "\x1b" not in stderr.getvalue()


@pytest.mark.parametrize(
    ("written", "collected", "as_json"),
    [
        ("auto", True, True),
        ("auto", False, False),
        ("json", False, True),
        ("text", True, False),
    ],
)
def test_json_is_for_who_collects_it_unless_the_setting_says_otherwise(
    written: str,
    collected: bool,
    as_json: bool,
    stderr: io.StringIO,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.setattr(logs, "supervised", lambda: Supervision(collects_logs=collected))
    logs.log_as(Log(format=written, level="warning"))
    _log.info("too little")
    _log.warning("enough")
    logs.flush()
    assert stderr.getvalue().startswith("{") == as_json
    assert "too little" not in stderr.getvalue()


def test_a_redirected_log_is_for_a_person(stderr: io.StringIO) -> None:
    assert stderr.getvalue() == ""
    assert not supervision({}).collects_logs
    assert not supervision({"container": "podman"}).collects_logs  # it was not started by that
    assert not supervision({"JOURNAL_STREAM": "1:1"}).collects_logs  # of some parent
    assert supervision({"NOTIFY_SOCKET": "/run/x"}).collects_logs


def test_a_wrong_flag_is_one_line_with_what_may_be_written() -> None:
    with pytest.raises(UsageError, match="level cannot be loud") as caught:
        with_flags(load(environ={}), "log", level="loud", format=None)
    assert "debug, info, warning or error" in caught.value.hint


def test_text_needs_no_structlog() -> None:
    code = (
        "import sys; from uploader.service import daemon, logs; logs.log_to_stderr();"
        "print('structlog' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def line_of(name: str, place: int, second: float) -> logging.LogRecord:
    facts = {"name": name, "pathname": "a.py", "lineno": place, "created": second}
    return logging.makeLogRecord({**facts, "msg": "%s broke\n", "args": ("x",)})


@pytest.mark.parametrize("name", ["asyncio", "uvicorn.error", "uploader.service.http.problems"])
def test_what_a_stranger_may_cause_is_told_once_a_minute_and_how_often(name: str) -> None:
    seldom = logs.Seldom()
    lines = [line_of(name, 1, second) for second in (0, 1, 59, 60, 61, -86_400)]
    assert [seldom.filter(line) for line in lines] == [True, False, False, True, False, True]
    assert lines[3].getMessage() == "x broke (and 2 more like it were left out)"
    assert lines[5].getMessage() == "x broke (and 1 more like it were left out)"


def test_no_line_hides_one_of_another_kind() -> None:
    seldom = logs.Seldom()
    assert seldom.filter(line_of("asyncio", 1, 0))
    assert seldom.filter(line_of("asyncio", 2, 0))
    assert all(seldom.filter(line_of("uploader.engine.worker", 1, 0)) for _ in range(9))


# --- a real worker ----------------------------------------------------------------------------


@pytest.fixture
def secure() -> bool:
    return False


@pytest.mark.long
@pytest.mark.acceptance
def test_the_log_of_an_upload_says_on_each_line_which_job_it_is_about(world: World) -> None:
    world.uploader("enqueue", world.model("model", model_bin=1 << 20))
    world.finish(UPLOADER_LOG__FORMAT="json")
    lines = [json.loads(line) for line in world.log().splitlines()]
    told = [line for line in lines if "event_kind" in line]
    assert {line["job"] for line in told} == {1}
    assert {line["model"] for line in told} == {"model"}
    assert {"model.bin", "config.json"} <= {line.get("file") for line in told}
    assert any("request_id" in line for line in told)
