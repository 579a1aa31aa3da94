"""A hook that runs a command: what it gets, what is kept of its words, how long it may take."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from tests.service.hooks.conftest import Lab, script, tell_all
from uploader import processes, wiring
from uploader.core.events import EventKind
from uploader.core.hooks import Undelivered
from uploader.core.redact import ApiKey, remember
from uploader.service.hooks import command


def test_a_command_that_became_another_user_is_left_to_itself_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by `sudo`: nobody but root may kill it."""

    def refused(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "killpg", refused)
    began_s = time.monotonic()
    argv = script(tmp_path / "hook", "exec sleep 300")
    with pytest.raises(Undelivered, match="did not end"):
        command.finished(argv, b"", dict(os.environ), 0.2, wiring.clock())
    monkeypatch.undo()
    assert time.monotonic() - began_s < 60
    (process,) = processes._left
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(60)
    command.finished(["true"], b"", dict(os.environ), 60, wiring.clock())
    assert not processes._left


def test_a_command_gets_the_jobs_document_and_no_key(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIREWORKS_API_KEY", "fw_secret_of_the_test")
    argv = script(
        tmp_path / "hook", f"cat > {tmp_path}/in; env > {tmp_path}/env; echo $1 > {tmp_path}/arg"
    )
    hooks = lab.configure({"name": "h", "on": ["ready"], "command": argv})
    assert lab.fill(hooks) == 0
    lab.happen(EventKind.READY)
    assert lab.fill(hooks) == 1
    tell_all(hooks)
    document = json.loads((tmp_path / "in").read_text())
    assert (document["schema"], document["id"]) == ("uploader.job/1", 1)
    environment = (tmp_path / "env").read_text()
    assert {"UPLOADER_EVENT=ready", "UPLOADER_JOB=1"} <= {*environment.splitlines()}
    assert "fw_secret_of_the_test" not in environment
    assert (tmp_path / "arg").read_text() == "an argument; with $things\n"
    assert lab.outbox.states(["h"])[0].waiting == 0


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("exit 3", "exit code 3"),
        ("echo words of mine; exit 1", "words of mine"),
        ("sleep 60", "did not end"),
        ("sleep 60 & exit 2", "exit code 2"),
        ("head -c 300000 /dev/zero; exit 4", "exit code 4"),
    ],
)
def test_a_command_that_fails_or_hangs_is_bounded(
    lab: Lab, tmp_path: Path, text: str, why: str
) -> None:
    hooks = lab.configure(
        {"name": "h", "on": ["ready"], "command": script(tmp_path / "hook", text), "timeout": "2s"}
    )
    lab.fill(hooks)
    lab.happen(EventKind.READY)
    lab.fill(hooks)
    began = time.monotonic()
    tell_all(hooks)
    assert time.monotonic() - began < 20
    assert why in (lab.outbox.states(["h"])[0].last_error or "")


SECRET = "fw_CANARY0123456789abcdef"
SPELLED = base64.b64encode(f"x {SECRET} y".encode()).decode()


@pytest.mark.parametrize(
    ("printed", "words"),
    [
        (f"{SECRET}{'y' * (64 * 1024 - 8)}", ""),
        (f"{SECRET.encode().hex()}{'y' * (64 * 1024 - 40)}", ""),
        (f"{SECRET}{'y' * (64 * 1024 - 30)}\nthat is why", "that is why"),
        (f"that is why\n{SPELLED[:20]}\n{SPELLED[20:]}", None),
    ],
    ids=["as it is", "in hexadecimal", "with a line after it", "over lines"],
)
def test_no_cut_of_what_a_command_prints_lets_the_end_of_a_secret_through(
    tmp_path: Path, printed: str, words: str | None
) -> None:
    remember(ApiKey(SECRET))
    said = tmp_path / "said"
    said.write_text(printed)
    _, ended = command.finished(["cat", str(said)], b"", {}, 30.0, wiring.clock())
    found = command.last_words(ended)
    assert words in (None, found)
    assert SECRET[-8:] not in found
    assert SPELLED[20:36] not in found


@pytest.mark.skipif(not hasattr(os, "waitid"), reason="an end is not seen without waiting for it")
@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("exit 3", 3),
        ("sleep 60 & exit 2", 2),
        ("exec >&- 2>&-; sleep 0.2; exit 4", 4),
        ("sleep 60", None),
    ],
)
def test_a_group_is_killed_before_its_number_can_be_anothers(
    text: str, code: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[bool] = []
    real = os.killpg

    def killpg(group: int, number: int) -> None:
        # It raises ChildProcessError once the process was waited for, and its number is free.
        ended = os.waitid(os.P_PID, group, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        killed.append(ended is not None)
        real(group, number)

    monkeypatch.setattr(os, "killpg", killpg)
    try:
        found, _ = command.finished(["sh", "-c", text], b"", {}, 2.0, wiring.clock())
    except Undelivered:
        assert code is None
    else:
        assert found == code
    assert killed == [code is not None]


@pytest.mark.skipif(shutil.which("setsid") is None, reason="no program to start a session with")
def test_what_a_command_leaves_running_with_its_stdin_unread_holds_nobody_up(
    tmp_path: Path,
) -> None:
    pid, rest = tmp_path / "pid", "exec sleep 60"
    text = f"exec 3<&0\nsetsid sh -c 'echo $$ >{pid}; {rest}' <&3 >/dev/null 2>&1 &"
    wait = f"until [ -s {pid} ]; do sleep 0.01; done"
    began = time.monotonic()
    try:
        large = {"id": 1, "files": "x" * 300_000}
        command.run(["sh", "-c", f"{text}\n{wait}"], "ready", large, 50.0, wiring.clock())
    finally:
        os.kill(int(pid.read_text()), signal.SIGKILL)
    assert time.monotonic() - began < 30


def test_a_command_that_is_not_there_is_a_failure_not_a_bug(lab: Lab) -> None:
    hooks = lab.configure({"name": "h", "on": ["ready"], "command": ["/nowhere/at/all"]})
    lab.fill(hooks)
    lab.happen(EventKind.READY)
    lab.fill(hooks)
    tell_all(hooks)
    assert "cannot be run" in (lab.outbox.states(["h"])[0].last_error or "")
