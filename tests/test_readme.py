"""What the README shows is what the program does."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.model.build import BASE, folder
from tests.reader import Reader, blocks, until
from tests.simulation.test_faults import FAULTS
from uploader.core.exits import Exit

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
#: Run elsewhere: `make` and what stands for it as tests of their own, pipx by .ci/bare-debian.
ELSEWHERE = ("make ", "python3 -m venv", "pipx ")
SANDBOX = "uploader sandbox --env sandbox.env\n"
DAEMON = "uploader run\n"


def test_every_command_shown_exists() -> None:
    shown = set(re.findall(r"uploader (?!run\b)([a-z]+)(?= |`|$)", README, re.MULTILINE))
    helped = subprocess.run(
        [sys.executable, "-m", "uploader", "--help"], capture_output=True, text=True, check=True
    ).stdout
    commands = set(re.findall(r"^  ([a-z]+)  ", helped, re.MULTILINE))
    assert {"enqueue", "demo", "status", "sandbox"} <= commands
    assert shown - commands == set()


def test_every_test_named_as_evidence_exists() -> None:
    named = re.findall(r"tests/[a-z_/]+(?:\.py)?", README)
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_as_many_faults_are_claimed_as_are_simulated() -> None:
    assert re.findall(r"(\d+) faults . first", README) == [str(len(FAULTS))]


def test_every_make_target_shown_exists() -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"^make (\w+)", README, re.MULTILINE)) <= set(targets)


def test_the_constraints_carry_no_address() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert pins
    assert [line for line in pins if not re.fullmatch(r"[A-Za-z0-9_.-]+==[\w.]+", line)] == []


def test_every_exit_code_is_in_the_table() -> None:
    rows = re.findall(r"^\| ([\d, ]+) \| .+ \|$", README, re.MULTILINE)
    told = {int(code) for row in rows for code in row.split(",")}
    assert told == {*Exit}


@pytest.mark.long
def test_every_command_shown_does_what_is_said_of_it(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    for name in ("my-model", "second-model", "third-model"):
        folder(tmp_path / name, BASE)
    typed = [block for block in blocks(README, "sh") if not block.startswith(ELSEWHERE)]
    first, sandbox, daemon, jobs, hooks, watch, prove = typed
    assert (sandbox, daemon) == (SANDBOX, DAEMON)
    with reader.starts_the_sandbox(sandbox):
        deployed = deploys_with_the_hook_shown(reader)
        assert reader.types(first) == "1\n"
        assert json.loads(reader.types("uploader show 1 --json"))["status"] == "done"
        # So that the job is still there to be paused; that ends the request.
        reader.scripts({"on": "create", "match": "second-model", "do": "latency", "seconds": 90})
        with reader.starts_the_daemon(daemon):
            reader.types(jobs)
            until(lambda: deployed.exists() and len(deployed.read_text().splitlines()) == 2)
            assert "deploy" in reader.types(hooks)
            assert "http://127.0.0.1:" in reader.types(watch)
            reader.types(prove)
            called = (block for block in blocks(README, "python") if "import uploader" in block)
            reader.types(f"python - <<'END'\n{next(called)}END")
    assert set(deployed.read_text().split()) == {
        *("deployment", "create"),
        *(f"accounts/sandbox/models/{name}-model" for name in ("second", "third")),
    }


def deploys_with_the_hook_shown(reader: Reader) -> Path:
    """Configure it; the file in which a firectl that is not the real one keeps its arguments."""
    (table,) = blocks(README, "toml")
    (script,) = (block for block in blocks(README, "python") if "firectl" in block)
    path, firectl = reader.home / "bin" / "deploy-model", reader.home / "bin" / "firectl"
    deployed = reader.home / "deployed"
    reader.configuration.write_text(table.replace("/usr/local/bin/deploy-model", str(path)))
    path.write_text(script)
    firectl.write_text(f'#!/bin/sh\necho "$@" >> {deployed}\n')
    for one in (path, firectl):
        one.chmod(0o755)
    return deployed


def test_the_line_that_installs_is_one_that_a_bare_machine_has_run() -> None:
    (line,) = [block for block in blocks(README, "sh") if block.startswith("pipx ")]
    assert line in (ROOT / "docs" / "install.md").read_text()


def test_the_picture_shows_an_upload_that_was_killed_and_became_ready() -> None:
    picture = ET.parse(ROOT / "docs" / "upload.svg").getroot()
    shown = " ".join(" ".join(picture.itertext()).split())
    assert re.search(r"uploader upload .*confirmed.*Killed.*uploader upload .*READY", shown)
