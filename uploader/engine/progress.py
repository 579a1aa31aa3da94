"""The progress of transfers since their rows were written (at most once a second)."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

from uploader.core.job import FileState, PrefixCrc
from uploader.core.resumable import gets_further
from uploader.runtime import METERS
from uploader.store.held_files import FileProgress

_WINDOW_S = 15.0
_FLUSH_EVERY_S = 1.0
#: A block that the socket has not taken after this long is waited for; before, the link is slow.
_STALLED = timedelta(seconds=10)


@dataclass(slots=True)
class _Waiting:
    """What a PUT waits for: its answer, or a socket that takes no more."""

    #: Every byte has gone to the socket, and there is no answer yet.
    answer_since: datetime | None = None
    #: When the last block was handed to a socket that has not taken all of it yet.
    handed_at: datetime | None = None
    #: What the row says of it.
    told_since: datetime | None = None

    def since(self, now: datetime) -> datetime | None:
        """Since when it waits; None as long as bytes move."""
        if self.answer_since is not None:
            return self.answer_since
        at = self.handed_at
        return at if at is not None and now - at >= _STALLED else None


class Progress:
    """The progress of one transfer: its thread writes it, the deciding thread takes it."""

    def __init__(self, file: FileState, began_s: float) -> None:
        """``began_s``: when the transfer began, in seconds since boot."""
        #: When the server confirmed bytes last; at first when the transfer began.
        self.confirmed_at_s = began_s
        self._lock = threading.Lock()
        self._file = file
        self._checkpoint = file.checkpoint
        self._mark = file.mark
        self._sent = file.bytes_sent
        self._furthest = max(file.checkpoint.offset, file.mark.offset)
        self._reached = max(file.checkpoint.offset, file.reached)
        self._gained = 0
        self._waiting = _Waiting()
        self._advanced = False
        self._dirty = False

    @property
    def bytes_sent(self) -> int:
        """The file's total, this transfer's bytes included."""
        return self._sent

    @property
    def began_at(self) -> PrefixCrc:
        """What the server had confirmed when the transfer began."""
        return self._file.checkpoint

    @property
    def gained(self) -> int:
        """Bytes of this transfer that had not been sent on this session before."""
        return self._gained

    @property
    def furthest(self) -> int:
        """Up to where bytes went to a socket, or were confirmed, as far as is known."""
        return self._furthest

    @property
    def checkpoint(self) -> PrefixCrc:
        """What the server confirmed last."""
        return self._checkpoint

    @property
    def mark(self) -> PrefixCrc:
        """What went to a socket last, on this session."""
        return self._mark

    @property
    def gap(self) -> bool:
        """As `FileState` has it."""
        return self._file.gap

    def found_gap(self) -> None:
        """The server is about to confirm bytes that are not known to have been sent."""
        self._file = replace(self._file, gap=True)

    def read(self, pair: PrefixCrc, count: int) -> None:
        """Record that a block of ``count`` bytes that ends at ``pair`` goes to the socket."""
        with self._lock:
            self._mark = pair
            self._sent += count
            gained = max(0, min(count, pair.offset - self._furthest))
            self._gained += gained
            self._furthest = max(self._furthest, pair.offset)
            self._dirty = True
        METERS.add("bytes_sent", count)
        if gained < count:
            METERS.add("bytes_resent", count - gained)

    def handed(self, at: datetime | None) -> None:
        """A block went to the socket at that time; None once the socket has taken all of it."""
        self._waiting.handed_at = at

    def awaiting(self, since: datetime | None) -> None:
        """Every byte of the PUT has gone to the socket; None once it is answered, or lost."""
        with self._lock:
            self._dirty = self._dirty or since != self._waiting.answer_since
            self._waiting.answer_since = since

    def answered(self) -> None:
        """The PUT is over, whatever came of it: nothing is waited for."""
        self.handed(None)
        self.awaiting(None)

    def confirmed(self, pair: PrefixCrc, at_s: float) -> None:
        """By ``at_s`` the server had the bytes up to ``pair``, which becomes the checkpoint."""
        self.confirmed_at_s = at_s
        with self._lock:
            before, size_bytes = self._reached, self._file.size_bytes
            self._advanced = self._advanced or gets_further(before, pair.offset, size_bytes)
            self._reached = max(before, pair.offset)
            self._checkpoint = pair
            self._sent = max(self._sent, pair.offset)  # after a kill the row knows of less
            self._dirty = True
        METERS.add("bytes_confirmed", self._reached - before)

    def stored(self, size_bytes: int, at_s: float) -> None:
        """By ``at_s`` the server had the whole object, which its row will say."""
        self.confirmed_at_s = at_s
        METERS.add("bytes_confirmed", size_bytes - self._reached)

    def take(self, now: datetime) -> FileProgress | None:
        """What has not been written yet, once."""
        with self._lock:
            since = self._waiting.since(now)
            if not self._dirty and since == self._waiting.told_since:
                return None
            advanced, self._advanced, self._dirty = self._advanced, False, False
            self._waiting.told_since = since
            return FileProgress(
                self._file.path,
                self._file.sessions,
                self._checkpoint,
                self._mark,
                self._sent,
                advanced,
                since,
                self._file.gap,
                self._reached,
            )


class Moving(Protocol):
    """What the meter knows about a transfer."""

    progress: Progress


class Meter:
    """Bytes per second of all transfers of a job, and when their progress is to be written.

    Bytes that are sent again are not counted: a link that loses what it carries makes no progress.
    """

    def __init__(self) -> None:
        self._gained = 0
        self._samples: deque[tuple[float, int]] = deque()
        self._written_s = float("-inf")
        self._told: float | None = None

    def due(self, boot_s: float) -> bool:
        """True once a second."""
        if boot_s - self._written_s < _FLUSH_EVERY_S:
            return False
        self._written_s = boot_s
        return True

    def end(self, transfer: Moving) -> None:
        """Forget a transfer; what it has sent stays counted."""
        self._gained += transfer.progress.gained

    def rate(self, transfers: Collection[Moving], boot_s: float) -> float | None:
        """The rate over the last fifteen seconds, running transfers included; None if too early."""
        gained = self._gained + sum(transfer.progress.gained for transfer in transfers)
        self._samples.append((boot_s, gained))
        while len(self._samples) > 1 and boot_s - self._samples[1][0] >= _WINDOW_S:
            self._samples.popleft()
        first_s, first = self._samples[0]
        return (gained - first) / (boot_s - first_s) if boot_s > first_s else None

    def changed(self, rate_bps: float | None) -> bool:
        """Whether that rate is news: one that ends is told, though no byte moves."""
        before, self._told = self._told, rate_bps
        return rate_bps != before


def unwritten(transfers: Sequence[Moving], now: datetime) -> list[FileProgress]:
    """The progress of those transfers that is not yet in their rows."""
    return [row for transfer in transfers if (row := transfer.progress.take(now))]
