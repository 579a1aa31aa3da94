from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Command
from tests.model.build import BASE, LORA, folder
from uploader import mounts
from uploader.sandbox.creation import check_create_body


def test_prints_the_id_alone_and_talks_on_stderr(uploader: Command, model: Path) -> None:
    (model / ".gitattributes").write_text("x")
    answer = uploader("enqueue", model)
    assert (answer.code, answer.out) == (0, "1\n")
    assert "left out: .gitattributes (belongs to git)" in answer.err
    assert "job 1 will be accounts/-/models/my-model-3p1" in answer.err
    assert "no worker runs: start `uploader run`" in answer.err


def test_what_holds_for_every_folder_is_said_once(uploader: Command, home: Path) -> None:
    models = [folder(home / name, BASE) for name in ("one", "two", "three")]
    answer = uploader("enqueue", *models)
    assert (answer.code, answer.out) == (0, "1\n2\n3\n")
    assert answer.err.count("no worker runs") == 1


def test_the_same_again_is_the_same_job(uploader: Command, model: Path, home: Path) -> None:
    link = home / "link"
    link.symlink_to(model)
    words = ("--model-id", "m", "--include", "a*", "--include", "b*", "--display-name", "M")
    uploader("enqueue", model, *words)
    reordered = ("--include", "b*", "--include", "a*", "--kind", "base", *words[:2], *words[6:])
    answer = uploader("enqueue", link, *reordered)
    assert (answer.code, answer.out) == (0, "1\n")
    assert "already enqueued: job 1, accounts/-/models/m, is active in stage create" in answer.err


@pytest.mark.parametrize(
    "words",
    [
        ("--account", "acme"),
        ("--display-name", "other"),
        ("--description", "other"),
        ("--hugging-face-url", "https://huggingface.co/a/b"),
        ("--exclude", "README.md"),
        ("--include", "*.gguf"),
        ("--allow", "quantization"),
        ("--context-length", "4096"),
        ("--public",),
        ("--no-preflight",),
        ("--model-json", "fields.json"),
    ],
)
@pytest.mark.usefixtures("store")
def test_another_word_is_a_conflict_that_names_both(
    words: tuple[str, ...], uploader: Command, model: Path, home: Path
) -> None:
    (home / "fields.json").write_text('{"public": true}')
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


def replace_alike(path: Path) -> None:
    """By another file of the same name, size and time."""
    facts, fresh = path.stat(), path.with_name("fresh")
    fresh.write_bytes(path.read_bytes())
    os.utime(fresh, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    fresh.rename(path)


def overwrite_alike(path: Path) -> None:
    """In place, until a kernel's time has gone on; its own time is put back."""
    facts = path.stat()
    while path.stat().st_ctime_ns == facts.st_ctime_ns:
        path.write_bytes(path.read_bytes())
        os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert path.stat().st_ino == facts.st_ino


@pytest.mark.parametrize("replaces", [replace_alike, overwrite_alike])
@pytest.mark.parametrize("local", [True, False])
def test_a_done_job_whose_files_were_replaced_says_that_it_compared_no_bytes(
    uploader: Command,
    model: Path,
    sql: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    local: bool,
    replaces: Callable[[Path], None],
) -> None:
    monkeypatch.setattr(mounts, "is_local", lambda _: local)
    uploader("enqueue", model)
    replaces(model / "config.json")
    assert "been replaced since" not in uploader("enqueue", model).err, "the worker will look"
    sql("UPDATE jobs SET status = 'done', stage = 'ready'")
    for words in (("enqueue", model), ("upload", model)):
        answer = uploader(*words)
        assert answer.code == 0
        assert answer.out.startswith("1\n")
        warning = (
            "warning: 1 file may have been replaced since by another of the same size and time:"
            " `uploader verify 1` compares their bytes"
        )
        assert " ".join(answer.err.split()).count(warning) == local


def test_a_done_job_of_a_snapshot_says_nothing_of_the_copies_in_it(
    uploader: Command, model: Path, sql: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mounts, "is_local", lambda _: True)
    first = uploader("enqueue", model, "--snapshot", "hardlink")
    assert first.code == 0, first.err
    sql("UPDATE jobs SET status = 'done', stage = 'ready'")
    assert "been replaced since" not in uploader("enqueue", model, "--snapshot", "hardlink").err


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
    assert "kind    base (architectures: LlamaForCausalLM)" in answer.out
    assert "config.json" in answer.out
    assert "left out: optimizer.pt (a leftover of training), 1 B" in answer.out
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
    assert "(safetensors_size)" in answer.err
    assert answer.err.splitlines()[-2].startswith("error: ")
    assert answer.err.splitlines()[-1].startswith("hint: ")
    assert not (home / "state").exists()


def test_a_waiting_enqueue_prints_the_job_as_it_ended(
    uploader: Command, model: Path, sql: Callable[[str], None]
) -> None:
    uploader("enqueue", model)
    sql("UPDATE jobs SET status = 'done', stage = 'ready'")
    answer = uploader("enqueue", model, "--wait", "--json")
    assert answer.code == 0
    assert json.loads(answer.out)["status"] == "done"
    assert "job 1 my-model-3p1: READY" in answer.err


FIELDS = {
    "displayName": "M",
    "githubUrl": "https://github.com/a/b",
    "public": True,
    "contextLength": 8192,
    "supportsTools": True,
    "supportsImageInput": True,
    "defaultDraftModel": "accounts/a/models/draft",
    "defaultDraftTokenCount": 3,
}
FLAGS = ("--display-name", "M", "--github-url", "https://github.com/a/b", "--public",
         "--context-length", "8192", "--supports-tools", "--supports-image-input",
         "--default-draft-model", "accounts/a/models/draft",
         "--default-draft-token-count", "3")  # fmt: skip


def body_of(store: Path) -> Any:
    with closing(sqlite3.connect(store)) as connection:
        return json.loads(connection.execute("SELECT create_body FROM jobs").fetchone()[0])


def test_fields_by_flag_reach_the_body(uploader: Command, model: Path, store: Path) -> None:
    assert uploader("enqueue", model, *FLAGS).code == 0
    body = body_of(store)
    assert body["model"].items() >= FIELDS.items()
    check_create_body(body)


def test_fields_by_file_reach_the_body(
    uploader: Command, model: Path, home: Path, store: Path
) -> None:
    given = {**FIELDS, "baseModelDetails": {"worldSize": 4}}
    (home / "fields.json").write_text(json.dumps(given))
    words = ("enqueue", model, "--model-json", "fields.json", "--display-name", "M")
    assert uploader(*words).code == 0
    body = body_of(store)
    assert body["model"].items() >= FIELDS.items()
    assert body["model"]["baseModelDetails"]["worldSize"] == 4
    assert body["model"]["baseModelDetails"]["huggingfaceFiles"]
    (home / "fields.json").rename(home / "renamed.json")
    assert uploader(*words[:3], "renamed.json", *words[4:]).out == "1\n"
    (home / "fields.json").write_text(json.dumps({**given, "contextLength": 4096}))
    assert uploader(*words).code == 2


@pytest.mark.parametrize("kind", ["embedding", "draft"])
def test_a_kind_is_forced(kind: str, uploader: Command, model: Path, store: Path) -> None:
    assert uploader("enqueue", model, "--kind", kind, "--json").json["kind"] == kind
    assert "baseModelDetails" not in body_of(store)["model"]


def test_the_file_may_name_the_kind(uploader: Command, model: Path, home: Path) -> None:
    (home / "fields.json").write_text('{"kind": "DRAFT_ADDON"}')
    words = ("enqueue", model, "--model-json", "fields.json", "--dry-run", "--json")
    assert uploader(*words).json["kind"] == "draft"
    answer = uploader(*words, "--kind", "base")
    assert answer.code == 2
    assert "--kind base is HF_BASE_MODEL, --model-json says kind DRAFT_ADDON" in answer.err


def test_an_allowed_error_is_a_warning_that_stays(uploader: Command, model: Path) -> None:
    (model / "config.json").write_text('{"quantization_config": {"quant_method": "gptq"}}')
    refused = uploader("enqueue", model)
    assert refused.code == 6
    assert "--allow CHECK" in refused.err.splitlines()[-1]
    answer = uploader("enqueue", model, "--allow", "quantization", "--json")
    assert answer.code == 0
    assert "warning: " in answer.err
    kept = {(one["check"], one["severity"]) for one in answer.json["preflight"]}
    assert ("quantization", "warning") in kept


def test_no_preflight_looks_into_no_file(uploader: Command, model: Path) -> None:
    (model / "model.safetensors").write_bytes(b"no header")
    (model / "vocab.json").symlink_to("nowhere")
    assert uploader("enqueue", model).code == 6
    answer = uploader("enqueue", model, "--no-preflight", "--json")
    assert answer.code == 0
    assert [(one["check"], one["severity"]) for one in answer.json["preflight"]] == [
        ("dangling_link", "warning")
    ]
    names = [file["path"] for file in answer.json["files"]]
    assert "model.safetensors" in names
    assert "vocab.json" not in names
    assert "warning: vocab.json leads to no file" in answer.err


@pytest.mark.parametrize("word", [("--no-preflight",), ("--allow", "dangling_link")])
def test_a_folder_without_a_file_is_refused_whatever_is_allowed(
    word: tuple[str, ...], uploader: Command, home: Path
) -> None:
    (home / "empty").mkdir()
    assert uploader("enqueue", "empty", *word).code == 6
    (home / "empty" / "config.json").symlink_to("nowhere")
    answer = uploader("enqueue", "empty", *word)
    assert answer.code == 6
    assert "(empty_folder)" in answer.err
    assert not (home / "state").exists()


GIVEN = ("--public", "--context-length", "4096", "--exclude", "README.md", "--account", "acme")


def test_what_was_asked_for_is_listed_by_dry_run_and_show(
    uploader: Command, model: Path, store: Path
) -> None:
    del store
    plan = uploader("enqueue", model, *GIVEN, "--dry-run").out
    made = uploader("enqueue", model, *GIVEN)
    assert "job 1: everybody may read the model" in made.err
    shown = uploader("show", "1").out
    for line in ("--public", "--context-length 4096", "--exclude README.md", "--account acme"):
        assert f"option  {line}\n" in plan
        assert f"option\t{line}\n" in shown
    assert "public\teverybody may read the model\n" in shown
    options = uploader("show", "1", "--json").json["options"]
    assert (options["public"], options["context_length"]) == (True, 4096)
    assert uploader("enqueue", model, *GIVEN, "--dry-run", "--json").json["options"] == options


def test_what_was_not_asked_for_is_not_listed(uploader: Command, model: Path, store: Path) -> None:
    del store
    uploader("enqueue", model)
    shown = uploader("show", "1").out
    assert "option\t" not in shown
    assert "public\t" not in shown


def test_a_ready_model_is_refused_with_its_job_even_by_a_dry_run(
    uploader: Command, model: Path, store: Path, sql: Callable[[str], None]
) -> None:
    del store
    uploader("enqueue", model)
    sql("UPDATE jobs SET status = 'done', stage = 'ready'")
    for words in ((), ("--dry-run",)):
        answer = uploader("enqueue", model, "--public", *words)
        assert (answer.code, answer.out) == (2, "")
        assert "job 1 " in answer.err
        assert "READY with other options" in answer.err
    assert "it is job 1" in uploader("enqueue", model, "--dry-run").err
