"""Of foreign lists a few lines are kept; who keeps them again changes nothing."""

from __future__ import annotations

import pytest

from uploader.core.keeping import MAX_LINE_CHARS, MOST_LINES, few_lines


@pytest.mark.parametrize(
    ("count", "kept", "last"),
    [(0, 0, None), (1, 1, "w"), (100, 100, "w"), (101, 100, "and 2 more"),
     (200_000, 100, "and 199,901 more")],
)  # fmt: skip
def test_what_is_left_out_is_counted(count: int, kept: int, last: str | None) -> None:
    lines = few_lines(["w"] * count, str)
    assert len(lines) == kept <= MOST_LINES
    assert (lines or (None,))[-1] == last
    assert few_lines(lines, str) == lines


def test_each_line_is_short_and_only_what_is_kept_is_read() -> None:
    read: list[str] = []

    def line(text: str) -> str:
        read.append(text)
        return text

    assert {len(one) for one in few_lines(["x" * 10**6] * 99, line)} == {MAX_LINE_CHARS}
    few_lines(["w"] * 10_000, line)
    assert len(read) == 99 + MOST_LINES - 1
