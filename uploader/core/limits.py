"""The limits in force: how much a worker does at once, and what that number of files was before."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from uploader.core.timetable import Timetable


@dataclass(frozen=True, slots=True)
class InForce:
    """What a worker keeps to: bytes per second, files in flight, jobs at once."""

    bandwidth: Timetable
    files: int | Literal["auto"]
    jobs: int


@dataclass(frozen=True, slots=True)
class Move:
    """A worker that finds its number of files by itself has decided for ``files``, and why."""

    at: datetime
    files: int
    message: str
