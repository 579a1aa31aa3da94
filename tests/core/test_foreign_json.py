"""JSON that others wrote is counted before it is made into objects, wherever it comes from."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uploader.core.foreign_json import TooMany, parsed

ROOT = Path(__file__).parents[2] / "uploader"
#: Who reads JSON of its own: what this program packed, wrote to its rows or files, or plays; the
#: sandbox bounds what it is sent, and `json_text.py` reads what is too large value by value.
OWN = {
    "core/foreign_json.py",
    "demo.py",
    "model/json_text.py",
    "model/tensors.py",
    "sandbox/script.py",
    "sandbox/state.py",
    "sandbox/wire.py",
    "service/hooks/notify.py",
    "store/database/workers.py",
    "store/enqueue.py",
    "store/outbox.py",
}
VALUES = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
)


def count(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(map(count, inner))


@given(value=VALUES, as_bytes=st.booleans(), spaced=st.booleans())
def test_no_value_is_forgotten(*, value: Any, as_bytes: bool, spaced: bool) -> None:
    text: Any = json.dumps(value, indent=1 if spaced else None)
    text = text.encode() if as_bytes else text
    assert parsed(text, 10_000) == value
    if count(value) > 1:
        with pytest.raises(TooMany):
            parsed(text, count(value) - 2)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "1" * 5000, b"\xff", "[1]x", "\0"])
def test_what_is_not_json_is_one_kind_of_error(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parsed(text, 1_000_000)
    assert not isinstance(caught.value, TooMany)


def test_nobody_reads_json_of_others_in_another_way() -> None:
    found = set()
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute):
                is_pydantic = node.attr == "model_validate_json"
                if is_pydantic or ast.unparse(node) in (
                    "json.loads",
                    "json.load",
                    "json.JSONDecoder",
                ):
                    found.add(path.relative_to(ROOT).as_posix())
            elif isinstance(node, ast.ImportFrom) and node.module == "json":
                found.add(path.relative_to(ROOT).as_posix())
    assert found == OWN
