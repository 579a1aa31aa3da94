"""What preflight says about the upload to come, and what it asks of the service."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import uploader as api
from tests.cli.conftest import Answer, Command
from tests.model.build import BASE, folder, without
from tests.preflight import adapters
from uploader.core.errors import StoreError
from uploader.sandbox.server import Sandbox
from uploader.sandbox.world import Model
from uploader.store.database import migrate

Sql = Callable[[str], None]
#: As the store has a job that took 100 s from its creation to its last file.
UPLOADED = (
    "UPDATE jobs SET account = 'acme', stage = 'ready', status = 'done',"
    " upload_started_at = '2026-11-22 10:00:00.000000',"
    " uploaded_at = '2026-11-22 10:01:40.000000'"
)


@pytest.fixture
def uploaded(uploader: Command, model: Path, store: Path, sql: Sql) -> int:
    """A job that is done; its size in bytes."""
    del store
    assert uploader("enqueue", model).code == 0
    sql(UPLOADED)
    size: int = uploader("show", 1, "--json").json["bytes_total"]
    return size


def named(answer: Answer) -> list[tuple[str, str]]:
    return [(found["check"], found["severity"]) for found in answer.json["findings"]]


def test_a_given_rate_tells_how_long_it_takes(uploader: Command, model: Path) -> None:
    answer = uploader("preflight", model, "--rate", "100B/s")
    total = sum(map(len, BASE.values()))
    assert f"{total / 100:.0f}s at 100 B/s (--rate)" in answer.err
    document = uploader("preflight", model, "--rate", "100B/s", "--json").json
    assert document["rate_bps"] == 100
    assert document["expected_s"] == round(total / 100)


def test_without_any_rate_nothing_is_reported(uploader: Command, model: Path) -> None:
    document = uploader("preflight", model, "--json").json
    assert document["rate_bps"] is document["expected_s"] is None


@pytest.mark.parametrize("rate", ["fast", "0", "off", ""])
def test_a_malformed_rate(uploader: Command, model: Path, rate: str) -> None:
    answer = uploader("preflight", model, "--rate", rate)
    assert answer.code == 2
    assert "20MB/s" in answer.err


def test_the_last_upload_is_the_measure(uploader: Command, model: Path, uploaded: int) -> None:
    assert uploader("preflight", model, "--json").json["rate_bps"] == round(uploaded / 100)
    assert "(as job 1 went)" in uploader("preflight", model).err
    assert "1m40s at" in uploader("enqueue", model, "--dry-run").out


def test_a_small_upload_is_not_the_measure_if_there_is_a_larger_one(
    uploader: Command, model: Path, home: Path, sql: Sql, uploaded: int
) -> None:
    """A few KB take as long as their requests, which says nothing of a bandwidth."""
    folder(home / "large", BASE)
    assert uploader("enqueue", home / "large").code == 0
    sql(f"{UPLOADED}, created_at = '2026-11-01 00:00:00.0' WHERE id = 2")
    sql("UPDATE jobs SET updated_at = '2026-11-01 00:00:00.000000' WHERE id = 2")
    assert uploader("preflight", model, "--json").json["rate_bps"] == round(uploaded / 100)
    sql(f"UPDATE files SET size_bytes = {1 << 30} WHERE job_id = 2")
    assert "(as job 2 went)" in uploader("preflight", model).err


@pytest.mark.usefixtures("uploaded")
def test_an_upload_of_no_bytes_is_no_measure(uploader: Command, model: Path, sql: Sql) -> None:
    sql("UPDATE files SET size_bytes = 0")
    answer = uploader("preflight", model, "--json")
    assert (answer.code, answer.json["rate_bps"]) == (0, None)


@pytest.mark.usefixtures("uploaded")
def test_a_limit_is_not_exceeded_in_thought(
    uploader: Command, model: Path, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql("UPDATE jobs SET uploaded_at = '2026-11-22 10:00:00.010000'")
    assert uploader("preflight", model, "--json").json["rate_bps"] > 8192
    monkeypatch.setenv("UPLOADER_TRANSFER__BANDWIDTH_LIMIT", "8KiB/s")
    assert uploader("preflight", model, "--json").json["rate_bps"] == 8192


def test_a_job_that_is_still_uploading_is_not_used(
    uploader: Command, model: Path, store: Path
) -> None:
    del store
    uploader("enqueue", model)
    assert uploader("preflight", model, "--json").json["rate_bps"] is None


def test_a_store_that_cannot_be_read_is_not_a_reason_to_fail(
    uploader: Command, model: Path, store: Path
) -> None:
    store.write_bytes(b"no database at all")
    assert uploader("preflight", model).code == 0


@pytest.mark.usefixtures("uploaded")
def test_a_damaged_row_is_not_a_reason_to_fail_either(
    uploader: Command, model: Path, misfit: Path, sql: Sql
) -> None:
    sql("UPDATE jobs SET updated_at = 'nonsense'")
    answer = uploader("preflight", model, "--json")
    assert (answer.code, answer.json["rate_bps"]) == (0, None)
    assert uploader("preflight", misfit, *BASED).code == 0
    assert uploader("enqueue", model).code == 11


def test_a_file_may_outlive_its_session(uploader: Command, home: Path) -> None:
    big = folder(home / "big", BASE)
    for name in ("a.dat", "b.dat"):
        (big / name).touch()
        os.truncate(big / name, 1 << 30)
    week_bps = ((1 << 30) + 4096) / (7 * 86400)
    assert named(uploader("preflight", big, "--json", "--rate", f"{week_bps * 2.1:.0f}B/s")) == []
    slow = uploader("preflight", big, "--json", "--rate", f"{week_bps * 1.9:.0f}B/s")
    assert named(slow) == [("session_life", "warning")]
    assert slow.code == 0


# -- an adapter whose base was uploaded from here ----------------------------------------------


@pytest.fixture
def base(uploader: Command, home: Path, store: Path, sql: Sql) -> Path:
    """The folder of a base model that was uploaded from here."""
    del store
    modules = adapters.paths("q_proj", "v_proj")
    root = folder(home / "qwen3-4b", {**BASE, **adapters.base_weights(modules)})
    words = ("--account", "acme", "--no-preflight", "--kind", "base")
    assert uploader("enqueue", root, *words).code == 0
    sql("UPDATE jobs SET stage = 'ready', status = 'done'")
    return root


@pytest.fixture
def misfit(home: Path) -> Path:
    """An adapter of a layer more than the base has."""
    tensors = adapters.lora(adapters.paths("q_proj", "v_proj", layers=3))
    return folder(home / "adapter", adapters.adapter(["q_proj", "v_proj"], tensors))


BASED = ("--json", "--base-model", "accounts/acme/models/qwen3-4b")


@pytest.mark.usefixtures("base")
def test_an_adapter_is_compared_with_its_base(uploader: Command, home: Path, misfit: Path) -> None:
    fit = folder(home / "fit", adapters.plain("q_proj", "v_proj"))
    assert named(uploader("preflight", fit, *BASED)) == []
    answer = uploader("preflight", misfit, *BASED)
    assert (answer.code, named(answer)) == (6, [("lora_base", "error")])
    assert uploader("enqueue", misfit, *BASED[1:]).code == 6


def test_a_base_that_changed_since_is_not_used(uploader: Command, base: Path, misfit: Path) -> None:
    os.utime(base / "config.json", (1, 1))
    assert named(uploader("preflight", misfit, *BASED)) == []


def test_a_base_that_is_gone_is_not_used(uploader: Command, base: Path, misfit: Path) -> None:
    base.rename(base.with_name("elsewhere"))
    assert named(uploader("preflight", misfit, *BASED)) == []


@pytest.mark.usefixtures("base")
def test_another_base_is_not_used(uploader: Command, misfit: Path) -> None:
    assert named(uploader("preflight", misfit, "--json")) == []


# -- the service -------------------------------------------------------------------------------


@pytest.fixture
def service(home: Path, monkeypatch: pytest.MonkeyPatch, secure: bool) -> Iterator[Sandbox]:
    with Sandbox(data_dir=home / "remote", tls=secure) as sandbox:
        if sandbox.ca_file:
            monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(sandbox.ca_file))
        monkeypatch.setenv("FIREWORKS_BASE_URL", sandbox.base_url)
        monkeypatch.setenv("FIREWORKS_API_KEY", sandbox.api_key)
        yield sandbox


def online(uploader: Command, model: Path, *words: str) -> Answer:
    return uploader("preflight", model, "--online", "--json", *words)


@pytest.mark.usefixtures("service")
def test_a_free_id_and_a_good_key(uploader: Command, model: Path) -> None:
    answer = online(uploader, model)
    assert (answer.code, named(answer)) == (0, [])


@pytest.mark.usefixtures("service")
def test_a_bad_key_is_a_finding(
    uploader: Command, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIREWORKS_API_KEY", "fw_wrong")
    answer = online(uploader, model)
    assert (answer.code, named(answer)) == (6, [("api_key", "error")])
    assert "fw_wrong" not in answer.out + answer.err


@pytest.mark.usefixtures("service")
def test_a_key_of_another_account_is_refused(uploader: Command, model: Path) -> None:
    answer = online(uploader, model, "--account", "acme")
    assert (answer.code, named(answer)) == (6, [("api_key", "error")])


@pytest.mark.usefixtures("service")
def test_enqueue_asks_too_if_it_is_told_to(uploader: Command, model: Path, home: Path) -> None:
    answer = uploader("enqueue", model, "--online", "--account", "acme")
    assert (answer.code, answer.out) == (6, "")
    assert "the API key belongs to account sandbox, the job would be one of acme" in answer.err
    assert "hint: give --account sandbox or FIREWORKS_ACCOUNT_ID=sandbox" in answer.err
    assert not (home / "state").exists()
    assert uploader("enqueue", model, "--online").out == "1\n"


@pytest.mark.parametrize("command", ["enqueue", "upload"])
def test_a_job_of_the_same_folder_is_not_in_its_own_way(
    command: str, uploader: Command, model: Path, service: Sandbox, sql: Sql
) -> None:
    uploader("enqueue", model, "--account", "sandbox")
    sql(UPLOADED.replace("acme", "sandbox"))
    there = Model("sandbox", "my-model-3p1", {"kind": "HF_BASE_MODEL"}, 0.0, "READY")
    service.world.models["sandbox", "my-model-3p1"] = there
    again = uploader(command, model, "--account", "sandbox", "--online")
    assert (again.code, again.out) == (0, "1\n")
    other = folder(model.parent / "other", BASE)
    words = ("--account", "sandbox", "--online", "--model-id", "my-model-3p1")
    conflict = uploader(command, other, *words)
    assert (conflict.code, "has made" in conflict.err) == (2, True)


@pytest.mark.parametrize("command", ["enqueue", "upload"])
def test_a_table_of_several_machines_is_asked_by_one_that_has_no_state_folder_yet(
    command: str,
    uploader: Command,
    model: Path,
    service: Sandbox,
    sql: Sql,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    home = model.parent
    uploader("enqueue", model, "--account", "sandbox")
    sql(UPLOADED.replace("acme", "sandbox"))
    monkeypatch.setenv("UPLOADER_DATABASE_URL", f"sqlite:///{home}/state/uploader.db")
    words = [command, model, "--account", "sandbox", "--online"]
    for folder_of in ("state", "another machine"):
        monkeypatch.setenv("UPLOADER_STATE_DIR", str(home / folder_of))
        gone = uploader(*words)
        assert (gone.code, gone.out) == (6, ""), "the service has no such model"
        assert "job 1 is done, but " in gone.err
    there = Model("sandbox", "my-model-3p1", {"kind": "HF_BASE_MODEL"}, 0.0, "READY")
    service.world.models["sandbox", "my-model-3p1"] = there
    monkeypatch.setenv("UPLOADER_STATE_DIR", str(home / "a third one"))
    again = uploader(*words)
    assert (again.code, again.out) == (0, "1\n")
    for call in (api.enqueue, api.upload):
        monkeypatch.setenv("UPLOADER_STATE_DIR", str(home / f"of {call.__name__}"))
        assert call(model, account="sandbox", online=True).id == 1


@pytest.mark.parametrize("command", ["enqueue", "upload"])
def test_a_table_that_cannot_be_asked_is_not_taken_for_one_without_the_job(
    command: str, uploader: Command, model: Path, service: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploader("enqueue", model, "--account", "sandbox")
    there = Model("sandbox", "my-model-3p1", {"kind": "HF_BASE_MODEL"}, 0.0, "READY")
    service.world.models["sandbox", "my-model-3p1"] = there
    with monkeypatch.context() as busy:
        version, asked = migrate.current_version, iter([None])

        def once_locked(*of: Any) -> str | None:
            for _ in asked:
                raise StoreError("the state store is busy")
            return version(*of)

        busy.setattr(migrate, "current_version", once_locked)
        answer = uploader(command, model, "--account", "sandbox", "--online")
    assert (answer.code, "is busy" in answer.err) == (11, True)


@pytest.mark.usefixtures("service")
def test_python_asks_too_if_it_is_told_to(model: Path, home: Path) -> None:
    for call in (api.enqueue, api.upload):
        with pytest.raises(api.PreflightRefused) as refused:
            call(model, online=True, account="acme")
        assert [finding.check for finding in refused.value.findings] == ["api_key"]
    assert not (home / "state").exists()


def test_no_service_at_all(uploader: Command, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIREWORKS_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("FIREWORKS_API_KEY", "fw_any")
    answer = online(uploader, model)
    assert (answer.code, named(answer)) == (6, [("service", "error")])
    assert online(uploader, model, "--allow", "service").code == 0


@pytest.mark.parametrize(
    ("state", "severity", "code"), [("READY", "error", 6), ("UPLOADING", "warning", 0)]
)
def test_an_id_that_is_taken(
    uploader: Command,
    model: Path,
    service: Sandbox,
    state: str,
    severity: str,
    code: int,
) -> None:
    there = Model("sandbox", "taken", {"kind": "HF_BASE_MODEL"}, 0.0, state)
    service.world.models["sandbox", "taken"] = there
    answer = online(uploader, model, "--model-id", "taken")
    assert (answer.code, named(answer)) == (code, [("model_id", severity)])


def test_everything_is_reported_at_once(uploader: Command, model: Path, service: Sandbox) -> None:
    del service
    (model / "config.json").unlink()
    answer = online(uploader, model, "--rate", "1B/s", "--account", "acme")
    assert {check for check, _ in named(answer)} == {"config_json", "api_key"}


@pytest.mark.usefixtures("service")
def test_a_folder_whose_name_gives_no_id_shows_its_findings_all_the_same(
    uploader: Command, home: Path
) -> None:
    nameless = folder(home / "---", without(BASE, "config.json"))
    answer = online(uploader, nameless)
    assert answer.code == 2
    assert ("config_json", "error") in named(answer)
