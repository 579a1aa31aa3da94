"""What the README shows is what the program does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from uploader.core.exits import Exit

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


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
