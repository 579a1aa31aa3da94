"""`uploader model`: what stands on the account, by whom, and what may be deleted."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Command
from tests.cli.test_preflight_ahead import service
from tests.model.build import BASE
from uploader.core.model_documents import listed_json
from uploader.core.remote_model import ListedModel
from uploader.sandbox.server import Sandbox
from uploader.sandbox.world import Model

__all__ = ["service"]


@pytest.fixture
def secure() -> bool:
    return False


def stands(sandbox: Sandbox, model_id: str, state: str = "UPLOADING") -> None:
    fields = {"kind": "HF_BASE_MODEL"}
    sandbox.world.models["sandbox", model_id] = Model("sandbox", model_id, fields, 0.0, state)


def test_the_list_has_every_page_and_the_jobs_that_made_the_models(
    uploader: Command, service: Sandbox, model: Path
) -> None:
    uploader("enqueue", model, "--model-id", "ours", "--account", "sandbox")
    for number in range(250):
        stands(service, f"model-{number}")
    stands(service, "ours")
    first, *rows = [line.split("\t") for line in uploader("model", "list").out.splitlines()]
    assert first == ["#model", "state", "kind", "created", "age", "jobs"]
    assert len(rows) == 251
    assert {row[0]: row[-1] for row in rows if row[-1] != "-"} == {"ours": "1"}
    document = uploader("model", "list", "--json").json
    assert (document["schema"], document["account"]) == ("uploader.models/1", "sandbox")
    assert document["complete"]
    assert {one["model_id"]: one["jobs"] for one in document["models"] if one["jobs"]} == {
        "ours": [1]
    }


def test_a_list_that_is_too_long_says_that_it_goes_on(
    uploader: Command, service: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uploader.remote.fireworks.MAX_MODELS", 2)
    for number in range(3):
        stands(service, f"model-{number}")
    told = uploader("model", "list", "--json")
    assert (told.code, len(told.json["models"]), told.json["complete"]) == (0, 2, False)
    assert "only its first 2 models are shown" in told.err


def test_on_a_terminal_the_list_is_a_table_and_a_model_has_its_facts_under_each_other(
    uploader: Command, service: Sandbox, terminal: Callable[[int], None]
) -> None:
    terminal(80)
    assert uploader("model", "list").out == "no models\n"
    stands(service, "m" * 63, "READY")
    first, row = uploader("model", "list").out.splitlines()
    assert first.split()[:5] == ["MODEL", "STATE", "KIND", "AGE", "JOBS"]
    assert "m…m" in row
    assert row.split()[1:3] == ["READY", "HF_BASE_MODEL"]
    shown = uploader("model", "show", "m" * 63).out.splitlines()
    assert "state READY" in shown
    assert any(line.startswith("next  firectl ") for line in shown)


def test_an_orphan_of_days_is_recognised_by_its_state_its_age_and_its_job(
    uploader: Command, service: Sandbox
) -> None:
    stands(service, "orphan")
    service.world.models["sandbox", "orphan"].created_at = service.world.now() - 5 * 86400 - 60
    (row,) = uploader("model", "list").out.splitlines()[1:]
    assert row.startswith("orphan\tUPLOADING\tHF_BASE_MODEL\t")
    assert row.endswith("\t5d00h\t-")
    (one,) = uploader("model", "list", "--json").json["models"]
    assert one["age_s"] == pytest.approx(5 * 86400 + 60, abs=60)


@pytest.mark.parametrize("created", ["", "yesterday", "2026-08-30T03:48:42"])
def test_a_time_that_cannot_be_read_is_no_age(created: str) -> None:
    one = ListedModel("m", "UPLOADING", "HF_BASE_MODEL", created)
    assert listed_json("a", one, [], datetime.now(UTC))["age_s"] is None


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ("READY", "firectl deployment-shape-version match --model accounts/sandbox/models/m"),
        ("UPLOADING", "uploader model adopt m PATH"),
        ("FAILED", "uploader model delete accounts/sandbox/models/m"),
    ],
)
def test_show_ends_with_what_to_do_next(
    uploader: Command, service: Sandbox, state: str, told: str
) -> None:
    stands(service, "m", state)
    lines = uploader("model", "show", "m").out.splitlines()
    assert f"state\t{state}" in lines
    document = uploader("model", "show", "m", "--json").json
    assert (document["schema"], document["state"]) == ("uploader.model/1", state)
    assert document["next"][0] == told
    assert lines[-len(document["next"]) :] == [f"next\t{line}" for line in document["next"]]
    assert document["next"][0].startswith("uploader") or "create" not in document["next"][0]


def test_an_orphan_is_deleted_only_if_that_is_meant(uploader: Command, service: Sandbox) -> None:
    stands(service, "orphan")
    refused = uploader("model", "delete", "orphan")
    assert (refused.code, "--yes" in refused.err) == (2, True)
    assert ("sandbox", "orphan") in service.world.models
    assert uploader("model", "delete", "orphan", "--yes").code == 0
    assert ("sandbox", "orphan") not in service.world.models
    assert uploader("model", "delete", "orphan", "--yes").code == 4
    stands(service, "orphan")
    assert uploader("model", "delete", "orphan", "--yes", "--json").json == {
        "schema": "uploader.model_deleted/1",
        "model": "accounts/sandbox/models/orphan",
        "deleted": True,
    }


@pytest.mark.parametrize(
    ("on", "do", "told"),
    [
        ("get", {"do": "reset-before"}, "hint: run the command again"),
        ("delete", {"do": "lost-answer"}, "hint: the service may delete it yet: look again"),
        ("delete", {"do": "reset-before"}, "hint: the service may delete it yet: look again"),
        ("delete", {"do": "status", "status": 200, "body": {}}, "it is still there"),
    ],
    ids=str,
)
def test_a_command_that_had_no_answer_does_not_say_that_it_tries_again(
    uploader: Command, service: Sandbox, on: str, do: dict[str, Any], told: str
) -> None:
    stands(service, "orphan")
    service.world.script.add([{"on": on, **do}])
    failed = uploader("model", "delete", "orphan", "--yes")
    assert failed.code == 7
    assert told in failed.err
    assert "by itself" not in failed.err


def test_a_model_that_a_job_works_on_is_not_deleted(
    uploader: Command, service: Sandbox, model: Path, sql: Callable[[str], None]
) -> None:
    uploader("enqueue", model, "--model-id", "ours", "--account", "sandbox")
    stands(service, "ours")
    assert uploader("model", "delete", "ours", "--yes").code == 5
    sql("UPDATE jobs SET status = 'failed'")
    assert uploader("model", "delete", "accounts/sandbox/models/ours", "--yes").code == 0


def test_whoever_deletes_the_model_of_a_job_that_is_done_is_told_how_to_send_it_again(
    uploader: Command, service: Sandbox, model: Path, sql: Callable[[str], None]
) -> None:
    """What the service confirmed last was READY: the job stays done, and would be found again."""
    words = ("enqueue", model, "--model-id", "ours", "--account", "sandbox")
    uploader(*words)
    sql("UPDATE jobs SET status = 'done', stage = 'ready', model_exists = 1")
    stands(service, "ours")
    deleted = uploader("model", "delete", "ours", "--yes")
    assert (deleted.code, "`uploader remove 1`" in " ".join(deleted.err.split())) == (0, True)
    assert uploader(*words).out == "1\n"
    assert uploader("remove", "1").code == 0
    assert uploader(*words).out == "2\n"


def test_what_is_not_the_name_of_a_model_is_refused(uploader: Command, service: Sandbox) -> None:
    assert service.world.models == {}
    for name in ("../../x", "accounts/acme/models/..", "accounts/../models/x", "accounts//models/"):
        assert uploader("model", "show", name).code == 2
        assert uploader("model", "delete", name, "--yes").code == 2
    assert uploader("model", "show", "missing").code == 4


# -- adopt ---------------------------------------------------------------------------------------

FILES = sorted(BASE)


def waits(sandbox: Sandbox, **fields: Any) -> None:
    """The model `made-elsewhere` waits for the files of the folder of these tests."""
    details = {"checkpointFormat": "HUGGINGFACE", "huggingfaceFiles": FILES}
    stands(sandbox, "made-elsewhere")
    made = sandbox.world.models["sandbox", "made-elsewhere"]
    made.fields = {"kind": "HF_BASE_MODEL", "baseModelDetails": details, **fields}


@pytest.mark.parametrize("name", ["made-elsewhere", "accounts/sandbox/models/made-elsewhere"])
def test_a_model_made_elsewhere_becomes_ready_and_none_is_created(
    name: str, uploader: Command, service: Sandbox, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits(service)
    service.world.config.change({"landing_polls": 0})
    answer = uploader("model", "adopt", name, model)
    assert (answer.code, answer.out) == (0, "1\n")
    again = uploader("model", "adopt", name, model, "--json")
    assert (again.code, again.json["schema"], again.json["id"]) == (0, "uploader.job/1", 1)
    assert again.json["model"] == "accounts/sandbox/models/made-elsewhere"
    assert uploader("enqueue", model, "--model-id", "made-elsewhere").out == "1\n", "the same job"
    monkeypatch.setenv("UPLOADER_VALIDATION__POLL_INTERVAL", "1s")
    assert uploader("run", "--until-idle").code == 0
    assert service.world.models["sandbox", "made-elsewhere"].state == "READY"
    assert service.report()["creates"] == 0
    assert "adopted" in uploader("logs", "1").out
    assert uploader("model", "adopt", name, model).code == 7, "it is READY by now"


def test_a_job_that_is_done_is_not_taken_for_one_of_a_model_that_somebody_made_again(
    uploader: Command, service: Sandbox, model: Path, sql: Callable[[str], None]
) -> None:
    uploader("enqueue", model, "--model-id", "made-elsewhere")
    sql("UPDATE jobs SET status = 'done', stage = 'ready', account = 'sandbox'")
    again = ["enqueue", str(model), "--model-id", "made-elsewhere", "--online"]
    gone = uploader(*again)
    assert (gone.code, "job 1 is done, but " in gone.err) == (6, True)
    assert "models/made-elsewhere is gone" in gone.err
    waits(service)
    for words in (again, ["model", "adopt", "made-elsewhere", str(model)]):
        refused = uploader(*words)
        assert refused.code in (2, 6)
        assert "job 1 is done, but " in refused.err
        assert "waits for its files again" in refused.err
        assert "`uploader remove 1`" in refused.err
    ways = uploader("model", "show", "made-elsewhere", "--json").json["next"]
    assert ways[:2] == ["uploader remove 1", "uploader model adopt made-elsewhere PATH"]
    uploader("remove", "1")
    assert uploader("model", "adopt", "made-elsewhere", model).out == "2\n"
    service.world.models["sandbox", "made-elsewhere"].state = "READY"
    sql("UPDATE jobs SET status = 'done', stage = 'ready'")
    assert uploader(*again).out == "2\n"


def test_the_orphan_of_a_failed_job_is_that_jobs(
    uploader: Command, service: Sandbox, model: Path, sql: Callable[[str], None]
) -> None:
    waits(service)
    uploader("enqueue", model, "--model-id", "made-elsewhere")
    sql("UPDATE jobs SET status = 'failed', account = 'sandbox', reason_code = 'bug'")
    assert uploader("model", "show", "made-elsewhere", "--json").json["next"][0] == (
        "uploader retry 1"
    )
    answer = uploader("model", "adopt", "made-elsewhere", model)
    assert (answer.code, answer.out) == (0, "1\n")
    assert "`uploader retry 1` goes on with it" in answer.err


@pytest.mark.parametrize(
    ("fields", "state", "told"),
    [
        ({}, "READY", "hint: it has its files: `uploader model show made-elsewhere`"),
        ({}, "FAILED", "its state is FAILED"),
        ({"kind": "EMBEDDING_MODEL"}, "UPLOADING", "its kind is EMBEDDING_MODEL"),
        ({"baseModelDetails": {"huggingfaceFiles": ["a.bin"]}}, "UPLOADING", "expects a.bin"),
        ({"public": True}, "UPLOADING", "everybody may read it"),
        (
            {"public": True},
            "UPLOADING",
            "hint: `uploader model delete accounts/sandbox/models/made",
        ),
    ],
)
def test_a_model_that_does_not_fit_is_not_adopted(
    fields: dict[str, Any],
    state: str,
    told: str,
    uploader: Command,
    service: Sandbox,
    model: Path,
) -> None:
    waits(service, **fields)
    service.world.models["sandbox", "made-elsewhere"].state = state
    answer = uploader("model", "adopt", "made-elsewhere", model)
    assert (answer.code, told in answer.err) == (7, True), answer.err
    assert uploader("status", "--json").json["jobs"] == []


def test_a_model_that_everybody_may_read_is_adopted_if_that_is_said(
    uploader: Command, service: Sandbox, model: Path
) -> None:
    waits(service, public=True, contextLength=4096)
    answer = uploader("model", "adopt", "made-elsewhere", model, "--public")
    assert (answer.code, answer.out) == (0, "1\n")
    assert "job 1: everybody may read the model" in answer.err
    same = uploader("enqueue", model, "--model-id", "made-elsewhere", "--public")
    assert same.out == "1\n"


def test_what_is_not_there_or_not_ones_own_is_not_adopted(
    uploader: Command, service: Sandbox, model: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = uploader("model", "adopt", "made-elsewhere", model, "--json")
    assert (missing.code, missing.json["error"]["code"]) == (4, "not_found")
    assert "model list" in missing.json["error"]["hint"]
    waits(service)
    other = uploader("model", "adopt", "accounts/other/models/made-elsewhere", model)
    assert (other.code, "the API key belongs to account sandbox" in other.err) == (2, True)
    monkeypatch.setenv("FIREWORKS_ACCOUNT_ID", "other")
    assert uploader("model", "adopt", "made-elsewhere", model).code == 2
    monkeypatch.delenv("FIREWORKS_ACCOUNT_ID")
    (home / "empty").mkdir()
    refused = uploader("model", "adopt", "made-elsewhere", "empty", "--json")
    assert (refused.code, refused.json["error"]["code"]) == (6, "preflight")
    assert not (home / "state" / "uploader.db").exists()


@pytest.mark.parametrize("words", [("list",), ("show", "ours"), ("delete", "ours", "--yes")])
def test_a_key_that_is_wrong_or_missing_ends_as_a_blocked_job_does(
    words: tuple[str, ...],
    uploader: Command,
    service: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stands(service, "ours")
    monkeypatch.setenv("FIREWORKS_API_KEY", "fw_wrong")
    answer = uploader("model", *words)
    assert (answer.code, "Traceback" in answer.err) == (8, False)
    monkeypatch.delenv("FIREWORKS_API_KEY")
    assert uploader("model", *words).code == 8
    assert "ours" in {one.model_id for one in service.world.models.values()}
