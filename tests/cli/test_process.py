"""What only a process of its own shows: imports, terminals, pipes, signals."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Command

DEADLINE_S = 120
pytestmark = pytest.mark.usefixtures("store")
_UPLOADER = (sys.executable, "-m", "uploader")


def in_terminal(*arguments: str, columns: int = 80) -> tuple[int, str]:
    """A command whose stdout and stderr are a terminal of so many columns."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(columns), "NO_COLOR": "1", "TERM": "xterm"}
    process = subprocess.Popen(
        [*_UPLOADER, *arguments], stdout=theirs, stderr=theirs, stdin=theirs, env=environment
    )
    os.close(theirs)
    printed = b""
    while select.select([ours], [], [], DEADLINE_S)[0]:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # how Linux says that the other side is closed
            break
        if not piece:
            break
        printed += piece
    os.close(ours)
    return process.wait(DEADLINE_S), printed.decode()


def test_status_imports_nothing_it_does_not_need(uploader: Command, model: Path) -> None:
    uploader("enqueue", model)
    program = (
        "import sys; from uploader.cli.app import run; code = run(['status']);"
        "unwanted = {'alembic', 'requests', 'urllib3', 'google', 'google_crc32c', 'rich',"
        " 'uploader.sandbox', 'uploader.engine', 'uploader.remote'};"
        "print(code, sorted(unwanted & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True, text=True, check=True, timeout=DEADLINE_S,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "0 []"
    assert done.stdout.splitlines()[1].startswith("1\taccounts/")


def test_a_real_terminal(uploader: Command, model: Path, sql: Callable[[str], None]) -> None:
    uploader("enqueue", model)
    code, printed = in_terminal("status")
    assert code == 0
    assert printed.startswith("ID  MODEL")
    assert all(len(line) <= 80 for line in printed.splitlines())
    assert "\x1b" not in printed
    sql("UPDATE jobs SET status = 'done', stage = 'ready'")
    code, bars = in_terminal("wait", "1")
    assert code == 0
    assert "READY" in bars
    assert "\x1b[3" not in bars  # NO_COLOR
    assert bars.endswith("\x1b[?25h") or "\x1b[?25h" in bars  # the cursor is back


_PRINTING = pytest.mark.parametrize("words", [["status"], ["help"], ["upload", "-h"]])


@_PRINTING
def test_a_reader_that_leaves_is_not_an_error(
    uploader: Command, model: Path, words: list[str]
) -> None:
    uploader("enqueue", model)
    ours, theirs = os.pipe()
    os.close(ours)
    done = subprocess.run(
        [*_UPLOADER, *words], stdout=theirs, stderr=subprocess.PIPE, check=False,
        timeout=DEADLINE_S,
    )  # fmt: skip
    os.close(theirs)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has it")
@_PRINTING
def test_a_full_disk_is_not_a_bug(words: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*_UPLOADER, *words], stdout=full, stderr=subprocess.PIPE, text=True, check=False,
            timeout=DEADLINE_S,
        )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("error: the output cannot be written: No space left")


@pytest.mark.parametrize(
    "words",
    [
        ["--config", "u.toml", "status"],
        ["db", "backup", "x.db"],
        ["preflight", "."],
        ["verify", "x.json"],
        ["enqueue", "model"],
    ],
)
def test_a_current_folder_that_is_gone_is_not_a_bug(words: list[str], tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    program = f"cd {gone} && rmdir {gone} && exec {sys.executable} -m uploader {' '.join(words)}"
    done = subprocess.run(
        ["sh", "-c", program],
        capture_output=True, text=True, check=False, timeout=DEADLINE_S,
    )  # fmt: skip
    assert done.returncode in (2, 3, 4), done.stderr
    assert done.stderr.startswith("error: ")
    assert "bug" not in done.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_a_waiting_command(
    number: signal.Signals, code: int, uploader: Command, model: Path
) -> None:
    uploader("enqueue", model)
    with subprocess.Popen(
        [*_UPLOADER, "wait", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts what it puts in the background with SIGINT ignored: these tests too.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    ) as process:
        assert process.stderr is not None
        while not process.stderr.readline().startswith("job 1"):
            assert process.poll() is None
        process.send_signal(number)
        out, err = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, out, err.strip()) == (code, "", "")


def test_a_program_that_fails_is_known_to_although_the_starter_ignored_its_end(
    tmp_path: Path,
) -> None:
    """SIGCHLD, as some shells and containers do: every program seems to end well then."""
    config = tmp_path / "config.toml"
    config.touch(0o600)
    config.write_text("[[hooks]]\nname = 'h'\non = ['ready']\ncommand = ['false']\n")
    done = subprocess.run(
        [*_UPLOADER, "--config", str(config), "hooks", "test", "h"],
        capture_output=True, text=True, check=False, timeout=DEADLINE_S,
        preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN),
    )  # fmt: skip
    assert done.returncode == 7
    assert "false ended with exit code 1" in done.stderr


_ASKING = """
from uploader.cli import leaving
from uploader.store.database import dialect
import time
leaving.obey_signals()
try:
    with dialect.store_errors():
        print("asking", flush=True)
        time.sleep(60)
finally:
    print("left", flush=True)
"""


@pytest.mark.parametrize("inherited", [signal.SIG_DFL, signal.SIG_IGN])
def test_the_first_signal_leaves_through_every_finally(inherited: signal.Handlers) -> None:
    """Also if whoever started us had SIGALRM ignored."""
    with subprocess.Popen(
        [sys.executable, "-c", _ASKING],
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGALRM, inherited),  # noqa: PLW1509
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "asking\n"
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=DEADLINE_S)[0] == "left\n"
        assert process.returncode == 143


_READING = """
import atexit, threading
from uploader.cli import leaving
from uploader.threads import spawn
atexit.register(print, "ended in the midst of it")
spawn("look", threading.Event().wait)
print("said")
leaving.leave(7)
"""


def test_no_thread_is_ended_in_the_midst_of_a_library() -> None:
    """Python would end it where it wants the GIL again: in Rust, that aborts the process."""
    done = subprocess.run(
        [sys.executable, "-c", _READING],
        capture_output=True, text=True, check=False, timeout=DEADLINE_S,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (7, "said\n")


def test_ctrl_c_while_modules_are_imported_shows_no_traceback() -> None:
    slow = (
        "import sys, runpy, time, signal, os\n"
        "class Slow:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'uploader.cli.app':\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "            time.sleep(60)\n"
        "sys.meta_path.insert(0, Slow())\n"
        "runpy.run_module('uploader', run_name='__main__')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", slow],
        capture_output=True, text=True, check=False, timeout=DEADLINE_S,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


_FAILING = """
import signal, sys
from uploader import wiring
from uploader.cli import app, terminal
from uploader.core import errors

failure, number = eval(sys.argv[1]), int(sys.argv[2])

def find(store):
    try:
        signal.raise_signal(number)
    finally:
        raise failure

wiring.Store.find = find
del sys.argv[1:3]
app.main()
"""


@pytest.mark.parametrize(
    "failure", ["errors.StoreError('gone')", "terminal.PipeClosed()", "RuntimeError('a bug')"]
)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_what_fails_after_a_signal_hides_neither_its_exit_code_nor_its_document(
    number: signal.Signals, code: int, failure: str
) -> None:
    def ended(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", _FAILING, failure, str(int(number)), "status", *words],
            capture_output=True, text=True, check=False, timeout=DEADLINE_S,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip

    silent, told = ended(), ended("--json")
    assert (silent.returncode, silent.stdout, silent.stderr) == (code, "", "")
    assert (told.returncode, told.stderr) == (code, "")
    assert json.loads(told.stdout)["error"]["code"] == "interrupted"


def test_leaving_a_live_view_gives_the_cursor_back(uploader: Command, model: Path) -> None:
    uploader("enqueue", model)
    for words in (("follow",), ("status", "--watch"), ("wait", "1")):
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [*_UPLOADER, *words], stdout=theirs, stderr=theirs, stdin=theirs,
            env={**os.environ, "COLUMNS": "80", "TERM": "xterm"},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
        )  # fmt: skip
        os.close(theirs)
        printed, interrupted = b"", False
        while select.select([ours], [], [], DEADLINE_S)[0]:
            try:
                printed += os.read(ours, 65536)
            except OSError:
                break
            if b"job 1" in printed and not interrupted:
                interrupted = True
                process.send_signal(signal.SIGINT)
        os.close(ours)
        assert process.wait(DEADLINE_S) == 130
        assert printed.count(b"\x1b[?25l") == printed.count(b"\x1b[?25h") == 1
        assert printed.rindex(b"\x1b[?25h") > printed.rindex(b"\x1b[?25l")
        assert b"Traceback" not in printed


#: `uploader`, for which the disk of a file does not answer: no signal gets through to its call.
_HANGS = """
import os, signal, sys
from uploader import files
from uploader.cli.app import main

silent, read = sys.argv.pop(1), files.read

def hangs(path, *bounds, **kinds):
    if str(path) == silent:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        os.write(1, b"hangs\\n")
        os.read(0, 1)
    return read(path, *bounds, **kinds)

files.read = hangs
main()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only there a signal is seen that waits")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("UPLOADER_CONFIG", ["status"]),
        ("UPLOADER_CONFIG", ["run"]),
        ("UPLOADER_FIREWORKS__API_KEY_FILE", ["model", "list"]),
        ("UPLOADER_FIREWORKS__API_KEY_FILE", ["run"]),
    ],
)
def test_a_command_ends_though_the_disk_of_its_configuration_or_key_is_silent(
    tmp_path: Path, name: str, words: list[str]
) -> None:
    silent = tmp_path / "silent"
    silent.touch(0o600)
    environment = {**os.environ, name: str(silent)}
    environment.pop("FIREWORKS_API_KEY", None)
    command = [sys.executable, "-c", _HANGS, str(silent), *words]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"hangs\n"
            ends_s = time.monotonic() + DEADLINE_S
            while process.poll() is None:
                assert time.monotonic() < ends_s
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.1)
        finally:
            process.kill()
    # One more signal may come while the interpreter ends, and has its own handlers back.
    assert process.returncode in (143, -signal.SIGTERM)
