"""The example file: every setting with its default, explained, and nothing set."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from tests.settings.conftest import from_file
from uploader.settings.load import KEYS, VARIABLES, describe, load

EXAMPLE = Path(__file__).parents[2] / "config.example.toml"


def example() -> dict[str, object]:
    """Every commented-out setting of the example, read as if it were not."""
    lines = [re.sub(r"^# (?=\w+ = )", "", line) for line in EXAMPLE.read_text().splitlines()]
    found: dict[str, object] = {}
    for name, value in tomllib.loads("\n".join(lines)).items():
        found |= {f"{name}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {}
        found |= {} if isinstance(value, dict) else {name: value}
    return found


def test_the_example_names_every_setting_and_no_other() -> None:
    assert list(example()) == list(KEYS)


def test_the_example_sets_nothing(config: Path) -> None:
    assert from_file(config, EXAMPLE.read_text()) == load(environ={}).model_copy(
        update={"config_file": config}
    )


def test_every_default_of_the_example_is_the_default(home: Path) -> None:
    defaults = {name: value for name, value, _ in describe(load(environ={}))}
    state_dir = home / ".local/state/uploader"
    if defaults["state_dir"] != str(state_dir):
        pytest.skip("the example shows Linux' folder")
    for name, value in example().items():
        shown = (
            ""
            if value == []
            else str(value).replace("~", str(home)).replace("STATE_DIR", str(state_dir))
        )
        unset = "not set" if name.endswith("command") else ""
        assert defaults[name] == (shown or unset), name


def test_the_example_explains_each_setting_in_whole_sentences() -> None:
    for paragraph in EXAMPLE.read_text().split("\n\n"):
        lines = paragraph.splitlines()
        settings = [n for n, line in enumerate(lines) if re.match(r"# \w+ = ", line)]
        for last in settings:
            words = " ".join(lines[:last])
            assert re.search(r"(?:^|\] )# [A-Z].*\.$", words), paragraph


def test_every_setting_is_a_variable() -> None:
    assert list(VARIABLES.values()) == list(KEYS)
    assert VARIABLES["UPLOADER_STATE_DIR"] == "state_dir"
    assert VARIABLES["UPLOADER_TRANSFER__CHUNK_SIZE"] == "transfer.chunk_size"
