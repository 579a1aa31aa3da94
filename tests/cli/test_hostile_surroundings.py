"""Hostile input and hostile surroundings, each as a user met it."""

from __future__ import annotations

import base64
import contextlib
import logging
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.cli.test_process import DEADLINE_S, in_terminal
from tests.cli.test_render import JOB, NOW
from tests.model.build import BASE, folder
from uploader import demo
from uploader.cli.live import line
from uploader.cli.terminal import out_wrapped
from uploader.core.redact import ApiKey, remember
from uploader.service import logs

Sql = Callable[[str], None]


def in_shell(redirections: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """A command as a shell starts it, with streams closed or bent by ``redirections``."""
    words = shlex.join([sys.executable, "-m", "uploader", *map(str, arguments)])
    return subprocess.run(
        ["sh", "-c", f"exec {words} {redirections}"],
        capture_output=True, text=True, check=False, timeout=DEADLINE_S,
    )  # fmt: skip


# -- what is given -----------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["enqueue", "preflight"])
def test_an_empty_word_is_not_the_folder_we_stand_in(
    command: str, uploader: Command, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A script's `uploader enqueue "$UNSET"` must not send whatever lies around."""
    monkeypatch.chdir(model)
    answer = uploader(command, "")
    assert (answer.code, answer.out) == (4, "")
    assert uploader("enqueue", ".", "--dry-run").code == 0


@pytest.mark.usefixtures("store")
def test_a_link_to_the_folder_is_the_same_job(uploader: Command, model: Path, home: Path) -> None:
    (home / "another-name").symlink_to(model)
    uploader("enqueue", model)
    answer = uploader("enqueue", home / "another-name")
    assert (answer.code, answer.out) == (0, "1\n")


@pytest.mark.usefixtures("store")
def test_a_priority_that_changes_nothing_is_reported(uploader: Command, model: Path) -> None:
    uploader("enqueue", model, "--priority", "3")
    answer = uploader("enqueue", model, "--priority", "5")
    assert (answer.code, answer.out) == (0, "1\n")
    assert "job 1 keeps its priority 3" in answer.err


def test_an_empty_folder_lacks_one_thing_not_two(uploader: Command, home: Path) -> None:
    (home / "empty").mkdir()
    answer = uploader("enqueue", "empty")
    assert answer.code == 6
    assert "tokenizer" not in answer.err


@pytest.mark.parametrize(
    ("arguments", "what", "where"),
    [
        (("frobnicate",), "no such command 'frobnicate'", "`uploader -h`"),
        (("status", "--frob"), "no such option: --frob", "`uploader status -h`"),
        (("enqueue",), "missing argument 'PATH'", "`uploader enqueue -h`"),
        (("enqueue", "x", "--kind", "y"), "invalid value for '--kind': 'y'", "`uploader enqueue"),
        *(
            ((group,), "missing command", f"`uploader {group} -h`")
            for group in ("config", "db", "hooks", "model", "service")
        ),
    ],
)
def test_a_wrong_command_line_is_two_lines_too(
    arguments: tuple[str, ...], what: str, where: str, uploader: Command
) -> None:
    answer = uploader(*arguments)
    error, hint = answer.err.splitlines()
    assert (answer.code, answer.out) == (2, "")
    assert error.startswith(f"error: {what}")
    assert hint.startswith(f"hint: {where}")


def forbid(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Let the system refuse every look at a path that ends in ``name``, for root as well."""
    real = os.stat

    def refuse(path: object, *words: object, **options: object) -> os.stat_result:
        if str(path).endswith(name):
            raise PermissionError(13, "Permission denied", path)
        return real(path, *words, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "stat", refuse)


@pytest.mark.parametrize(
    "arguments", [("status",), ("status", "1"), ("wait", "1"), ("events",), ("db", "current")]
)
def test_a_state_folder_of_somebody_else(
    arguments: tuple[str, ...], uploader: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid(monkeypatch, "uploader.db")
    answer = uploader(*arguments)
    assert (answer.code, answer.out) == (11, "")
    assert "Traceback" not in answer.err


def test_a_folder_that_may_not_be_read_hears_it_from_us(
    uploader: Command, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not from the parser of the command line, whose exit code is another."""
    real = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode: str(path) != str(model) and real(path, mode)
    )
    monkeypatch.setattr(os, "scandir", _denied)
    answer = uploader("enqueue", model)
    assert answer.code == 6
    assert "cannot be listed: Permission denied" in answer.err


def _denied(path: Path) -> None:
    raise PermissionError(13, "Permission denied", str(path))


# -- where it is printed -----------------------------------------------------------------------


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&- <&-"])
def test_closed_streams_change_no_result(closed: str, uploader: Command, model: Path) -> None:
    assert in_shell(closed, "enqueue", model).returncode == 0
    assert in_shell(closed, "enqueue", "nowhere").returncode == 4
    assert len(uploader("status", "--json").json["jobs"]) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has it")
@pytest.mark.usefixtures("store")
def test_what_is_reported_beside_the_result_may_get_lost(model: Path) -> None:
    done = in_shell("2>/dev/full", "enqueue", model)
    assert (done.returncode, done.stdout) == (0, "1\n")
    assert in_shell("2>/dev/full", "enqueue", "nowhere").returncode == 4


@pytest.mark.usefixtures("store")
def test_an_error_that_nobody_reads_keeps_its_code() -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    done = subprocess.run(
        [sys.executable, "-m", "uploader", "show", "7"], stderr=theirs, check=False,
        timeout=DEADLINE_S,
    )  # fmt: skip
    os.close(theirs)
    assert done.returncode == 4


def test_a_log_line_cannot_steer_the_terminal() -> None:
    words = "so says a server: \x1b[2J\nerror: forged"
    record = logging.LogRecord("uploader", logging.INFO, "", 0, words, None, None)
    printed = logs.TextFormatter().format(record)
    assert "\x1b" not in printed
    assert len(printed.splitlines()) == 1


def test_a_traceback_in_the_log_neither_steers_the_terminal_nor_holds_the_key() -> None:
    key = ApiKey("Zq3CanarySecret0123abc")
    remember(key)
    wrapped = base64.encodebytes(b"user-with-a-long-name-indeed:" + key.reveal().encode() * 3)
    error = ValueError(f"\x1b[2J {key.reveal()} {wrapped!r} {wrapped.decode()}")
    facts = (ValueError, error, error.__traceback__)
    record = logging.LogRecord("uploader", logging.ERROR, "", 0, "unexpected", None, facts)
    printed = logs.TextFormatter().format(record)
    assert "ValueError" in printed
    assert "\x1b" not in printed
    sure = base64.b64encode(key.reveal().encode()).decode()[:12]
    assert not [one for one in (key.reveal(), sure) if one in "".join(printed.split())]


def test_what_a_library_says_of_its_own_errors_is_cleaned_as_ours_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "lastResort", logging._StderrHandler(logging.WARNING))  # type: ignore[attr-defined]
    monkeypatch.setattr(logging.getLogger("uploader"), "handlers", [])
    monkeypatch.setattr(logging.getLogger("uploader"), "propagate", False)
    logs.log_to_stderr()
    words = "Exception in ASGI application: \x1b[2J https://a.example/x?upload_id=Canary0123"
    assert logging.lastResort
    logging.lastResort.handle(
        logging.LogRecord("uvicorn.error", logging.ERROR, "", 0, words, None, None)
    )
    printed = capsys.readouterr().err
    assert "ASGI" in printed
    assert not {"\x1b", "Canary"} & {one for one in ("\x1b", "Canary") if one in printed}


def test_names_that_people_copy_are_not_broken(capsys: pytest.CaptureFixture[str]) -> None:
    out_wrapped("It is accounts/acme/models/a-rather-long-model-name-v2 by now.", 40, "model ")
    assert "accounts/acme/models/a-rather-long-model-name-v2\n" in capsys.readouterr().out


FIGURES = ("32% sent, 31%", "confirmed", "1001 B/s", "ETA 1m29s")


@pytest.mark.parametrize("name", ["m", "llama-70b-ft-v3", "a" * 63])
@pytest.mark.parametrize("columns", [58, 71, 80, 200])
def test_a_line_of_progress_keeps_its_figures(name: str, columns: int) -> None:
    said = line(replace(JOB, model_id=name), JOB.base_url, NOW, columns)
    assert len(said) <= columns
    assert said.startswith("job 12")
    assert all(figure in said for figure in FIGURES)


@pytest.mark.parametrize("columns", [40, 80])
@pytest.mark.usefixtures("store")
def test_bars_are_never_cut(columns: int, uploader: Command, home: Path, sql: Sql) -> None:
    why = "the folder /models/x was changed while it was being sent and cannot be proven"
    uploader("enqueue", folder(home / ("m" * 60), BASE))
    sql(f"UPDATE jobs SET status = 'failed', reason_code = 'x', reason_message = '{why}'")
    code, printed = in_terminal("wait", "1", columns=columns)
    assert code == 7
    assert "…" not in printed.replace("m…m", "")
    assert " ".join(printed.split()).replace(" ", "").count(why.replace(" ", "")) >= 1


# -- the demo ----------------------------------------------------------------------------------


def test_a_demo_that_fails_quotes_its_worker(home: Path) -> None:
    environment = {**os.environ, "HOME": str(home), "UPLOADER_TRANSFER__MAX_FILES": "x"}
    worker = contextlib.ExitStack()
    process = worker.enter_context(demo._worker(environment))
    assert process.wait(DEADLINE_S) == 2
    worker.callback(_fail)
    with pytest.raises(demo.DemoFailed, match="UPLOADER_TRANSFER__MAX_FILES"):
        worker.close()


def _fail() -> None:
    raise demo.DemoFailed("it did not get there")


def test_a_line_that_moves_is_not_reported_twice_in_a_pipe(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = iter(range(0, 100, 5))
    monkeypatch.setattr("uploader.demo.time.monotonic", lambda: next(seconds))
    with demo._moving_line() as tell:
        for line_ in ("1 of 2", "1 of 2", "2 of 2", "2 of 2"):
            tell(line_)
    assert capsys.readouterr().out == "     1 of 2\n     2 of 2\n"
