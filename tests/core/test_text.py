from __future__ import annotations

import ast
from pathlib import Path

import pytest

from uploader.core.text import some

SOURCE = Path(__file__).parents[2] / "uploader"


@pytest.mark.parametrize(
    ("names", "most", "of", "expected"),
    [
        ([], 1, None, ""),
        (["a"], 1, None, "a"),
        (["a", "b"], 1, None, "a and 1 more"),
        (["a", "b"], 2, None, "a, b"),
        (["a", "b", "c", "d", "e"], 3, None, "a, b, c and 2 more"),
        (["a"], 1, 7, "a and 6 more"),
        (["a"], 3, 1, "a"),
    ],
)
def test_some_of_many_names(names: list[str], most: int, of: int | None, expected: str) -> None:
    assert some(names, most, of=of) == expected


def skeleton(text: ast.JoinedStr) -> str:
    """An f-string with `{}` for each value."""
    return "".join(
        str(getattr(part, "value", "")) if isinstance(part, ast.Constant) else "{}"
        for part in text.values
    )


def test_nobody_else_counts_what_is_more() -> None:
    counting = {
        file.relative_to(SOURCE)
        for file in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.JoinedStr) and "and {} more" in skeleton(node)
    }
    assert counting == {Path("core/text.py")}
