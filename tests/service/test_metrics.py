"""Metrics: their names, and what they count."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.service.conftest import Site
from uploader.runtime import METERS, Meters

NAMES = {
    "uploader_bytes_confirmed_total",
    "uploader_bytes_sent_total",
    "uploader_bytes_resent_total",
    "uploader_files_stored_total",
    "uploader_jobs",
    "uploader_retries_total",
    "uploader_request_duration_seconds_bucket",
    "uploader_leases_lost_total",
    "uploader_jobs_set_aside_total",
    "uploader_oldest_waiting_job_seconds",
    "uploader_heartbeat_timestamp_seconds",
}


def samples(site: Site) -> dict[str, list[tuple[dict[str, str], float]]]:
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(site.ask("/metrics").text):
        for one in family.samples:
            found.setdefault(one.name, []).append((one.labels, one.value))
    return found


def test_every_metric_has_the_name_that_dashboards_rely_on(site: Site) -> None:
    site.ask("/api/jobs", {"path": str(site.folder())})
    METERS.add("retries", label="throttled")
    METERS.took("get", 0.2)
    site.turned_s = 1.0
    assert NAMES - set(samples(site)) == set()


def test_jobs_are_counted_by_stage_and_status(site: Site) -> None:
    for number in range(3):
        site.ask("/api/jobs", {"path": str(site.folder(f"m{number}"))})
    site.ask("/api/jobs/2/pause", {})
    counted = {
        (labels["stage"], labels["status"]): count
        for labels, count in samples(site)["uploader_jobs"]
    }
    assert counted == {("create", "active"): 2, ("create", "paused"): 1}
    assert samples(site)["uploader_oldest_waiting_job_seconds"][0][1] >= 0


def test_durations_fall_into_classes_that_add_up() -> None:
    meters = Meters()
    for seconds in (0.001, 0.3, 0.3, 1000.0):
        meters.took("get", seconds)
    counts, total_s = meters.durations()["get"]
    assert (sum(counts), counts[0], counts[-1], total_s) == (4, 1, 1, 1000.601)


@pytest.mark.skipif(not shutil.which("promtool"), reason="needs Debian's prometheus")
def test_promtool_finds_nothing_to_say(site: Site) -> None:
    METERS.took("get", 0.2)
    text = site.ask("/metrics").text
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")
