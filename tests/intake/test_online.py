"""What the service says before anything is written, each answer a finding."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from uploader import wiring
from uploader.core.job import UNKNOWN_ACCOUNT, Job, Kind, Stage, Status
from uploader.intake import online
from uploader.remote.fireworks import Fireworks
from uploader.sandbox.server import Sandbox
from uploader.sandbox.world import Model
from uploader.settings.load import load

AT = datetime(2026, 7, 21, tzinfo=UTC)
Found = list[tuple[str, str]]


@pytest.fixture
def sandbox(tmp_path: Path, secure: bool) -> Iterator[Sandbox]:
    with Sandbox(data_dir=tmp_path / "remote", tls=secure) as box:
        yield box


def service(sandbox: Sandbox, tmp_path: Path, **changed: str) -> Fireworks:
    environ = {
        "HOME": str(tmp_path),
        "FIREWORKS_BASE_URL": sandbox.base_url,
        "FIREWORKS_API_KEY": sandbox.api_key,
        "UPLOADER_STATE_DIR": str(tmp_path / "state"),
        **({"REQUESTS_CA_BUNDLE": str(sandbox.ca_file)} if sandbox.ca_file else {}),
        **changed,
    }
    return wiring.service(load(None, environ))


def asked(fireworks: Fireworks, account: str = UNKNOWN_ACCOUNT, model_id: str = "m") -> Found:
    found = online.ask(fireworks, account, model_id)
    return [(one.check, one.severity) for one in found]


def test_a_good_key_and_a_free_id_are_no_findings(sandbox: Sandbox, tmp_path: Path) -> None:
    assert asked(service(sandbox, tmp_path)) == []
    assert asked(service(sandbox, tmp_path), sandbox.account_id) == []


@pytest.mark.parametrize(("state", "severity"), [("READY", "error"), ("UPLOADING", "warning")])
def test_an_id_that_is_taken(sandbox: Sandbox, tmp_path: Path, state: str, severity: str) -> None:
    there = Model("sandbox", "m", {"kind": "HF_BASE_MODEL"}, 0.0, state)
    sandbox.world.models["sandbox", "m"] = there
    assert asked(service(sandbox, tmp_path)) == [("model_id", severity)]


def test_a_key_of_another_account(sandbox: Sandbox, tmp_path: Path) -> None:
    (found,) = online.ask(service(sandbox, tmp_path), "acme", "m")
    assert (found.check, found.severity) == ("api_key", "error")
    assert "belongs to account sandbox, the job would be one of acme" in found.message
    assert "`account` sandbox or FIREWORKS_ACCOUNT_ID=sandbox" in found.hint


@pytest.mark.parametrize(
    ("wanted", "owned"), [(UNKNOWN_ACCOUNT, "acme"), ("acme", UNKNOWN_ACCOUNT), ("acme", "acme")]
)
@pytest.mark.parametrize("status", [Status.ACTIVE, Status.DONE])
def test_a_job_of_another_account_is_not_gone(
    sandbox: Sandbox, tmp_path: Path, status: Status, wanted: str, owned: str
) -> None:
    """The key was changed since; without a configured account, nothing else says whose it was."""
    known = Job(
        id=1, base_url=sandbox.base_url, account=owned, model_id="m", path="/m", kind=Kind.BASE,
        stage=Stage.READY, status=status, created_at=AT, updated_at=AT,
    )  # fmt: skip
    (found,) = online.ask(service(sandbox, tmp_path), wanted, "m", known=known)
    assert found.check == "api_key"
    assert "belongs to account sandbox, job 1 is one of acme" in found.message


def test_a_key_that_is_refused(sandbox: Sandbox, tmp_path: Path) -> None:
    wrong = service(sandbox, tmp_path, FIREWORKS_API_KEY="fw_wrong")
    assert asked(wrong) == [("api_key", "error")]


def test_a_service_that_is_not_there(sandbox: Sandbox, tmp_path: Path) -> None:
    away = service(sandbox, tmp_path, FIREWORKS_BASE_URL="http://127.0.0.1:9")
    assert asked(away) == [("service", "error")]
