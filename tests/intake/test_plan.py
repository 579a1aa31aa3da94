"""The use cases without a terminal: from a request and an open store, or none."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.model.build import BASE, folder, without
from uploader.core.errors import UsageError
from uploader.intake.inspect import FolderRefused
from uploader.intake.plan import inspect, plan
from uploader.intake.request import EnqueueRequest
from uploader.settings.load import load
from uploader.settings.schema import Settings

SOURCE = Path(__file__).parents[2] / "uploader"
NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load(None, {"UPLOADER_STATE_DIR": str(tmp_path / "state")})


def test_a_folder_and_a_request_become_a_job(
    tmp_path: Path, settings: Settings, capfd: pytest.CaptureFixture[str]
) -> None:
    request = EnqueueRequest(folder(tmp_path / "My-Model", BASE), priority=7)
    made = plan(request, inspect(request, settings, None, NOW), settings)
    assert made.model == "accounts/-/models/my-model"
    assert made.new.priority == 7
    assert made.new.base_url == settings.fireworks.base_url
    assert {file.path for file in made.new.manifest.files} == set(BASE)
    assert not settings.state_dir.exists()
    assert capfd.readouterr() == ("", "")


def test_a_refusal_carries_everything_that_was_found(
    tmp_path: Path, settings: Settings, capfd: pytest.CaptureFixture[str]
) -> None:
    root = folder(tmp_path / "bad", without(BASE, "config.json"))
    (root / "optimizer.pt").write_text("x")
    request = EnqueueRequest(root)
    with pytest.raises(FolderRefused) as raised:
        plan(request, inspect(request, settings, None, NOW), settings)
    seen = raised.value.inspection
    assert [found.check for found in seen.findings if found.severity == "error"] == ["config_json"]
    assert [left.path for left in seen.left_out] == ["optimizer.pt"]
    assert (raised.value.code, raised.value.exit_code) == ("preflight", 6)
    assert capfd.readouterr() == ("", "")


def test_of_countless_findings_of_a_check_a_hundred_are_kept_and_the_rest_is_counted(
    tmp_path: Path, settings: Settings
) -> None:
    """A job is read with them at every question; who asks for a preflight gets all of them."""
    root = folder(tmp_path / "model", BASE)
    for number in range(250):
        (root / f"notes-{number:03}").symlink_to("nowhere")
    (root / "key.pem").write_text("x")
    request = EnqueueRequest(root)
    seen = inspect(request, settings, None, NOW)
    assert len(seen.findings) == 251
    kept = plan(request, seen, settings).new.preflight
    links = [found for found in kept if found["check"] == "dangling_link"]
    assert [found["file"] for found in links[:-1]] == [f"notes-{n:03}" for n in range(100)]
    assert (links[-1]["message"], links[-1]["file"]) == ("150 more like these", "")
    assert links[-1]["severity"] == "warning"
    assert [found["check"] for found in kept if found not in links] == ["key_file"]


def test_what_does_not_fit_the_folder_names_the_field(tmp_path: Path, settings: Settings) -> None:
    request = EnqueueRequest(folder(tmp_path / "base", BASE), base_model="accounts/a/models/b")
    seen = inspect(request, settings, None, NOW)
    with pytest.raises(UsageError):
        plan(request, seen, settings)
    assert not seen.errors


def test_a_given_rate_holds_as_far_as_the_limit_allows(tmp_path: Path, settings: Settings) -> None:
    request = EnqueueRequest(folder(tmp_path / "base", BASE))
    limited = load(
        None,
        {
            "UPLOADER_STATE_DIR": str(tmp_path / "state"),
            "UPLOADER_TRANSFER__BANDWIDTH_LIMIT": "8KiB/s",
        },
    )
    by_limit = inspect(request, limited, None, NOW).forecast
    by_rate = inspect(request, limited, None, NOW, rate_bps=100_000).forecast
    assert by_limit
    assert by_limit.rate_bps == 8192
    assert by_rate
    assert by_rate.rate_bps == 8192
    unlimited = inspect(request, settings, None, NOW, rate_bps=100_000).forecast
    assert unlimited
    assert unlimited.rate_bps == 100_000
    assert inspect(request, settings, None, NOW).forecast is None


def test_nobody_writes_a_planned_job_without_the_snapshot_that_was_asked_for() -> None:
    sources = {file.name: file.read_text() for file in SOURCE.rglob("*.py")}
    assert [name for name, text in sources.items() if "enqueue(plan.new" in text] == []
