from __future__ import annotations

import pytest

from uploader.core.exits import Exit, combined, exit_of
from uploader.core.job import Reason, Status

#: Written out once more: a number that a script relies on never changes.
NUMBERS = {
    "OK": 0,
    "BUG": 1,
    "USAGE": 2,
    "NOT_FOUND": 4,
    "VERB_REFUSED": 5,
    "PREFLIGHT": 6,
    "FAILED": 7,
    "BLOCKED": 8,
    "MIXED": 9,
    "TIMED_OUT": 10,
    "STORE": 11,
    "INTEGRITY": 12,
    "INTERRUPTED": 130,
    "PIPE_CLOSED": 141,
    "TERMINATED": 143,
}


def test_the_numbers_are_the_ones_that_scripts_know() -> None:
    assert {code.name: int(code) for code in Exit} == NUMBERS


def test_each_code_says_what_it_means_and_prints_as_a_number() -> None:
    assert len({code.meaning for code in Exit}) == len(Exit)
    assert all(code.turn for code in Exit)
    assert f"{Exit.MIXED}" == "9"


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (Status.DONE, None, 0),
        (Status.BLOCKED, "remote", 8),
        (Status.FAILED, "source_changed", 12),
        (Status.FAILED, "source_missing", 12),
        (Status.FAILED, "corrupted", 12),
        (Status.FAILED, "model_gone", 7),
        (Status.FAILED, None, 7),
        (Status.CANCELLED, None, 7),
    ],
)
def test_how_a_waiting_command_ends(status: Status, code: str | None, expected: int) -> None:
    assert exit_of(status, Reason(code, "words") if code else None) == expected


@pytest.mark.parametrize(
    ("exits", "expected"),
    [
        ([], 0),
        ([Exit.OK, Exit.OK], 0),
        ([Exit.FAILED, Exit.FAILED], 7),
        ([Exit.OK, Exit.FAILED], 9),
        ([Exit.BLOCKED, Exit.INTEGRITY, Exit.OK], 9),
    ],
)
def test_several_jobs_end_as_one_if_they_agree(exits: list[Exit], expected: int) -> None:
    assert combined(exits) == expected
