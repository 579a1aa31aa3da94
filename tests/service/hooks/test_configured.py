"""The table of a hook, and the commands that show, check and try hooks."""

from __future__ import annotations

import json
import sys

import pytest

from tests.service.hooks.conftest import Lab, Receiver
from uploader import wiring
from uploader.cli import app
from uploader.core.errors import UsageError
from uploader.settings.hooks import deaf


@pytest.mark.parametrize(
    "table",
    [
        {"name": "h", "on": ["ready"]},
        {"name": "h", "on": ["ready"], "command": ["a"], "ping": "https://x.example"},
        {"name": "h", "on": ["ready"], "command": "a string"},
        {"name": "h", "on": ["nonsense"], "command": ["a"]},
        {"name": "h", "on": [], "command": ["a"]},
        {"name": "h", "on": ["started"], "command": ["a"]},
        {"name": "no good name", "on": ["ready"], "command": ["a"]},
        {"on": ["ready"], "command": ["a"]},
        {"name": "h", "on": ["ready"], "webhook": "ftp://x.example"},
        {"name": "h", "on": ["ready"], "webhook": "https://x.example:9999999"},
        {"name": "h", "on": ["ready"], "webhook": "https://me:pw@x.example"},
        {"name": "h", "on": ["ready"], "command": ["a"], "unknown": 1},
        {"name": "h", "on": ["ready"], "webhook": "https://x.example", "secret_file": "/none"},
        {"name": "h", "on": ["ready"], "command": ["a"], "timeout": "2h"},
    ],
)
def test_a_wrong_table_is_a_usage_error_that_says_which(lab: Lab, table: dict[str, object]) -> None:
    lab.configure()
    with pytest.raises(UsageError, match="hook 1 in") as refused:
        lab.configure(table)
    assert refused.value.hint


@pytest.mark.parametrize(
    ("table", "message", "hint"),
    [
        (
            {"name": "h", "on": ["ready"], "url": "https://x.example"},
            "unknown field url",
            "webhook",
        ),
        ({"name": "h", "on": ["ready"], "web_hook": "https://x.example"}, "web_hook", "webhook?"),
        ({"on": ["ready"], "command": ["a"]}, "name is missing", "[[hooks]]"),
        ({"name": "h", "command": ["a"]}, "on is missing", "[[hooks]]"),
        ({"name": "h", "on": ["ready"], "command": ["a"], "timeout_s": 5}, "timeout_s", "timeout?"),
    ],
)
def test_a_field_that_is_unknown_or_missing_is_told_with_those_there_are(
    table: dict[str, object], message: str, hint: str, lab: Lab
) -> None:
    lab.configure()
    with pytest.raises(UsageError) as refused:
        lab.configure(table)
    assert message in refused.value.message
    assert hint in refused.value.hint


def test_two_hooks_of_one_name_are_refused(lab: Lab) -> None:
    one: dict[str, object] = {"name": "h", "on": ["ready"], "command": ["a"]}
    lab.configure()
    with pytest.raises(UsageError, match="hooks"):
        lab.configure(one, one)


def test_the_urls_and_commands_of_hooks_are_never_shown(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.configure(
        {"name": "h", "on": ["ready"], "apprise": "mailtos://u:swordfish@x.example"},
        {"name": "g", "on": ["ready"], "webhook": "https://x.example/swordfish"},
    )
    config = str(lab.root / "config.toml")
    for words in (
        ["config", "show"],
        ["config", "show", "--json"],
        ["hooks", "list"],
        ["config", "check"],
    ):
        app.run(["--config", config, *words])
    assert "swordfish" not in str(capsys.readouterr()) + repr(lab.settings)


def test_a_hook_that_could_not_be_told_is_known_before_a_job_needs_it(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.configure(
        {"name": "mail", "on": ["failed"], "apprise": "mailtos://u:swordfish@x.example"},
        {"name": "gone", "on": ["ready"], "command": ["/none/deploy", "swordfish"]},
        {"name": "there", "on": ["ready"], "command": ["sh", "-c", "true"]},
    )
    monkeypatch.setitem(sys.modules, "apprise", None)
    app.run(["--config", str(lab.root / "config.toml"), "config", "check"])
    said = capsys.readouterr().err
    assert "hook mail cannot be told: apprise is not installed" in said
    assert "hook gone cannot be told" in said
    assert "hook there" not in said
    assert "swordfish" not in said
    concerns = wiring.concerns(lab.settings, lab.opened._opened())
    assert {*deaf(lab.settings.hooks)} <= {*concerns}


@pytest.mark.parametrize("words", [["config", "check"], ["doctor"]])
def test_a_program_that_others_may_replace_is_told_before_it_runs(
    lab: Lab, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    shared = lab.root / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    (shared / "deploy").write_text("#!/bin/sh\n")
    (shared / "deploy").chmod(0o755)
    hook = {"name": "mine", "on": ["ready"], "command": [str(shared / "deploy")]}
    lab.configure(hook)
    told = f"others may replace the command of hook mine in {shared}/deploy"
    app.run(["--config", str(lab.root / "config.toml"), *words])
    found = capsys.readouterr()
    assert told in " ".join((found.out + found.err).split())
    concerns = wiring.concerns(lab.settings, lab.opened._opened())
    assert any(one.startswith(told) for one in concerns)


def test_hooks_test_says_whether_it_was_taken(
    lab: Lab, receiver: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.configure({"name": "h", "on": ["ready"], "webhook": receiver.url})
    config = str(lab.root / "config.toml")
    assert app.run(["--config", config, "hooks", "test", "h"]) == 0
    receiver.answers = [(500, {})]
    assert app.run(["--config", config, "hooks", "test", "h"]) == 7
    assert app.run(["--config", config, "hooks", "test", "none"]) == 4
    assert "answered 500" in capsys.readouterr().err
    assert json.loads(receiver.got[0][3])["data"]["schema"] == "uploader.job/1"


@pytest.mark.parametrize(
    ("on", "words", "told", "status"),
    [
        (["ready"], [], "ready", "done"),
        (["needs_human", "ready"], [], "failed", "failed"),
        (["needs_human", "ready"], ["--kind", "blocked"], "blocked", "blocked"),
        (["healed"], [], "healed", "active"),
    ],
)
def test_hooks_test_tells_the_first_kind_of_its_hook_or_the_one_that_is_asked_for(
    lab: Lab, receiver: Receiver, on: list[str], words: list[str], told: str, status: str
) -> None:
    lab.configure({"name": "h", "on": on, "webhook": receiver.url})
    config = str(lab.root / "config.toml")
    assert app.run(["--config", config, "hooks", "test", "h", *words]) == 0
    body = json.loads(receiver.got[0][3])
    assert (body["type"], body["data"]["status"]) == (f"job.{told}", status)
    assert bool(body["data"]["reason"]) is (status in ("failed", "blocked"))


def test_hooks_test_tells_no_kind_that_its_hook_is_not_told_of(
    lab: Lab, receiver: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.configure({"name": "h", "on": ["started", "heartbeat"], "ping": f"{receiver.url}/p"})
    test = ["--config", str(lab.root / "config.toml"), "hooks", "test", "h"]
    assert app.run([*test, "--kind", "ready"]) == 2
    assert "--kind may be created, adopted, heartbeat" in capsys.readouterr().err
    assert app.run([*test, "--kind", "heartbeat"]) == 0
    assert app.run(test) == 0
    assert [(method, path) for method, path, *_ in receiver.got] == [
        ("GET", "/p"),
        ("POST", "/p/start"),
    ]
