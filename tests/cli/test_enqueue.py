from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.model.build import BASE, LORA, folder


def test_prints_the_id_alone_and_talks_on_stderr(uploader: Command, model: Path) -> None:
    (model / ".gitattributes").write_text("x")
    answer = uploader("enqueue", model)
    assert (answer.code, answer.out) == (0, "1\n")
    assert "left out: .gitattributes (belongs to git)" in answer.err
    assert "job 1 will be accounts/-/models/my-model-3p1" in answer.err
    assert "no worker runs: start `uploader run`" in answer.err


def test_the_same_again_is_the_same_job(uploader: Command, model: Path, home: Path) -> None:
    link = home / "link"
    link.symlink_to(model)
    words = ("--model-id", "m", "--include", "a*", "--include", "b*", "--display-name", "M")
    uploader("enqueue", model, *words)
    reordered = ("--include", "b*", "--include", "a*", "--kind", "base", *words[:2], *words[6:])
    answer = uploader("enqueue", link, *reordered)
    assert (answer.code, answer.out) == (0, "1\n")
    assert "already enqueued: job 1 is active in stage create" in answer.err


@pytest.mark.parametrize(
    "words",
    [
        ("--account", "acme"),
        ("--display-name", "other"),
        ("--description", "other"),
        ("--hugging-face-url", "https://huggingface.co/a/b"),
        ("--exclude", "README.md"),
        ("--include", "*.gguf"),
    ],
)
@pytest.mark.usefixtures("store")
def test_another_word_is_a_conflict_that_names_both(
    words: tuple[str, str], uploader: Command, model: Path
) -> None:
    uploader("enqueue", model)
    answer = uploader("enqueue", model, *words)
    assert (answer.code, answer.out) == (2, "")
    assert "job 1" in answer.err
    assert str(model) in answer.err
    assert len(uploader("status", "--json").json["jobs"]) == 1


def test_the_done_job_is_the_same_job_too(
    uploader: Command, model: Path, sql: Callable[[str], None]
) -> None:
    uploader("enqueue", model)
    sql("UPDATE jobs SET status = 'done', stage = 'ready'")
    answer = uploader("enqueue", model)
    assert (answer.code, answer.out) == (0, "1\n")
    assert "no worker" not in answer.err


def test_every_option_reaches_the_job(uploader: Command, home: Path) -> None:
    adapter = folder(home / "adapter", {**LORA, "README.md": b"x"})
    base = "accounts/fireworks/models/other"
    answer = uploader(
        *("enqueue", adapter, "--model-id", "mine", "--account", "acme", "--kind", "lora"),
        *("--base-model", base, "--priority", "7", "--json"),
    )
    assert answer.code == 0
    assert answer.json["model"] == "accounts/acme/models/mine"
    assert (answer.json["kind"], answer.json["priority"]) == ("lora", 7)
    assert [file["path"] for file in answer.json["files"]] == sorted(LORA)


def test_the_configured_account_is_used(
    uploader: Command, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIREWORKS_ACCOUNT_ID", "configured")
    answer = uploader("enqueue", model, "--json")
    assert answer.json["model"] == "accounts/configured/models/my-model-3p1"


def test_a_dry_run_shows_the_plan_and_writes_nothing(
    uploader: Command, model: Path, home: Path
) -> None:
    (model / "optimizer.pt").write_text("x")
    answer = uploader("enqueue", model, "--dry-run", "--account", "acme")
    assert answer.code == 0
    assert "model   accounts/acme/models/my-model-3p1" in answer.out
    assert "kind    base (there is no adapter_config.json)" in answer.out
    assert "config.json" in answer.out
    assert "left out: optimizer.pt (a leftover of training)" in answer.out
    assert not (home / "state").exists()
    assert not (home / "home").exists()


def test_a_dry_run_as_json(uploader: Command, model: Path, home: Path) -> None:
    plan = uploader("enqueue", model, "--dry-run", "--json").json
    assert plan["schema"] == "uploader.plan/1"
    assert plan["bytes_total"] == sum(map(len, BASE.values()))
    assert {file["path"] for file in plan["files"]} == set(BASE)
    assert not (home / "state").exists()


def test_a_refused_folder_hears_everything_and_leaves_nothing(
    uploader: Command, model: Path, home: Path
) -> None:
    (model / "config.json").write_text("{")
    (model / "model.safetensors").write_bytes(b"short")
    answer = uploader("enqueue", model)
    assert (answer.code, answer.out) == (6, "")
    assert "(config_json)" in answer.err
    assert "(safetensors)" in answer.err
    assert answer.err.splitlines()[-2].startswith("error: ")
    assert answer.err.splitlines()[-1].startswith("hint: ")
    assert not (home / "state").exists()


def test_preflight_prints_its_findings(
    uploader: Command, model: Path, terminal: Callable[[int], None]
) -> None:
    (model / "tokenizer.json").unlink()
    (model / "tokenizer_config.json").unlink()
    piped = uploader("preflight", model)
    assert piped.code == 0
    assert piped.out.split("\t")[:2] == ["no_tokenizer", "warning"]
    assert uploader("preflight", model, "--json").json["findings"][0]["check"] == "no_tokenizer"
    terminal(80)
    assert uploader("preflight", model).out.startswith("warning: there is no tokenizer")


def test_preflight_refuses_with_its_document(uploader: Command, home: Path) -> None:
    (home / "empty").mkdir()
    answer = uploader("preflight", "empty", "--json")
    assert answer.code == 6
    assert answer.json["findings"][0]["check"] == "empty_folder"


def test_a_waiting_enqueue_prints_the_job_as_it_ended(
    uploader: Command, model: Path, sql: Callable[[str], None]
) -> None:
    uploader("enqueue", model)
    sql("UPDATE jobs SET status = 'done', stage = 'ready'")
    answer = uploader("enqueue", model, "--wait", "--json")
    assert answer.code == 0
    assert json.loads(answer.out)["status"] == "done"
    assert "job 1 my-model-3p1: READY" in answer.err
