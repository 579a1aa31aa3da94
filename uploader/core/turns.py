"""Whose turn it is: how the jobs of a worker share its slots. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping


def may_start(
    job: int,
    running: Mapping[int, int],
    waiting: Collection[int],
    files: int,
    last: Mapping[int, int],
) -> bool:
    """May ``job`` have one more file in flight, of ``files`` in all?

    ``running`` counts the files of each job, ``waiting`` are the jobs that found no slot, and
    ``last`` numbers the starts: a job that has fewer files goes first, then the one whose last
    start was longest ago.
    """
    if sum(running.values()) >= files:
        return False
    own = (running.get(job, 0), last.get(job, 0))
    return all(own <= (running.get(one, 0), last.get(one, 0)) for one in waiting if one != job)


def should_stop(job: int, running: Mapping[int, int], starved: Collection[int], files: int) -> bool:
    """Should a file of ``job`` stop at its next block, though nothing confirms its last ones?

    Yes if no slot is free, no job has more of them, and one of the ``starved`` jobs, which have
    waited for long, has none: what is slow about ``job`` is then not the others' business.
    """
    if sum(running.values()) < files or running.get(job, 0) < max(running.values(), default=0):
        return False
    return any(not running.get(one) for one in starved if one != job)


def should_yield(
    job: int, running: Mapping[int, int], waiting: Collection[int], files: int
) -> bool:
    """Should ``job`` give up the slot of one of its files, once the server has confirmed it?

    Yes if more files are in flight than may be, and no job has more of them; and if a job that
    waits would still have fewer afterwards, or as many.
    """
    own, total = running.get(job, 0), sum(running.values())
    if total > files:
        return own == max(running.values())
    return total == files and any(running.get(one, 0) + 1 < own for one in waiting if one != job)
