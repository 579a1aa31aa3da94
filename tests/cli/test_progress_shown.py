"""Sent and confirmed are two things wherever progress is shown; without a worker, that is said."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from rich.progress import Progress

from tests.cli.conftest import Command, ScriptedClock
from tests.model.build import BASE, folder
from uploader import wiring
from uploader.cli.bars import TwoTones
from uploader.settings.load import load
from uploader.store.database.workers import WorkerLock

Sql = Callable[[str], None]
NO_WORKER = "no worker runs: start `uploader run`"


@pytest.fixture
def sending(uploader: Command, home: Path, store: Path, clock: ScriptedClock, sql: Sql) -> Sql:
    """A job of one file of 1000 bytes: 700 sent in all, 600 on this session, 256 confirmed."""
    del store
    assert uploader("enqueue", folder(home / "one", BASE)).code == 0
    now = f"{clock.now():%Y-%m-%d %H:%M:%S.%f}"
    sql("DELETE FROM files WHERE path <> 'config.json';"
        'UPDATE files SET size_bytes = 1000, "offset" = 256, mark_bytes = 600, bytes_sent = 700,'
        " session_uri = 'x';"
        f"UPDATE jobs SET stage = 'upload', rate_bps = 100, updated_at = '{now}',"
        " lease_owner = 'w', lease_token = 't';")  # fmt: skip
    return sql


@pytest.fixture
def held(home: Path, sending: Sql) -> Iterator[str]:
    """The same in the hands of a worker that lives."""
    with WorkerLock(home / "state") as lock:
        sending(f"UPDATE jobs SET lease_owner = '{lock.owner}'")
        yield lock.owner


def test_every_command_shows_both(
    uploader: Command, held: str, terminal: Callable[[int], None]
) -> None:
    del held
    file = uploader("show", "1", "--json").json["files"][0]
    assert (file["offset"], file["bytes_sent"]) == (256, 700)
    assert "\t600\t256\t1000\t100\t4\t" in uploader("status").out
    assert "600 B (60%) are sent and 256 B (25%) are confirmed" in uploader("explain", "1").out
    terminal(80)
    heading, row = uploader("status").out.splitlines()
    assert (heading.split()[4:6], row.split()[4:6]) == (["SENT", "CONFIRMED"], ["60%", "25%"])
    shown = uploader("show", "1").out
    assert "sent      600 B of 1000 B (60%)\nconfirmed 256 B of 1000 B (25%)\n" in shown
    assert shown.splitlines()[-1].split() == ["config.json", "1000", "B", "60%", "25%", "no",
                                              "session", "0"]  # fmt: skip


def test_a_living_worker_has_a_rate_and_is_listed(uploader: Command, held: str) -> None:
    document = uploader("status", "--json").json
    assert document["workers"] == [{"id": held, "jobs": [1]}]
    assert (document["jobs"][0]["rate_bps"], document["jobs"][0]["eta_s"]) == (100, 4)


@pytest.mark.parametrize("named", ["uploader.db", "link.db"])
def test_a_worker_of_the_same_table_lives_whatever_state_folder_it_has(
    uploader: Command, held: str, home: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    """Two workers would take each other for dead otherwise, again and again."""
    (home / "state/link.db").symlink_to("uploader.db")
    monkeypatch.setenv("UPLOADER_DATABASE_URL", f"sqlite:///{home}/state/{named}")
    monkeypatch.setenv("UPLOADER_STATE_DIR", str(home / "another"))
    assert uploader("status", "--json").json["workers"] == [{"id": held, "jobs": [1]}]
    settings = load()
    with wiring.worker(settings, print) as (worker, _):
        worker._context.claims.reap(worker._context.alive)
    assert uploader("status", "--json").json["workers"] == [{"id": held, "jobs": [1]}]


@pytest.mark.usefixtures("held")
def test_a_worker_of_another_table_in_the_same_folder_does_not_count(
    uploader: Command, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`upload` would wait for it for ever."""
    monkeypatch.setenv("UPLOADER_DATABASE_URL", f"sqlite:///{home}/state/another.db")
    assert uploader("enqueue", home / "one").code == 0
    assert uploader("status", "--json").json["workers"] == []
    assert NO_WORKER in uploader("status").err
    settings = load()
    with wiring.worker(settings, print) as (worker, _):
        (seen,) = uploader("status", "--json").json["workers"]
        assert seen["id"] == worker._context.owner


@pytest.mark.usefixtures("sending")
def test_a_worker_that_was_killed_has_none(
    uploader: Command, terminal: Callable[[int], None]
) -> None:
    document = uploader("status", "--json").json
    assert document["workers"] == []
    assert (document["jobs"][0]["rate_bps"], document["jobs"][0]["eta_s"]) == (None, None)
    assert NO_WORKER in uploader("status").err
    assert "worker\tno worker runs" in uploader("show", "1").out
    assert NO_WORKER in uploader("explain", "1").out
    terminal(80)
    assert uploader("status").out.splitlines()[3] == NO_WORKER
    assert "RATE" not in uploader("status").out


@pytest.mark.usefixtures("held")
@pytest.mark.parametrize(
    ("status", "hint", "to_do"),
    [
        ("active", "", []),
        ("active", "wait", ["To do: wait."]),
        ("failed", "", ["To do: `uploader retry 1`."]),
        ("failed", "fix it.", ["To do: fix it; then `uploader retry 1`."]),
        ("failed", "`uploader retry --rescan`", ["To do: `uploader retry --rescan`."]),
        ("paused", "", ["To do: `uploader resume 1` lets it go on."]),
        ("blocked", "set a key", ["To do: set a key."]),
    ],
)
def test_there_is_one_state_and_one_thing_to_do(
    uploader: Command, sending: Sql, status: str, hint: str, to_do: list[str]
) -> None:
    sending(f"UPDATE jobs SET status = '{status}', reason_code = 'x', reason_message = 'so',"
            f" reason_hint = '{hint}'")  # fmt: skip
    lines = uploader("explain", "1").out.splitlines()
    assert [line for line in lines if line.startswith("To do")] == to_do
    assert ("its files are being sent" in lines[1]) == (status == "active")


@pytest.mark.usefixtures("sending")
def test_nothing_is_being_sent_without_a_worker(uploader: Command) -> None:
    explained = uploader("explain", "1").out
    assert "It is active in stage upload.\n" in explained
    assert f"To do: {NO_WORKER}." in explained
    document = uploader("explain", "1", "--json").json
    assert (document["job"], document["to_do"]) == (1, NO_WORKER)
    assert document["sentences"][1] == "It is active in stage upload."
    assert [event["kind"] for event in document["events"]] == ["enqueued"]


@pytest.mark.usefixtures("sending")
@pytest.mark.parametrize(
    ("hint", "to_do"),
    [
        ("uploader tries again by itself", f"To do: {NO_WORKER}."),
        ("mount it", f"To do: mount it; {NO_WORKER}."),
    ],
)
def test_without_a_worker_nothing_happens_by_itself(
    hint: str, to_do: str, uploader: Command, sending: Sql
) -> None:
    sending(f"UPDATE jobs SET reason_code = 'x', reason_message = 'so', reason_hint = '{hint}'")
    assert to_do in uploader("explain", "1").out.splitlines()


@pytest.mark.parametrize(
    ("job", "hint"),
    [
        ("base_url = base_url", ""),
        ("not_before = '2099-01-01T00:00:00.000Z'", ""),
        ("reason_hint = 'mount it'", "mount it"),
        (
            "base_url = 'http://[::1]:1'",
            "`FIREWORKS_BASE_URL='http://[::1]:1' uploader run` takes it",
        ),
    ],
)
def test_what_a_worker_would_do_by_itself_is_not_promised_without_one(
    job: str, hint: str, uploader: Command, sending: Sql, terminal: Callable[[int], None]
) -> None:
    """`status` and `show` say what `explain` says."""
    sending("UPDATE jobs SET reason_code = 'x', reason_message = 'so',"
            f" reason_hint = 'uploader tries again by itself', {job}")  # fmt: skip
    shown = [line for line in uploader("show", "1").out.splitlines() if line.startswith("hint")]
    assert shown == ([f"hint\t{hint}"] if hint else [])
    terminal(200)
    lines = uploader("status").out.splitlines()
    assert [line for line in lines if "hint" in line] == ([f"  hint: {hint}"] if hint else [])


@pytest.mark.usefixtures("held")
def test_a_worker_that_runs_does_it_by_itself(
    uploader: Command, sending: Sql, terminal: Callable[[int], None]
) -> None:
    sending("UPDATE jobs SET reason_code = 'x', reason_message = 'so',"
            " reason_hint = 'uploader tries again by itself'")  # fmt: skip
    terminal(80)
    assert "  hint: uploader tries again by itself" in uploader("status").out.splitlines()


@pytest.mark.usefixtures("held")
def test_a_failed_job_has_one_state_and_one_reason(uploader: Command, sending: Sql) -> None:
    sending("UPDATE jobs SET status = 'failed', reason_code = 'x', reason_message = 'it broke'")
    lines = uploader("explain", "1").out.splitlines()
    assert lines[1] == "It has failed in stage upload."
    assert [line for line in lines if line.startswith(("Why", "To do", "A worker"))] == [
        "Why: it broke.",
        "To do: `uploader retry 1`.",
    ]
    both = uploader("explain", "1", "one", "--json").json
    assert [one["job"] for one in both["explanations"]] == [1, 1]


def test_a_job_for_another_address_is_not_said_to_need_this_worker(
    uploader: Command, sending: Sql, clock: ScriptedClock, terminal: Callable[[int], None]
) -> None:
    """No worker of this configuration would take it: `uploader run` here would not help."""
    sending("UPDATE jobs SET base_url = 'http://[::1]:8080'")
    skipped = "made for http://[::1]:8080; workers with this configuration do not take it"
    step = "`FIREWORKS_BASE_URL='http://[::1]:8080' uploader run` takes it"
    explained = uploader("explain", "1").out
    assert f"Why: {skipped}.\n" in explained
    assert f"To do: {step}.\n" in explained
    assert uploader("explain", "1", "--json").json["to_do"] == step
    assert f"worker\t{skipped}" in uploader("show", "1").out
    clock.steps = [lambda: sending("UPDATE jobs SET status = 'failed'")]
    waited = uploader("wait", "1").err
    assert f"25% of 1000 B confirmed; {skipped}\n" in waited
    retried = uploader("retry", "1").err
    sending("UPDATE jobs SET status = 'active'")
    clock.steps = [lambda: sending("UPDATE jobs SET status = 'failed'")]
    followed = uploader("follow", "1").out
    piped = uploader("status")
    terminal(80)
    shown = uploader("status").out
    for printed in (explained, waited, retried, followed, piped.out + piped.err, shown):
        assert "start `uploader run`" not in printed
        assert "http://[::1]:8080" in printed


def test_a_wait_says_when_the_worker_goes(
    uploader: Command, home: Path, clock: ScriptedClock, sending: Sql
) -> None:
    lock = WorkerLock(home / "state")
    sending(f"UPDATE jobs SET lease_owner = '{lock.owner}'")
    clock.steps = [lambda: None, lock.close, lambda: sending("UPDATE jobs SET status = 'done'")]
    lines = uploader("wait", "1").err.splitlines()
    assert lines == [
        "job 1 one: 0/1 files, 60% sent, 25% of 1000 B confirmed, 100 B/s, ETA 4s",
        f"job 1 one: 0/1 files, 60% sent, 25% of 1000 B confirmed; {NO_WORKER}",
        "job 1 one: READY",
    ]


def test_an_answer_that_is_long_in_coming_is_reported(
    uploader: Command, held: str, sending: Sql, clock: ScriptedClock
) -> None:
    del held
    since = clock.now() - timedelta(seconds=95)
    sending(f"UPDATE files SET awaiting_since = '{since:%Y-%m-%d %H:%M:%S.%f}'")
    waiting = "waiting for the storage service's answer since 11:58:25Z, 1m35s"
    assert waiting in uploader("status").out
    assert waiting in uploader("explain", "1").out
    document = uploader("status", "--json").json["jobs"][0]
    assert document["awaiting_since"] == "2026-11-22T11:58:25.000Z"
    clock.steps = [lambda: sending("UPDATE jobs SET status = 'done'")]
    assert waiting in uploader("wait", "1").err


@pytest.mark.parametrize(("encoding", "bar"), [("utf-8", "██▒▒▒░░░"), ("ascii", "##===...")])
def test_a_bar_has_two_tones(encoding: str, bar: str) -> None:
    column = TwoTones(encoding)
    progress = Progress(column, disable=True)
    task = progress.add_task("", total=1000, completed=256, sent=700)
    drawn = column.render(progress.tasks[task])
    assert drawn.plain == bar
    assert len({span.style for span in drawn.spans}) == 3
