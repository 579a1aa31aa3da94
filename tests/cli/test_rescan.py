"""`uploader retry --rescan` and `--replace`."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import google_crc32c
import pytest

from tests.cli.conftest import Command, ScriptedClock
from tests.model.build import LORA, folder, safetensors
from tests.preflight import adapters
from uploader import enqueue
from uploader.core.errors import PreflightRefused

Sql = Callable[[str], None]
WEIGHTS = safetensors({"lm_head.weight": 4096})
#: As a worker leaves a job whose source changed half-way.
FAILED = (
    "UPDATE jobs SET account = 'acme', stage = 'upload', status = 'failed', attempts = 3,"
    " reason_code = 'source_changed', reason_message = 'changed', reason_hint = '',"
    " model_exists = 1;"
    "UPDATE files SET session_uri = 'https://secret', stored = (path = 'config.json'),"
    " \"offset\" = iif(path = 'config.json', size_bytes, 0), bytes_sent = 7;"
)


@pytest.fixture
def failed(uploader: Command, model: Path, clock: ScriptedClock, store: Path, sql: Sql) -> Path:
    """The folder of a failed job, with other weights in it."""
    del clock, store
    assert uploader("enqueue", model, "--exclude", "README.md").code == 0
    sql(FAILED)
    (model / "model.safetensors").write_bytes(WEIGHTS)
    return model


def unchanged(uploader: Command) -> bool:
    document = uploader("show", "1", "--json").json
    return bool(document["status"] == "failed" and document["files_stored"] == 1)


def test_a_rescan_starts_over_with_the_folder_as_it_is(uploader: Command, failed: Path) -> None:
    answer = uploader("retry", "my-model-3p1", "--rescan")
    assert (answer.code, answer.out) == (0, "1\tactive\n")
    assert "left out: README.md (--exclude)" in answer.err
    assert "job 1: starts over with 5 files" in answer.err
    assert "no worker runs" in answer.err
    document = uploader("show", "1", "--json").json
    assert (document["stage"], document["status"], document["reason"]) == ("create", "active", None)
    assert (document["bytes_sent"], document["attempts"], document["files_stored"]) == (0, 0, 0)
    sizes = {file["path"]: file["size_bytes"] for file in document["files"]}
    assert sizes["model.safetensors"] == len(WEIGHTS)
    assert "README.md" not in sizes
    assert "rescanned" in uploader("logs", "1").out
    again = uploader("enqueue", failed, "--exclude", "README.md")
    assert (again.code, again.out) == (0, "1\n")
    assert b"https://secret" not in uploader("show", "1", "--json").out.encode()


def test_what_is_stored_and_unchanged_is_kept(uploader: Command, failed: Path, sql: Sql) -> None:
    crc = google_crc32c.value((failed / "config.json").read_bytes())
    sql(f"UPDATE files SET verified = 1, crc32c = {crc} WHERE path = 'config.json'")
    answer = uploader("retry", "1", "--rescan")
    assert "job 1: reads what is stored, to keep what is unchanged: 39 B" in answer.err
    assert "job 1: keeps 1 of 5 files, 39 B: stored and unchanged" in answer.err
    document = uploader("show", "1", "--json").json
    assert [file["path"] for file in document["files"] if file["stored"]] == ["config.json"]
    assert (document["bytes_confirmed"], document["bytes_sent"]) == (39, 0)
    assert "job 1 kept: config.json: read again" in uploader("logs", "1").out


@pytest.mark.usefixtures("failed")
def test_a_refused_rescan_reads_nothing(uploader: Command, sql: Sql) -> None:
    sql("UPDATE files SET verified = 1, crc32c = 1;"
        "UPDATE jobs SET lease_owner = 'w', lease_token = 't'")  # fmt: skip
    answer = uploader("retry", "1", "--rescan")
    assert answer.code == 5
    assert "reads what is stored" not in answer.err


def test_other_names_are_refused_with_a_diff(uploader: Command, failed: Path, sql: Sql) -> None:
    (failed / "generation_config.json").rename(failed / "chat_template.jinja")
    answer = uploader("retry", "1", "--rescan")
    assert (answer.code, answer.out) == (2, "")
    assert "added chat_template.jinja; missing generation_config.json" in answer.err
    assert "--replace" not in answer.err  # of a model somebody else created
    assert unchanged(uploader)
    sql("UPDATE jobs SET created_remotely = 1")
    assert "hint: `uploader retry 1 --replace`" in uploader("retry", "1", "--rescan").err


def test_replace_is_for_a_model_this_job_created(uploader: Command, failed: Path, sql: Sql) -> None:
    (failed / "generation_config.json").rename(failed / "chat_template.jinja")
    answer = uploader("retry", "1", "--replace")
    assert answer.code == 2
    assert "job 1 did not create accounts/acme/models/my-model-3p1" in answer.err
    assert unchanged(uploader)
    sql("UPDATE jobs SET created_remotely = 1")
    answer = uploader("retry", "1", "--replace", "--rescan")
    assert (answer.code, answer.out) == (0, "1\tactive\n")
    assert "a worker will delete accounts/acme/models/my-model-3p1 and create it" in answer.err
    document = uploader("show", "1", "--json").json
    assert "chat_template.jinja" in [file["path"] for file in document["files"]]
    given_up = uploader("cancel", "1")
    assert (given_up.out, "will delete" in given_up.err) == ("1\tcancelled\n", False)


def test_a_folder_with_errors_is_refused_before_anything_is_written(
    uploader: Command, failed: Path
) -> None:
    (failed / "model.safetensors").write_bytes(WEIGHTS[:-1])
    answer = uploader("retry", "1", "--rescan")
    assert (answer.code, answer.out) == (6, "")
    assert "model.safetensors is cut short" in answer.err
    assert unchanged(uploader)


def test_a_folder_that_is_away_is_not_found(uploader: Command, failed: Path) -> None:
    failed.rename(failed.with_name("away"))
    assert uploader("retry", "1", "--rescan").code == 4
    assert unchanged(uploader)


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("lease_owner = 'w', lease_token = 't'", "hint: `uploader pause 1`, then try again"),
        ("status = 'done'", "a done job cannot be changed by 'rescan'"),
        ("status = 'cancelled'", "a cancelled job cannot be changed by 'rescan'"),
    ],
)
@pytest.mark.usefixtures("failed")
def test_a_job_in_hand_or_closed_is_refused(
    uploader: Command, sql: Sql, state: str, said: str
) -> None:
    sql(f"UPDATE jobs SET {state}")
    answer = uploader("retry", "1", "--rescan")
    assert answer.code == 5
    assert said in answer.err


@pytest.mark.parametrize("status", ["active", "paused", "blocked"])
@pytest.mark.usefixtures("failed")
def test_any_open_job_at_rest_starts_over(uploader: Command, sql: Sql, status: str) -> None:
    sql(f"UPDATE jobs SET status = '{status}'")
    assert uploader("retry", "1", "--rescan").out == "1\tactive\n"


@pytest.mark.usefixtures("failed")
def test_several_jobs_each_do_what_they_can(uploader: Command) -> None:
    answer = uploader("retry", "7", "1", "--rescan")
    assert (answer.code, answer.out) == (4, "1\tactive\n")


def test_an_adapter_of_another_rank_is_another_model(
    uploader: Command, home: Path, store: Path, sql: Sql
) -> None:
    del store
    adapter = folder(home / "adapter", LORA)
    assert uploader("enqueue", adapter).code == 0
    sql(FAILED)
    targets = ["q_proj", "v_proj"]
    folder(adapter, adapters.adapter(targets, adapters.lora(adapters.paths(*targets), 32), r=32))
    assert "rank" in uploader("retry", "1", "--rescan").err
    sql("UPDATE jobs SET created_remotely = 1")
    assert uploader("retry", "1", "--replace").code == 0


def test_the_options_of_enqueue_are_repeated(
    uploader: Command, home: Path, store: Path, sql: Sql
) -> None:
    words = ("--base-model", "accounts/a/models/b", "--display-name", "Ä", "--description", "d",
             "--hugging-face-url", "https://h/f", "--model-id", "x", "--account", "acme",
             "--exclude", "*.bin", "--exclude", "z*", "--include", "*.onnx",
             "--public", "--context-length", "4096", "--allow", "quantization",
             "--allow", "lora_rank", "--model-json", home / "fields.json")  # fmt: skip
    fields = {"supportsTools": True, "peftDetails": {"mergeAddonModelName": "accounts/a/models/c"}}
    (home / "fields.json").write_text(json.dumps(fields))
    adapter = folder(home / "adapter", LORA)
    assert uploader("enqueue", adapter, *words).code == 0
    body, options = said(store)
    sql(FAILED)
    (home / "fields.json").rename(home / "away.json")
    assert uploader("retry", "1", "--rescan").code == 0
    assert said(store) == (body, options)
    (home / "away.json").rename(home / "fields.json")
    assert uploader("enqueue", adapter, *words).out == "1\n"


@pytest.mark.parametrize("word", [("--no-preflight",), ("--allow", "safetensors_size")])
def test_what_was_overruled_stays_overruled(
    word: tuple[str, ...], uploader: Command, model: Path, store: Path, sql: Sql
) -> None:
    del store
    (model / "model.safetensors").write_bytes(WEIGHTS[:-1])
    assert uploader("enqueue", model, *word).code == 0
    sql(FAILED)
    assert uploader("retry", "1", "--rescan").code == 0


def test_a_job_of_an_earlier_version_is_the_same_job(
    uploader: Command, model: Path, store: Path, sql: Sql
) -> None:
    """Its options know only the words there were."""
    assert uploader("enqueue", model).code == 0
    assert json.loads(said(store)[1]).keys() == {
        "model-id", "account", "kind", "base-model", "display-name", "description",
        "hugging-face-url", "include", "exclude",
    }  # fmt: skip
    sql(FAILED)
    assert uploader("retry", "1", "--rescan").code == 0


def said(store: Path) -> tuple[str, str]:
    with closing(sqlite3.connect(store)) as connection:
        found: tuple[str, str] = connection.execute(
            "SELECT create_body, options FROM jobs"
        ).fetchone()
        return found


def test_a_check_may_be_waived_for_the_new_life(uploader: Command, failed: Path) -> None:
    (failed / "config.json").write_text("{")
    refused = uploader("retry", "1", "--rescan")
    assert refused.code == 6
    assert "--allow" in refused.err
    assert uploader("retry", "1", "--rescan", "--allow", "config_json").code == 0
    found = uploader("show", "1", "--json").json["preflight"]
    assert [(one["check"], one["severity"]) for one in found] == [("config_json", "warning")]


def test_without_a_look_at_the_folder_there_is_nothing_to_waive(
    uploader: Command, failed: Path
) -> None:
    del failed
    assert uploader("retry", "1", "--allow", "config_json").code == 2


def test_no_way_to_make_or_start_a_job_takes_a_folder_of_too_many_names(
    uploader: Command, failed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uploader.model.folder.MOST_NAMES", 3)
    for words in (
        ("retry", "1", "--rescan"),
        ("retry", "1", "--replace"),
        ("enqueue", failed),
        ("enqueue", failed, "--no-preflight"),
        ("upload", failed),
        ("preflight", failed),
    ):
        answer = uploader(*words)
        assert (answer.code, answer.out) == (6, ""), words
        assert "holds more than 3 names" in answer.err
        assert "hint: give a folder with the files of one model" in answer.err
    with pytest.raises(PreflightRefused, match="holds more than 3 names"):
        enqueue(failed)
    assert unchanged(uploader)
