"""What is in contrib/ asks for metrics and settings that there are, and containers are safe."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.service.conftest import Site
from uploader.engine.worker import DRAIN_S
from uploader.service.http import metrics
from uploader.settings.load import VARIABLES

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


# --- containers -------------------------------------------------------------------------------

IMAGE = (CONTRIB.parent / "Containerfile").read_text()
HEALTHY = CONTRIB / "container/healthy"


@pytest.mark.parametrize("how", ["site", "tls_site"])
def test_the_health_check_of_the_image_follows_the_loop(
    how: str, request: pytest.FixtureRequest
) -> None:
    site: Site = request.getfixturevalue(how)

    def healthy() -> bool:
        environ = {
            "UPLOADER_STATE_DIR": str(site.settings.state_dir),
            "http_proxy": "http://[::1]:1",
        }
        asked = [sys.executable, str(HEALTHY)]
        done = subprocess.run(asked, env=environ, capture_output=True, check=False, timeout=60)
        return done.returncode == 0

    assert healthy()
    site.turned_s = 0.0
    assert not healthy()
    site.stop()
    assert not healthy()


@pytest.mark.parametrize("name", ["container/compose.yaml", "kubernetes/uploader.yaml"])
def test_a_manifest_sets_what_exists_and_runs_without_root(name: str) -> None:
    text = (CONTRIB / name).read_text()
    assert set(re.findall(r"UPLOADER_\w+", text)) <= set(VARIABLES)
    assert re.search(r"read_only: true|readOnlyRootFilesystem: true", text)
    assert re.search(r"cap_drop: \[ALL\]|drop: \[ALL\]", text)
    graces = re.findall(r"(?:stop_grace_period|GracePeriodSeconds): (\d+)", text)
    assert [int(grace) > DRAIN_S for grace in graces] == [True]


def test_secrets_beside_the_image_reach_neither_its_build_nor_a_commit() -> None:
    root = CONTRIB.parent
    context = (root / ".dockerignore").read_text().splitlines()[1:]
    shown = {name.removeprefix("!") for name in context[1:]}
    assert context[0] == "*"
    assert all((root / name).exists() for name in shown)
    copied = re.findall(r"^COPY (?!--from)(\S+)", IMAGE, re.MULTILINE)
    assert set(copied) - {"."} <= shown
    compose = (CONTRIB / "container/compose.yaml").read_text()
    secrets = re.findall(r"`(\S+)` with the", compose)
    assert len(secrets) == 2
    assert set(secrets) <= {*(root / ".gitignore").read_text().splitlines()} - shown


def test_the_image_runs_as_a_user_and_keeps_its_state_in_a_volume() -> None:
    assert re.search(r"^USER 1000", IMAGE, re.MULTILINE)
    (state,) = re.findall(r"UPLOADER_STATE_DIR=(\S+)", IMAGE)
    assert f"VOLUME {state}\n" in IMAGE
    assert "/livez" in HEALTHY.read_text()
