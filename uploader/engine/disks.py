"""When a disk counts as silent or as slow: what waits for it then holds up nobody else.

Nothing ends a call to a hung file server, nor the thread in it. But a transfer gives its slot back,
and a job its place among the jobs at work. Nothing new is begun for such a job, so that its waiting
threads stay as few as it had files in flight. It keeps its lease: its threads go on by themselves,
and another worker of the same machine would get no answer either. Only if it is cancelled, it gives
its lease up once its connections are cut: cleaning up after it needs no disk.

A disk that answers, but slowly, is not waited for in vain: its job goes on as before, and slots
change hands by themselves (`core/turns.py`). But it gives its place up, too: otherwise as many such
folders as there are places would keep every other job from being begun, for days.

The disk of the API key may fall silent, too. What needs no key goes on then: files whose upload
sessions are open.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from uploader.runtime import StopToken

#: Seconds without an answer. A disk that was spun down, or a tape, may take nearly as long.
PATIENCE_S = 30.0
#: This many jobs of a worker may leave their places; more would need too many threads.
MOST_HELD_UP = 16


def silent(stop: StopToken) -> bool:
    """Whether a thread with that token has waited for a disk for too long."""
    return stop.disk.longest_s >= PATIENCE_S


def slow(stop: StopToken) -> bool:
    """Whether threads with that token have lately waited for a disk most of the time."""
    return stop.disk.slow_s >= PATIENCE_S


def keyless(stop: StopToken) -> bool:
    """Whether a thread with that token has waited for the disk of the API key for too long."""
    return stop.key_disk.longest_s >= PATIENCE_S


class Placed(Protocol):
    """A job that a worker works on."""

    @property
    def slowed(self) -> bool:
        """Whether its disk is slow, or silent, or that of the API key is."""


def places(runs: Collection[Placed]) -> int:
    """How many of the places for jobs at work those take."""
    return len(runs) - min(MOST_HELD_UP, sum(run.slowed for run in runs))
