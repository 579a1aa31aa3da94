"""What is changed while workers run, by HTTP: limits, and a job's priority; and the explanation."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.cli.conftest import Command, uploader
from tests.service.conftest import Site
from uploader import wiring
from uploader.settings.limits import in_force as from_configuration

__all__ = ["uploader"]


def test_the_limits_are_those_of_the_command_line(site: Site, uploader: Command) -> None:
    answer = site.ask("/api/limits")
    assert (answer.status, answer.json) == (200, uploader("limit", "--json").json)
    assert answer.json["bandwidth"]["origin"] == "default"


def test_limits_that_are_given_are_changed_and_stay(site: Site) -> None:
    changed = site.ask("/api/limits", {"bandwidth": "20MB/s", "files": 8})
    assert changed.status == 200
    assert changed.json["bandwidth"] == {
        "value": "20MB/s", "origin": "limit", "rate_bps": 20_000_000, "until": None,
    }  # fmt: skip
    assert (changed.json["files"]["value"], changed.json["jobs"]["origin"]) == ("8", "default")
    assert site.ask("/api/limits", {}).json == site.ask("/api/limits").json == changed.json
    shown = site.ask("/api/jobs").json["limits"]
    assert shown == {name: changed.json[name] for name in ("bandwidth", "files", "jobs")}
    back = site.ask("/api/limits", {"bandwidth": "default", "files": "default"}).json
    assert {back[name]["origin"] for name in ("bandwidth", "files", "jobs")} == {"default"}


@pytest.mark.parametrize(
    "body",
    [
        {"bandwidth": "fast"},
        {"bandwidth": 7},
        {"bandwidth": ""},
        {"bandwidth": "x" * 5000},
        {"files": 0},
        {"files": "many"},
        {"files": 10**30},
        {"files": True},
        {"jobs": "auto"},
        {"jobs": -1},
        {"bandwidth": "1MB/s", "jobs": 0},
        {"rate": "1MB/s"},
        [],
    ],
    ids=lambda body: str(body)[:40],
)
def test_a_limit_that_cannot_be_changes_nothing(site: Site, body: object) -> None:
    answer = site.ask("/api/limits", body)
    assert (answer.status, bool(answer.json["detail"])) == (422, True)
    assert "limit" not in {one["origin"] for one in limits(site)}


def limits(site: Site) -> list[dict[str, Any]]:
    found = site.ask("/api/limits").json
    return [found[name] for name in ("bandwidth", "files", "jobs")]


def test_edit_changes_the_priority(site: Site) -> None:
    site.ask("/api/jobs", {"path": str(site.folder()), "model_id": "m"})
    for ref in ("m", "1"):
        answer = site.ask(f"/api/jobs/{ref}/edit", {"priority": 7})
        assert (answer.status, answer.json["priority"]) == (200, 7)
    kinds = [event["kind"] for event in site.ask("/api/events").json]
    assert kinds.count("edited") == 1


@pytest.mark.parametrize(
    "body", [{}, {"priority": "7"}, {"priority": 10**9}, {"priority": 10**40}, {"kind": "lora"}]
)
def test_what_cannot_be_edited_is_unprocessable(site: Site, body: object) -> None:
    site.ask("/api/jobs", {"path": str(site.folder())})
    assert site.ask("/api/jobs/1/edit", body).status == 422
    assert site.ask("/api/jobs/1").json["priority"] == 0


def test_edit_of_a_job_that_has_ended_or_is_unknown_is_refused(site: Site) -> None:
    site.ask("/api/jobs", {"path": str(site.folder())})
    site.ask("/api/jobs/1/cancel", {})
    assert site.ask("/api/jobs/1/edit", {"priority": 1}).status == 409
    assert site.ask("/api/jobs/7/edit", {"priority": 1}).status == 404


def test_an_explanation_tells_what_the_command_tells(
    site: Site, uploader: Command, sql: Callable[[str], None]
) -> None:
    site.ask("/api/jobs", {"path": str(site.folder()), "model_id": "m"})
    site.ask("/api/limits", {"bandwidth": "1MB/s"})
    sql(
        "UPDATE jobs SET stage = 'upload', lease_owner = 'w', lease_token = 't';"
        "INSERT INTO moves (owner, at, files, message) VALUES"
        " ('w', '2026-11-22 12:00:00.000000', 6, '4 → 6 files: +18 %');"
    )
    told = site.ask("/api/jobs/m/explain")
    assert told.status == 200
    assert told.json == json.loads(uploader("explain", "m", "--json").out)
    words = " ".join(told.json["sentences"])
    assert "Limits: bandwidth 1MB/s." in words
    assert "4 → 6 files: +18 %" in words
    assert site.ask("/api/jobs/7/explain").status == 404


def test_limits_that_were_configured_anew_are_shown_at_once(site: Site) -> None:
    assert site.ask("/api/limits").json["jobs"]["value"] == "2"
    transfer = site.settings.transfer.model_copy(update={"max_jobs": 7})
    site.settings = site.settings.model_copy(update={"transfer": transfer})  # as SIGHUP does
    assert site.ask("/api/limits").json["jobs"]["value"] == "7"
    assert site.ask("/api/jobs").json["limits"]["jobs"]["value"] == "7"


@pytest.mark.parametrize("nonsense", ["", "fast", "-5", "9" * 5000])
def test_a_limit_that_is_none_stops_no_worker(
    site: Site, nonsense: str, caplog: pytest.LogCaptureFixture
) -> None:
    site.jobs.limits.choose({"files": nonsense}, wiring.clock().now())
    in_force = wiring._limits_in_force(site.jobs, lambda: site.settings)
    assert in_force() == in_force() == from_configuration(site.settings.transfer, {})
    assert len([one for one in caplog.records if one.name == "uploader.wiring"]) == 1
    assert site.ask("/api/limits").json["files"]["value"] == str(site.settings.transfer.max_files)
    assert site.ask("/api/jobs").status == 200
