"""Every check over its cases; what a check needs besides stands with them, in test_check_*.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.model.build import Brief, brief, check
from tests.preflight.cases import BAD, GOOD
from uploader.preflight.registry import CHECKS

#: What takes another folder, a file of 5 TiB, a writer or a library is tried with its check.
ELSEWHERE = {"huge_file", "lora_base", "model_sig", "open_for_writing"}


@pytest.mark.parametrize("files", GOOD.values(), ids=GOOD)
def test_a_sound_folder_has_no_finding(tmp_path: Path, files: dict[str, bytes]) -> None:
    assert check(tmp_path, files) == []


@pytest.mark.parametrize(("files", "expected"), BAD.values(), ids=BAD)
def test_what_is_wrong_is_reported_once(
    tmp_path: Path, files: dict[str, bytes], expected: Brief
) -> None:
    found = check(tmp_path, files)
    assert brief(found) == expected
    for finding in found:
        assert finding.hint
        assert "\n" not in finding.message + finding.hint
        assert len(finding.message) < 160


def test_every_check_does_what_the_table_says() -> None:
    seen: dict[str, set[str]] = {}
    for _, expected in BAD.values():
        for name, severity, _ in expected:
            seen.setdefault(name, set()).add(severity)
    does = {"refuses": {"error"}, "warns": {"warning"}, "refuses or warns": {"error", "warning"}}
    told = {check.name: does[check.effect] for check in CHECKS if check.name not in ELSEWHERE}
    assert {name: seen.get(name) for name in told} == told
