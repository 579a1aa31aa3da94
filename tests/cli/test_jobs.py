"""status, show, explain and the verbs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from tests.cli.conftest import Command, ScriptedClock
from uploader.store.database.workers import WorkerLock

Sql = Callable[[str], None]


@pytest.fixture
def enqueued(uploader: Command, model: Path, clock: ScriptedClock, store: Path) -> None:
    del clock, store
    uploader("enqueue", model)


def test_no_store_means_no_jobs(uploader: Command, home: Path) -> None:
    for command in ((), ("status",)):
        answer = uploader(*command)
        assert (answer.code, answer.err) == (0, "")
        assert answer.out.splitlines()[1:] == ["# no jobs"]
    document = uploader("status", "--json").json
    assert document.pop("limits")["bandwidth"]["value"] == "off"
    assert document == {
        "schema": "uploader.jobs/1",
        "jobs": [],
        "workers": [],
        "jobs_left_out": 0,
    }
    assert (uploader("logs").code, uploader("events").out) == (0, "")
    assert not (home / "state").exists()


@pytest.mark.usefixtures("enqueued")
def test_status_piped_is_columns(uploader: Command) -> None:
    lines = uploader("status").out
    _, line = lines.splitlines()
    assert line.startswith("1\taccounts/-/models/my-model-3p1\tcreate\tactive\t0\t6\t0\t")
    assert lines == uploader("status", "my-model-3p1").out == uploader().out


@pytest.mark.usefixtures("enqueued")
def test_status_on_a_terminal_is_a_table_with_what_to_do(
    uploader: Command, sql: Sql, terminal: Callable[[int], None]
) -> None:
    sql("UPDATE jobs SET status = 'blocked', reason_code = 'key', reason_hint = 'set a key',"
        " reason_message = 'no API \x1b[31mkey'")  # fmt: skip
    terminal(80)
    answer = uploader("status")
    lines = answer.out.splitlines()
    assert lines[0].split() == [*("ID", "MODEL", "STAGE", "STATUS", "SENT", "CONFIRMED", "FILES")]
    assert lines[3:] == ["job 1 blocked: no API \\x1b[31mkey", "  hint: set a key"]
    assert all(len(line) <= 80 for line in lines)


@pytest.mark.usefixtures("enqueued")
def test_status_of_one_as_json_is_a_list_too(uploader: Command) -> None:
    document = uploader("status", "1", "--json").json
    assert document["schema"] == "uploader.jobs/1"
    assert [job["id"] for job in document["jobs"]] == [1]


@pytest.mark.usefixtures("enqueued")
def test_show_has_the_files(uploader: Command, sql: Sql, terminal: Callable[[int], None]) -> None:
    sql("UPDATE files SET last_error = 'reset', attempts = 2 WHERE path = 'config.json'")
    document = uploader("show", "1", "--json").json
    assert document["schema"] == "uploader.job/1"
    assert document["files"][1]["path"] == "config.json"
    piped = uploader("show", "1").out
    assert "status\tactive\n" in piped
    assert "config.json\t39\t0\t0\t0\tfalse\tfalse\t\tsession\t2\treset\t\n" in piped
    terminal(80)
    shown = uploader("show", "1").out
    assert "status    active\n" in shown
    assert "config.json: reset\n" in shown


@pytest.mark.usefixtures("enqueued")
def test_explain_says_what_to_do(
    uploader: Command, sql: Sql, clock: ScriptedClock, terminal: Callable[[int], None]
) -> None:
    assert "no worker runs: start `uploader run`" in uploader("explain", "1").out
    later = clock.now() + timedelta(minutes=2)
    sql(f"UPDATE jobs SET not_before = '{later:%Y-%m-%d %H:%M:%S.%f}', reason_code = 'remote',"
        " reason_message = 'the service answered 503.', reason_hint = ''")  # fmt: skip
    waiting = uploader("explain", "1").out
    assert "It waits until 2026-11-22T12:02:00Z." in waiting
    assert "Why: the service answered 503." in waiting
    sql("UPDATE jobs SET status = 'failed', not_before = NULL, reason_hint = 'fix it'")
    terminal(72)
    failed = uploader("explain", "1").out
    assert "It has failed in stage create" in failed
    assert "To do: fix it; then `uploader retry 1`." in failed
    assert "`uploader retry 1`" in failed
    assert "job 1 enqueued: enqueued" in failed
    wrapped = [line for line in failed.splitlines() if len(line.split()) > 1]
    assert max(map(len, wrapped)) <= 72  # a path alone in its line is not broken


@pytest.mark.usefixtures("enqueued")
def test_explain_says_what_a_plain_put_cannot_do(uploader: Command, sql: Sql) -> None:
    sql("UPDATE jobs SET stage = 'upload'; UPDATE files SET mode = 'put'")
    assert "by plain PUT only: one that is cut is sent again" in uploader("explain", "1").out
    assert "a cut of" not in uploader("explain", "1").out
    sql("UPDATE files SET size_bytes = 20000000000 WHERE path = 'config.json'")
    costly = uploader("explain", "1").out
    assert "Warning: a cut of config.json costs up to 18.6 GiB." in costly
    assert costly.count("a cut of") == 1
    sql("UPDATE files SET mode = 'session'")
    assert "plain PUT" not in uploader("explain", "1").out


@pytest.mark.usefixtures("enqueued")
def test_explain_warns_of_a_session_that_ends_too_soon(
    uploader: Command, sql: Sql, clock: ScriptedClock, home: Path
) -> None:
    opened = clock.now() - timedelta(days=6, hours=23)
    with WorkerLock(home / "state") as lock:
        sql("UPDATE jobs SET stage = 'upload', rate_bps = 0.5, lease_token = 't',"
            f" lease_owner = '{lock.owner}';"
            f"UPDATE files SET session_uri = 'x', session_at = '{opened:%Y-%m-%d %H:%M:%S.%f}'"
            " WHERE path = 'model.safetensors'")  # fmt: skip
        assert "Warning: model.safetensors needs" in uploader("explain", "1").out


@pytest.mark.usefixtures("enqueued")
@pytest.mark.parametrize("command", ["show", "explain", "wait", "status"])
def test_a_hint_that_names_a_field_is_given_as_its_flag(
    uploader: Command, sql: Sql, command: str, terminal: Callable[[int], None]
) -> None:
    sql("UPDATE jobs SET status = 'failed', reason_code = 'already_exists',"
        " reason_message = 'it is there', reason_hint = 'choose another `model_id`'")  # fmt: skip
    if command == "status":
        terminal(200)
    answer = uploader(command, "1")
    assert "choose another --model-id" in answer.out + answer.err


@pytest.mark.usefixtures("enqueued")
def test_the_verbs(uploader: Command) -> None:
    assert uploader("pause", "1").out == "1\tpaused\n"
    assert uploader("resume", "my-model-3p1").out == "1\tactive\n"
    assert uploader("retry", "1").out == "1\tactive\n"
    assert uploader("cancel", "1").out == "1\tcancelled\n"
    assert uploader("remove", "1").out == "1\tremoved\n"
    assert uploader("status", "--table").out == "no jobs\n"


@pytest.mark.usefixtures("enqueued")
def test_a_verb_does_all_it_can_and_reports_the_rest(uploader: Command) -> None:
    answer = uploader("pause", "7", "1")
    assert (answer.code, answer.out) == (4, "1\tpaused\n")
    assert "error: there is no job 7" in answer.err
    answer = uploader("retry", "1", "7")
    assert "error: a paused job cannot be changed by 'retry'" in answer.err
    assert answer.code == 5


@pytest.mark.usefixtures("enqueued")
@pytest.mark.parametrize(
    ("verb", "status"), [("resume", "active"), ("pause", "paused"), ("cancel", "cancelled")]
)
def test_a_verb_said_twice_succeeds_and_does_nothing_more(
    uploader: Command, verb: str, status: str
) -> None:
    uploader(verb, "1")
    before = uploader("events").out, uploader("status", "--json").out
    again = uploader(verb, "1")
    assert (again.code, again.out) == (0, f"1\t{status}\n")
    assert f"job 1 is already {status}" in again.err
    assert (uploader("events").out, uploader("status", "--json").out) == before


@pytest.mark.usefixtures("enqueued")
def test_a_verb_that_is_refused_is_not_called_done(uploader: Command) -> None:
    uploader("cancel", "1")
    again = uploader("cancel", "1", "--delete-remote")
    assert again.code == 2
    assert "did not create" in again.err
    assert "already" not in again.err


@pytest.mark.usefixtures("enqueued")
def test_remove_of_a_job_that_is_not_over_exits_5(uploader: Command) -> None:
    assert uploader("remove", "1").code == 5


@pytest.mark.usefixtures("enqueued")
def test_only_a_model_of_ours_is_deleted(uploader: Command, sql: Sql) -> None:
    assert uploader("cancel", "1", "--delete-remote").code == 2
    assert uploader("status", "--json").json["jobs"][0]["status"] == "active"
    sql("UPDATE jobs SET created_remotely = 1")
    answer = uploader("cancel", "1", "--delete-remote")
    assert (answer.code, answer.out) == (0, "1\tcancelled\n")
    assert "a worker will delete accounts/-/models/my-model-3p1" in answer.err


@pytest.mark.usefixtures("enqueued")
def test_pause_says_what_a_plain_put_loses(uploader: Command, sql: Sql) -> None:
    sql("UPDATE files SET mode = 'put', mark_bytes = 20 WHERE path = 'config.json'")
    err = uploader("pause", "1").err
    assert "20 B of config.json went by plain PUT and will be sent again" in err


@pytest.mark.usefixtures("enqueued")
def test_remove_says_how_many_events_go_with_the_job(uploader: Command) -> None:
    uploader("cancel", "1")
    assert "job 1: gone from the history, too: 2 events\n" in uploader("remove", "1").err
    assert uploader("events").out == ""
