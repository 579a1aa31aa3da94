"""SECURITY.md: each promise names the tests that show it, and they exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "SECURITY.md").read_text()
ROWS = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith("| ")][1:]
_TEST = re.compile(r"- `(tests/[\w/]+\.py)::(test_\w+)`")
#: Each of them may mean harm.
WHO = ("user", "local users", "service", "storage host", "proxy", "model folder", "state folder",
       "sandbox", "installed")  # fmt: skip


@pytest.mark.parametrize("who", WHO)
def test_the_table_has_a_row_for_everybody(who: str) -> None:
    assert [row[0] for row in ROWS if who in row[0]]


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_every_promise_names_tests_that_exist(row: list[str]) -> None:
    below = PAGE.partition(f"\n### {row[0]}\n")[2].partition("\n#")[0].split()
    named = _TEST.findall(PAGE.partition(f"\n### {row[0]}\n")[2].partition("\n#")[0])
    assert named
    assert len(named) == below.count("-")
    for file, test in named:
        assert f"def {test}(" in (ROOT / file).read_text(), (file, test)
