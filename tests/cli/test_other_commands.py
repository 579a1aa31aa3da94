"""run, db, config, sandbox, demo, help."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import cast

import pytest
from typer.main import get_command

from tests.cli.conftest import Command, ScriptedClock
from uploader import __version__
from uploader.cli import app
from uploader.core.job import Scope
from uploader.engine.worker import DRAIN_S, Worker
from uploader.service import daemon
from uploader.store.database.workers import WorkerLock

BASE_URL = "https://here.example"
BANNED = re.compile(r"\b(manager|helper|utils?|handler|data|info|task)s?\b", re.IGNORECASE)


def commands() -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = [()]
    for name, command in get_command(app.app).commands.items():  # type: ignore[attr-defined]
        found.append((name,))
        found += [(name, inner) for inner in getattr(command, "commands", ())]
    return found


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_help_works_and_uses_our_words(command: tuple[str, ...], uploader: Command) -> None:
    answer = uploader(*command, "--help")
    assert (answer.code, answer.err) == (0, "")
    text = answer.out.replace("--data-dir", "").replace(": debug, info,", "")  # levels of logs
    assert not BANNED.findall(text)
    assert answer.out == uploader(*command, "-h").out


def test_the_version(uploader: Command) -> None:
    assert uploader("--version").out == f"uploader {__version__}\n"


def test_run_ends_as_its_worker_says(uploader: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []

    def run(_: object, *, until_idle: bool, **__: object) -> int:
        seen.append(until_idle)
        return 8

    monkeypatch.setattr("uploader.service.daemon.run", run)
    assert (uploader("run").code, uploader("run", "--until-idle").code) == (8, 8)
    assert seen == [False, True]


@pytest.mark.parametrize(
    ("scopes", "told"),
    [
        ([], ""),
        ([Scope("https://elsewhere.example"), Scope(only=frozenset({1}))], ""),
        ([Scope(BASE_URL)], "another worker runs with this job table, too"),
        ([Scope(), Scope(BASE_URL)], "2 other workers run with this job table, too"),
    ],
)
def test_a_worker_says_which_others_take_the_same_jobs(
    scopes: list[Scope],
    told: str,
    store: Path,
    uploader: Command,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(daemon, "_on_signals", lambda *_: None)
    monkeypatch.setattr("uploader.service.logs.log_to_stderr", lambda *_, **__: None)
    monkeypatch.setenv("FIREWORKS_BASE_URL", BASE_URL)
    caplog.set_level("INFO", "uploader.worker")
    with ExitStack() as stack:
        for scope in scopes:
            stack.enter_context(WorkerLock(store.parent, scope))
        assert uploader("run", "--until-idle").code == 0
    said = [line for line in caplog.messages if "with this job table" in line]
    assert [line.partition(":")[0] for line in said] == ([told] if told else [])


def test_a_run_that_leaves_a_job_with_a_seal_alone_is_no_success(
    uploader: Command,
    model: Path,
    sql: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(daemon, "_on_signals", lambda *_: None)
    monkeypatch.setattr("uploader.service.logs.log_to_stderr", lambda *_, **__: None)
    assert uploader("enqueue", model).code == 0
    sql("UPDATE jobs SET seal = 'made with the secret'")
    assert uploader("run", "--until-idle").code == 2
    assert caplog.messages[-1] == "job 1 has a seal: a worker without the secret does not take it"


@pytest.mark.parametrize("in_time", [True, False])
def test_a_drain_that_the_store_holds_up_is_left(
    in_time: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended, left = threading.Event(), list[int]()
    clock = ScriptedClock(lambda: None, *([ended.set] if in_time else []))
    worker = Draining(clock)
    monkeypatch.setattr("uploader.wiring.clock", lambda: clock)
    monkeypatch.setattr("uploader.service.daemon.os._exit", left.append)
    daemon._leave_if_stuck(cast(Worker, worker), ended)
    assert left == ([] if in_time else [11])
    assert clock.passed_s >= DRAIN_S


class Draining:
    """A worker that was told to drain a second ago."""

    def __init__(self, clock: ScriptedClock) -> None:
        self.clock = clock

    @property
    def draining(self) -> bool:
        return self.clock.passed_s > 0


def test_db(uploader: Command) -> None:
    version = uploader("db", "upgrade").out
    assert version.strip()
    assert uploader("db", "current").out == version


def test_config_show_tells_where_each_comes_from(
    uploader: Command,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    terminal: Callable[[int], None],
) -> None:
    (home / "my.toml").write_text('[transfer]\nmax_files = 7\nbandwidth_limit = "20MB/s"\n')
    monkeypatch.setenv("UPLOADER_TRANSFER__MAX_FILES", "5")
    out = uploader("--config", "my.toml", "config", "show").out
    assert "transfer.max_files\t5\tUPLOADER_TRANSFER__MAX_FILES\n" in out
    assert f"transfer.bandwidth_limit\t20MB/s\t{home / 'my.toml'}\n" in out
    assert "transfer.max_jobs\t2\tdefault\n" in out
    terminal(80)
    shown = uploader("config", "show").out.splitlines()
    assert "transfer.max_files             5  (UPLOADER_TRANSFER__MAX_FILES)" in shown
    assert not any("…" in one for one in shown)


def test_config_path_and_check(uploader: Command, home: Path) -> None:
    none = uploader("config", "path")
    assert (none.code, none.out) == (0, "")
    assert "no configuration file" in none.err
    file = home / "my.toml"
    file.write_text("[lease]\nduration = 'never'\n")
    assert uploader("--config", file, "config", "check").code == 2
    file.write_text("")
    assert uploader("--config", file, "config", "path").out == f"{file}\n"
    checked = uploader("--config", file, "config", "check")
    assert checked.out.splitlines()[-2:] == ["API key\tnone", "ok"]
    assert "warning: there is no API key: set the worker's FIREWORKS_API_KEY" in checked.err


def test_config_check_says_which_key_would_be_used(
    uploader: Command, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIREWORKS_API_KEY", "fw_0123456789abcdef")
    assert "API key\tfrom FIREWORKS_API_KEY\n" in uploader("config", "check").out
    monkeypatch.delenv("FIREWORKS_API_KEY")
    monkeypatch.setenv("UPLOADER_FIREWORKS__API_KEY_FILE", str(home / "key"))
    missing = uploader("config", "check", "--json")
    assert (missing.code, missing.json["error"]["code"]) == (2, "no_key")
    (home / "key").write_text("fw_0123456789abcdef\n")
    (home / "key").chmod(0o600)
    assert uploader("config", "check", "--json").json["api_key"] == f"the key file {home / 'key'}"


def test_config_check_names_files_and_programs_that_the_current_folder_chooses(
    uploader: Command, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever stands in a stranger's folder would take its key, or run its program."""
    (home / "key").write_text("fw_0123456789abcdef")
    (home / "key").chmod(0o600)
    monkeypatch.setenv("UPLOADER_FIREWORKS__API_KEY_FILE", "key")
    answer = uploader("config", "check")
    assert "fireworks.api_key_file key is relative: in another folder, that is an" in answer.err
    monkeypatch.setenv("UPLOADER_FIREWORKS__API_KEY_FILE", str(home / "key"))
    assert "relative" not in uploader("config", "check").err
    monkeypatch.delenv("UPLOADER_FIREWORKS__API_KEY_FILE")
    (home / "bin").mkdir()
    (home / "bin" / "getkey").write_text("#!/bin/sh\necho fw_0123456789abcdef\n")
    (home / "bin" / "getkey").chmod(0o700)
    whole = f"{home}/bin/getkey"
    for command, told in [("bin/getkey", True), (whole, False), (f"sh {whole}", False)]:
        monkeypatch.setenv("UPLOADER_FIREWORKS__API_KEY_COMMAND", command)
        answer = uploader("config", "check")
        assert ("the key command is relative: whatever has that name" in answer.err) is told
        assert "getkey" not in answer.out + answer.err


def test_config_check_names_a_state_folder_that_moves_with_the_current_folder(
    uploader: Command, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPLOADER_STATE_DIR", "state")
    answer = uploader("config", "check")
    assert answer.code == 0
    assert f"state_dir state is relative: from this folder it is {home / 'state'}" in answer.err


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("sqlite:///jobs.db", True),
        ("sqlite:///jobs.db?password=canary", True),
        ("sqlite:////tmp/jobs.db", False),
        ("sqlite:///%2Ftmp/jobs.db", False),
        ("sqlite:///STATE_DIR/jobs.db", False),
        ("postgresql://me:canary@host/db", False),
    ],
)
def test_config_check_names_a_job_table_that_moves_with_the_current_folder(
    uploader: Command, home: Path, monkeypatch: pytest.MonkeyPatch, url: str, *, told: bool
) -> None:
    monkeypatch.setenv("UPLOADER_DATABASE_URL", url)
    answer = uploader("config", "check")
    relative = f"relative: from this folder it is {home / 'jobs.db'}" in answer.err
    assert relative is told
    assert "canary" not in answer.err


@pytest.mark.parametrize("faults", ["no-such-file", "[{]", '[{"on": "x"}]'])
def test_a_sandbox_with_wrong_faults(faults: str, uploader: Command) -> None:
    answer = uploader("sandbox", "--faults", faults)
    assert (answer.code, answer.out) == (2, "")
    assert "error: the sandbox cannot start" in answer.err


def test_a_fault_that_is_none_is_reported_with_what_there_is(uploader: Command) -> None:
    answer = uploader("sandbox", "--faults", '[{"on": "put", "do": {"status": 503}}]')
    assert answer.code == 2
    assert "are names, not {'status': 503}" in answer.err
    assert "--faults help" in answer.err


def test_the_sandbox_lists_its_faults(uploader: Command) -> None:
    answer = uploader("sandbox", "--faults", "help")
    assert "\\n" not in answer.out
    assert (answer.code, answer.err) == (0, "")
    assert "| `store-and-forward` | `put` | `bytes_per_s` |" in answer.out


def test_the_demo_ends_as_it_says(uploader: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[dict[str, object]] = []

    def main(**options: object) -> int:
        told.append(options)
        return 1

    monkeypatch.setattr("uploader.demo.main", main)
    assert uploader("demo").code == 1
    assert uploader("demo", "--keep", "--pace", "2.5").code == 1
    assert uploader("demo", "--page").code == 1
    assert told == [
        {"keep": False, "pace_s": 0.0, "page": False},
        {"keep": True, "pace_s": 2.5, "page": False},
        {"keep": False, "pace_s": 0.0, "page": True},
    ]
