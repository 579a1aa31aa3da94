"""`uploader model`: what stands on the account, by whom, and what may be deleted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.cli.test_preflight_ahead import service
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
    assert first == ["#model", "state", "kind", "created", "jobs"]
    assert len(rows) == 251
    assert {row[0]: row[-1] for row in rows if row[-1]} == {"ours": "1"}


@pytest.mark.parametrize(
    ("state", "told"),
    [("READY", "firectl deployment-shape-version"), ("UPLOADING", "model delete")],
)
def test_show_ends_with_what_to_do_next(
    uploader: Command, service: Sandbox, state: str, told: str
) -> None:
    stands(service, "m", state)
    lines = uploader("model", "show", "m").out.splitlines()
    assert f"state\t{state}" in lines
    assert any(line.startswith("next\t") and told in line for line in lines)


def test_an_orphan_is_deleted_only_if_that_is_meant(uploader: Command, service: Sandbox) -> None:
    stands(service, "orphan")
    refused = uploader("model", "delete", "orphan")
    assert (refused.code, "--yes" in refused.err) == (2, True)
    assert ("sandbox", "orphan") in service.world.models
    assert uploader("model", "delete", "orphan", "--yes").code == 0
    assert ("sandbox", "orphan") not in service.world.models
    assert uploader("model", "delete", "orphan", "--yes").code == 4


def test_a_model_that_a_job_works_on_is_not_deleted(
    uploader: Command, service: Sandbox, model: Path, sql: Callable[[str], None]
) -> None:
    uploader("enqueue", model, "--model-id", "ours", "--account", "sandbox")
    stands(service, "ours")
    assert uploader("model", "delete", "ours", "--yes").code == 5
    sql("UPDATE jobs SET status = 'failed'")
    assert uploader("model", "delete", "accounts/sandbox/models/ours", "--yes").code == 0


def test_what_is_not_the_name_of_a_model_is_refused(uploader: Command, service: Sandbox) -> None:
    assert service.world.models == {}
    assert uploader("model", "show", "../../x").code == 2
    assert uploader("model", "show", "missing").code == 4
