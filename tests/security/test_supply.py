"""What CI installs is known byte for byte, and from nowhere in particular."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
HASHES = (ROOT / "constraints-hashes.txt").read_text()
CI = (ROOT / ".ci/run").read_text()
_PINNED = re.compile(r"^([\w.-]+)==(\S+)", re.MULTILINE)


def pinned(text: str) -> dict[str, str]:
    return {
        re.sub(r"[-_.]+", "-", name).lower(): version for name, version in _PINNED.findall(text)
    }


def test_every_pinned_version_has_a_hash() -> None:
    ours = pinned((ROOT / "constraints.txt").read_text())
    assert ours.items() <= pinned(HASHES).items()
    # What builds the wheel is installed, too.
    assert {"hatchling", "editables"} <= pinned(HASHES).keys()


def test_every_line_is_a_version_with_its_hash_and_no_address() -> None:
    lines = [line for line in HASHES.splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==\S+ --hash=sha256:[0-9a-f]{64}", line) for line in lines)
    assert "://" not in HASHES


def test_ci_installs_nothing_without_a_hash() -> None:
    fetched = re.findall(r"pip download [^\n]*", CI)
    assert ["--require-hashes" in command for command in fetched] == [True, False]
    known, _, unknown = CI.partition("else\n")  # a machine that the hashes are not for
    assert fetched[0] in known
    assert fetched[1] in unknown
    others = re.findall(r"pip\"?(?: --quiet)? (?:install|wheel) [^\n]*", CI)
    assert len(others) == 4
    assert all("--no-index" in command for command in others)
