"""What every command has in common: failures as JSON, --config anywhere, columns, colours."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Answer, Command, ScriptedClock, found
from tests.cli.test_other_commands import commands
from tests.model.build import BASE, LORA, folder
from uploader import __version__
from uploader.cli import terminal

Sql = Callable[[str], None]
MODEL = "MODEL"

#: Every command with a result, and what it is given.
WITH_RESULT: dict[str, tuple[str, ...]] = {
    "enqueue": (MODEL,),
    "upload": (MODEL,),
    "preflight": (MODEL,),
    "status": (),
    "show": ("1",),
    "explain": ("1",),
    "wait": ("1",),
    "pause": ("1",),
    "resume": ("1",),
    "cancel": ("1",),
    "retry": ("1",),
    "remove": ("1",),
    "prune": (),
    "receipt": ("1",),
    "verify": ("1",),
    "logs": (),
    "events": (),
    "config show": (),
    "config path": (),
    "config check": (),
    "db current": (),
    "db upgrade": (),
    "db backup": (),
    "hooks list": (),
    "edit": ("--priority", "3", "1"),
    "limit": (),
}
#: Those that ask Fireworks or a service manager: what they give has tests of its own.
ASKING: dict[str, tuple[str, ...]] = {
    "model list": (),
    "model show": ("some-model",),
    "model adopt": ("some-model", MODEL),
    "model delete": ("some-model",),
    "service status": (),
}
EVERY = [*WITH_RESULT, *ASKING]
OF_JOBS = [name for name, words in WITH_RESULT.items() if words == ("1",)]
OF_THE_STORE = [
    name for name in WITH_RESULT if not name.startswith("config") and name != "preflight"
]

#: Every way to fail: what is added to the command line, and the exit code.
FAILURES: dict[str, tuple[list[str], tuple[str, ...], int]] = {
    "an unknown option": (EVERY, ("--frob",), 2),
    "a missing configuration": (EVERY, ("--config", "missing.toml"), 2),
    "a wrong configuration": (EVERY, ("--config", "wrong.toml"), 2),
    "no key": ([name for name in ASKING if name.startswith("model")], (), 8),
    "no such job": (OF_JOBS, ("no-such-job",), 4),
    "a damaged store": (OF_THE_STORE, (), 11),
    "a bug": (OF_THE_STORE, (), 1),
}
CASES = [(name, failure) for failure, (names, _, _) in FAILURES.items() for name in names]


def line(name: str, model: Path, *more: str) -> list[str]:
    words = {**WITH_RESULT, **ASKING}[name]
    given = [str(model) if word == MODEL else word for word in words]
    return [*name.split(), *more, *given]


@pytest.mark.parametrize(("name", "failure"), CASES)
def test_a_failure_is_a_document_too_and_has_the_same_exit_code(
    name: str,
    failure: str,
    uploader: Command,
    model: Path,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (home / "wrong.toml").write_text("[transfer]\nmax_fils = 3\n")
    _, more, code = FAILURES[failure]
    words = line(name, model, *more) if failure != "no such job" else [*name.split(), *more]
    if failure == "a damaged store":
        (home / "state").mkdir(mode=0o700)
        (home / "state" / "uploader.db").write_text("no database at all, " * 99)
    if failure == "a bug":
        monkeypatch.setattr("uploader.wiring.Store.__enter__", broken)
    plain, answer = uploader(*words), uploader(*words, "--json")
    assert (plain.code, answer.code) == (code, code)
    assert plain.out == ""
    error = answer.json["error"]
    assert error.keys() == {"code", "message", "hint"}
    assert re.fullmatch("[a-z_]+", error["code"])
    assert f"error: {error['message']}" in answer.err
    assert answer.err.splitlines()[-1] == f"hint: {error['hint']}"


def broken(_: object) -> None:
    raise ValueError("broken")


@pytest.mark.parametrize("name", WITH_RESULT)
def test_a_result_is_one_document(
    name: str, uploader: Command, model: Path, sql: Sql, finish: Callable[[str], None]
) -> None:
    uploader("enqueue", model)
    if name in ("receipt", "verify"):
        finish("done")
    else:
        sql(f"UPDATE jobs SET status = '{STATUS.get(name, 'active')}'")
    answer = uploader(*line(name, model, "--json"))
    assert answer.code == 0
    for document in answer.out.splitlines() if name in ("logs", "events") else [answer.out]:
        assert isinstance(json.loads(document), dict)


STATUS = {"retry": "failed", "remove": "failed", "upload": "done", "wait": "done"}


def test_every_command_with_a_result_is_in_the_table() -> None:
    takes_json = {
        " ".join(words)
        for words in commands()
        if any("--json" in param.opts for param in found(words).params)
    }
    # What is wrong is the result of `doctor`, and not its failure.
    assert takes_json - {"doctor"} == set(EVERY)


def test_other_names(uploader: Command, model: Path) -> None:
    uploader("enqueue", model)
    assert uploader("ls").out == uploader("list").out == uploader("status").out
    assert uploader("version").out == f"uploader {__version__}\n"
    uploader("cancel", "1")
    assert uploader("rm", "1").out == "1\tremoved\n"


@pytest.mark.parametrize("place", range(4))
def test_the_configuration_is_given_anywhere(place: int, uploader: Command, home: Path) -> None:
    (home / "my.toml").write_text("[transfer]\nmax_files = 7\n")
    words = ["config", "show", "--json"]
    words[place:place] = ["--config", "my.toml"]
    settings = {one["setting"]: one["value"] for one in uploader(*words).json["settings"]}
    assert settings["transfer.max_files"] == "7"


def test_of_two_configurations_the_last_counts(uploader: Command, home: Path) -> None:
    (home / "a.toml").touch()
    (home / "b.toml").touch()
    given = uploader("--config", "a.toml", "config", "path", "--config", "b.toml")
    assert given.out == f"{home / 'b.toml'}\n"


def test_a_bad_folder_does_not_stop_the_rest(uploader: Command, home: Path) -> None:
    for name in ("a", "c"):
        folder(home / name, BASE)
    (home / "b").mkdir()
    answer = uploader("enqueue", "a", "nowhere", "b", "c")
    assert (answer.code, answer.out) == (4, "1\n2\n")
    again = uploader("enqueue", "c", "b", "a", "--json")
    assert again.code == 6
    assert [job["id"] for job in again.json["jobs"]] == [2, 1]
    (refused,) = again.json["errors"]
    assert (refused["given"], refused["code"]) == ("b", "preflight")
    assert [one["check"] for one in refused["findings"]] == ["empty_folder"]
    assert again.json["error"]["code"] == "preflight"


@pytest.mark.parametrize("command", ["enqueue", "upload"])
def test_of_several_folders_each_is_named_before_what_is_said_of_it(
    command: str, uploader: Command, home: Path
) -> None:
    for name in ("a", "b"):
        folder(home / name, {**LORA, "README.md": b"x"})
    lines = uploader(command, "a", "b").err.splitlines()
    (first, second) = (lines.index(f"{name}:") for name in ("a", "b"))
    assert any(line.startswith("left out: ") for line in lines[first:second])
    assert any(line.startswith("left out: ") for line in lines[second:])
    assert "a:" not in uploader(command, "a").err.splitlines()


def test_a_refused_folder_has_its_findings_in_the_document(uploader: Command, home: Path) -> None:
    (home / "b").mkdir()
    for name in ("enqueue", "preflight"):
        answer = uploader(name, "b", "--json")
        assert (answer.code, answer.json["error"]["code"]) == (6, "preflight")
        assert [one["check"] for one in answer.json["findings"]] == ["empty_folder"]


@pytest.mark.parametrize(
    ("end", "code", "error"),
    [
        ("status = 'cancelled'", 7, ("cancelled", "job 1 is cancelled")),
        ("status = 'blocked', reason_code = 'no_key', reason_message = 'x'", 8, ("no_key", "x")),
    ],
)
def test_a_job_that_did_not_end_well_is_an_error_of_whoever_waited(
    end: str, code: int, error: tuple[str, str], uploader: Command, model: Path, sql: Sql
) -> None:
    uploader("enqueue", model)
    sql(f"UPDATE jobs SET {end}")
    answer = uploader("wait", "1", "--json")
    found = answer.json["error"]
    assert (answer.code, (found["code"], found["message"])) == (code, error)
    assert answer.json["schema"] == "uploader.job/1"


def test_a_wait_that_times_out_is_an_error_too(
    uploader: Command, model: Path, clock: ScriptedClock
) -> None:
    del clock
    uploader("enqueue", model)
    answer = uploader("wait", "1", "--timeout", "3", "--json")
    assert (answer.code, answer.json["error"]["code"]) == (10, "timed_out")


def test_one_id_for_several_folders_is_refused(uploader: Command, model: Path) -> None:
    answer = uploader("enqueue", model, model, "--model-id", "m")
    assert (answer.code, answer.out) == (2, "")


@pytest.fixture
def three(uploader: Command, home: Path, store: Path, sql: Sql) -> None:
    """A paused, an active and a failed job."""
    del store
    for name in ("one", "two", "three"):
        folder(home / name, BASE)
    uploader("enqueue", "one", "two", "three")
    sql("UPDATE jobs SET status = 'paused' WHERE id = 1;"
        "UPDATE jobs SET status = 'failed' WHERE id = 3")  # fmt: skip


@pytest.mark.parametrize(
    ("verb", "changed"),
    [("pause", [2]), ("resume", [1]), ("cancel", [1, 2, 3]), ("retry", [3]), ("remove", [3])],
)
@pytest.mark.usefixtures("three")
def test_all_means_every_job_to_which_the_verb_applies(
    verb: str, changed: list[int], uploader: Command
) -> None:
    answer = uploader(verb, "--all", "--json")
    assert answer.code == 0
    assert [job["id"] for job in answer.json["jobs"]] == changed
    again = uploader(verb, "--all")
    assert (again.code, again.out) == (0, "")


@pytest.mark.parametrize("verb", ["pause", "resume", "cancel", "retry", "remove"])
def test_all_goes_without_a_job_and_without_a_store(
    verb: str, uploader: Command, home: Path
) -> None:
    assert uploader(verb, "--all", "1").code == 2
    assert uploader(verb).code == 2
    assert uploader(verb, "--all").code == 0
    assert not (home / "state").exists()


@pytest.mark.usefixtures("three")
def test_a_job_that_fails_does_not_hide_the_others(uploader: Command) -> None:
    answer = uploader("pause", "2", "9", "3", "--json")
    assert answer.code == 4
    assert [(job["id"], job["status"]) for job in answer.json["jobs"]] == [(2, "paused")]
    codes = [(one["given"], one["code"]) for one in answer.json["errors"]]
    assert codes == [("9", "not_found"), ("3", "verb_refused")]


@pytest.mark.usefixtures("three")
def test_status_and_show_take_several_jobs_and_status_a_state(uploader: Command) -> None:
    ids = [row["id"] for row in rows(uploader("status", "3", "1"))]
    assert ids == ["3", "1"]
    assert [row["id"] for row in rows(uploader("status", "--state", "paused"))] == ["1"]
    both = uploader("status", "--state", "paused", "--state", "failed", "--json").json["jobs"]
    assert [job["status"] for job in both] == ["paused", "failed"]
    told = uploader("explain", "3", "1", "--json").json["explanations"]
    assert [(one["job"], one["status"]) for one in told] == [(3, "failed"), (1, "paused")]
    shown = uploader("show", "1", "two", "--json").json["jobs"]
    assert [len(job["files"]) for job in shown] == [len(BASE)] * 2


def rows(answer: Answer) -> list[dict[str, str]]:
    """What is piped, by the names in its first line."""
    first, *lines = answer.out.splitlines()
    assert first.startswith("#")
    names = first[1:].split("\t")
    return [dict(zip(names, one.split("\t"), strict=True)) for one in lines]


def test_piped_status_and_show_name_their_columns(uploader: Command, model: Path, sql: Sql) -> None:
    uploader("enqueue", model)
    sql("UPDATE files SET mark_bytes = 20, bytes_sent = 30 WHERE path = 'config.json'")
    (job,) = rows(uploader("status"))
    assert (job["id"], job["stage"], job["status"]) == ("1", "create", "active")
    assert (job["sent"], job["confirmed"]) == ("20", "0")
    _, _, files = uploader("show", "1").out.partition("\n\n")
    listed = rows(Answer(0, files, ""))
    assert [file["path"] for file in listed] == sorted(BASE)
    assert listed[1]["bytes_sent"] == "30"


def test_a_table_is_printed_into_a_pipe_if_it_is_asked_for(uploader: Command, model: Path) -> None:
    uploader("enqueue", model)
    assert uploader("status", "--table").out.startswith("ID  MODEL ")
    assert "FILE " in uploader("show", "1", "--table").out


def test_no_jobs_are_a_heading_alone(uploader: Command) -> None:
    first, second = uploader("status").out.splitlines()
    assert first.startswith("#id\tmodel\t")
    assert second == "# no jobs"
    assert uploader("status", "--table").out == "no jobs\n"


@pytest.mark.parametrize(("no_colour", "painted"), [("", True), ("1", False)])
def test_a_terminal_is_coloured_unless_it_is_not_wanted(
    no_colour: str,
    painted: bool,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NO_COLOR", no_colour)
    monkeypatch.setattr("uploader.cli.colour.is_terminal", lambda _: True)
    terminal.out_table(("ID", "STATUS", "FILES"), [("1", "failed", "2/3")], 80)
    heading, line = capsys.readouterr().out.splitlines()
    assert heading == "ID  STATUS  FILES"
    assert line == ("1   \x1b[31mfailed\x1b[0m  2/3" if painted else "1   failed  2/3")


def test_what_a_file_is_called_cannot_colour_anything(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.out_table(("ID", "MODEL"), [("1", "\x1b[31mx")], 80)
    assert "\x1b" not in capsys.readouterr().out
