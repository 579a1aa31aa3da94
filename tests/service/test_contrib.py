"""The rules and the dashboard in contrib/ ask for metrics that there are."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from uploader.service.http import metrics

CONTRIB = Path(__file__).parents[2] / "contrib"
DASHBOARD = (CONTRIB / "grafana/uploader.json").read_text()
RULES = (CONTRIB / "prometheus/uploader.rules.yml").read_text()
_KNOWN = Path(metrics.__file__).read_text()


def test_every_metric_that_is_asked_for_is_exported() -> None:
    asked = set(re.findall(r"uploader_[a-z_]+", DASHBOARD + RULES))
    assert len(asked) > 8
    for name in asked:
        stem = re.sub(r"^uploader_|_total$|_bucket$", "", name)
        stem = re.sub(r"_total$|_bucket$", "", stem)
        assert stem in _KNOWN, name


def test_the_dashboard_is_json_with_a_query_in_each_panel() -> None:
    panels = json.loads(DASHBOARD)["panels"]
    assert len(panels) >= 8
    assert all(target["expr"] for panel in panels for target in panel["targets"])


@pytest.mark.skipif(not shutil.which("promtool"), reason="needs Debian's prometheus")
def test_the_rules_are_what_their_tests_say() -> None:
    for words in (
        ["check", "rules", "uploader.rules.yml"],
        ["test", "rules", "uploader.rules.test.yml"],
    ):
        done = subprocess.run(
            ["promtool", *words],
            cwd=CONTRIB / "prometheus",
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
