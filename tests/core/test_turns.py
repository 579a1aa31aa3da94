"""Whose turn it is: jobs share the slots fairly, whatever files they have."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uploader.core.turns import may_start, should_yield


@pytest.mark.parametrize(
    ("running", "waiting", "last", "allowed"),
    [
        ({}, [], {}, True),
        ({1: 3}, [], {}, True),
        ({1: 4}, [], {}, False),
        ({1: 2, 2: 2}, [], {}, False),
        # A free slot is for the job that waits and has fewer …
        ({1: 2, 2: 1}, [2], {}, False),
        ({1: 1, 2: 2}, [2], {}, True),
        # … or, if both have as many, whose last start was longer ago.
        ({1: 1, 2: 1}, [2], {1: 8, 2: 7}, False),
        ({1: 1, 2: 1}, [2], {1: 7, 2: 8}, True),
        ({1: 0}, [2], {1: 7}, False),
        ({}, [1], {1: 9}, True),
    ],
)
def test_a_free_slot_goes_to_the_job_with_the_fewest_files(
    running: dict[int, int], waiting: list[int], last: dict[int, int], allowed: bool
) -> None:
    assert may_start(1, running, waiting, 4, last) is allowed


@pytest.mark.parametrize(
    ("running", "waiting", "files", "yields"),
    [
        ({1: 4}, [], 4, False),
        ({1: 4}, [1], 4, False),
        ({1: 4}, [2], 4, True),
        ({1: 3, 2: 1}, [2], 4, True),
        ({1: 2, 2: 2}, [1, 2], 4, False),
        ({1: 3, 2: 2}, [2], 5, False),
        # One slot is not passed back and forth.
        ({1: 1}, [2], 1, False),
        # A slot is free: nobody has to give one up.
        ({1: 3}, [2], 4, False),
        # Fewer may be in flight now: those who have most give up first.
        ({1: 4}, [], 3, True),
        ({1: 2, 2: 3}, [], 4, False),
        ({1: 3, 2: 3}, [], 4, True),
    ],
)
def test_a_slot_is_given_up_only_for_a_job_that_has_fewer(
    running: dict[int, int], waiting: list[int], files: int, yields: bool
) -> None:
    assert should_yield(1, running, waiting, files) is yields


@given(st.integers(1, 9), st.integers(1, 5), st.randoms(use_true_random=False))
def test_jobs_that_all_want_more_end_up_with_equal_shares(
    files: int, jobs: int, dice: Random
) -> None:
    """Whoever asks first in each round."""
    running, waiting = dict.fromkeys(range(jobs), 0), set[int]()
    last: dict[int, int] = {}
    for start in range(40):
        for job in dice.sample(range(jobs), jobs):
            running[job] -= should_yield(job, running, waiting, files)
            if may_start(job, running, waiting, files, last):
                running[job] += 1
                last[job] = start * jobs + job
                waiting.discard(job)
            else:
                waiting.add(job)
    assert sum(running.values()) == files
    assert max(running.values()) - min(running.values()) <= 1
